"""What the launcher knows of a kind of job; `tfjob.py` and `trainjob.py` have one each."""

import dataclasses
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence

from launchers.cluster_job.config import ClusterJobConfig
from launchers.cluster_job.pod import Owner, User


class Resource(NamedTuple):
    """A resource type of the Kubernetes API."""

    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
      name: the `kind` of its objects.
      resources: the resource types of a job's objects, which all have the job's name, in the order in which they are
        created. The last one is the job, whose deletion deletes its pods.
      manifests: returns the manifests of these objects in the same order. Pure: its arguments are the configuration,
        the job's name, the number of workers, the path of the job's file on the shared volume, the workers' user, and
        the pod whose deletion deletes the job too.
      container: name of the workers' container.
      job_label: label of the pods with the job's name.
      index_label: label of the pods with the worker's number.
      succeeded: type of the condition of a job that has succeeded; of one that has failed it is `Failed`.
      operator: what has to be installed in the cluster.
    """

    name: str
    resources: Sequence[Resource]
    manifests: Callable[[ClusterJobConfig, str, int, str, User, Optional[Owner]], Sequence[Mapping[str, Any]]]
    container: str
    job_label: str
    index_label: str
    succeeded: str
    operator: str
