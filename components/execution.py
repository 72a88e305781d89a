"""Properties of the execution that an executor runs in."""

from typing import Optional

from tfx.dsl.components.base import base_executor


def run_id(context: Optional[base_executor.BaseExecutor.Context]) -> Optional[str]:
    """Returns the id of the pipeline's run; None if the executor was called directly.

    Args:
      context: the executor's context. On Kubeflow it has no run id, but the entrypoint sets its unique id to that.
    """
    return (context.pipeline_run_id or context._unique_id) if context else None
