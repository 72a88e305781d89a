"""The execution that an executor is part of."""

from typing import Optional

from tfx.dsl.components.base import base_executor


def run_id(context: Optional[base_executor.BaseExecutor.Context]) -> Optional[str]:
    """Returns the id of the pipeline's run; None if the executor was called directly.

    Args:
      context: of the executor. On Kubeflow it has no run id, but the entrypoint sets the execution's id to it.
    """
    return (context.pipeline_run_id or context._unique_id) if context else None
