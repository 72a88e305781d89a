"""What became of finished runs: their summaries, which RunOutcome writes to the object store.

The API server does not know them: a run whose model was not blessed has succeeded. Kubeflow's UI, which is the usual
host, also serves objects.
"""

from typing import Any, Mapping, Optional, Sequence

import kfp

from cluster import paging, task_protocol
from cluster.connection import ServerError
from core.kubeflow_config import KubeflowConfig

# The cluster's root, unless its administrator changed it.
_DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"

# URI scheme -> the UI's name for the store.
_SOURCES = {"minio": "minio", "s3": "s3", "gs": "gcs"}


def read(client: kfp.Client, config: KubeflowConfig, runs: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Reads the summaries of finished runs.

    Args:
      client: client of the server.
      config: the cluster.
      runs: runs as the server returns them.

    Returns:
      Id of the run -> content of `summary.json`, without those that can't be read: runs before this file existed, a
      host that is not the UI, a root that the server does not name.
    """
    names: dict[str, str] = {}
    found = {}
    for run in runs:
        if run.state in paging.FINISHED:
            summary = _read_one(client, config, run, names)
            if summary is not None:
                found[run.run_id] = summary
    return found


def _read_one(
    client: kfp.Client, config: KubeflowConfig, run: Any, names: dict[str, str]
) -> Optional[Mapping[str, Any]]:
    root = (run.runtime_config and run.runtime_config.pipeline_root) or config.pipeline_root or _DEFAULT_ROOT
    try:
        pipeline_id = run.pipeline_version_reference.pipeline_id
        if pipeline_id not in names:
            names[pipeline_id] = client.get_pipeline(pipeline_id).display_name
        uri = task_protocol.outcome_uri(f"{root.rstrip('/')}/{names[pipeline_id]}/{run.run_id}")
        summary = _get_object(client, config, uri)
    # A run of another client may have no version, or a root in another store.
    except (AttributeError, KeyError, ServerError):
        return None
    return summary if isinstance(summary, dict) and "status" in summary else None


def _get_object(client: kfp.Client, config: KubeflowConfig, uri: str) -> Any:
    """Returns a JSON object of the object store."""
    scheme, _, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    query = {"source": _SOURCES[scheme], "bucket": bucket, "key": key, "namespace": config.namespace}
    return client._run_api.api_client.call_api(
        "/artifacts/get",
        "GET",
        query_params=list(query.items()),
        response_type="object",
        auth_settings=["Bearer"],
        _return_http_data_only=True,
    )
