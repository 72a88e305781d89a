"""What an executor may know of the execution that it is part of."""

from typing import Optional

from tfx.dsl.components.base import base_executor


def run_id(context: Optional[base_executor.BaseExecutor.Context]) -> Optional[str]:
    """Returns the id of the pipeline's run; None where an executor is called by itself.

    Args:
      context: of the executor. On Kubeflow it has no run id, but the entrypoint gives the run's as the execution's.
    """
    return (context.pipeline_run_id or context._unique_id) if context else None
