"""RunOutcome: runs after all other nodes of a cluster's run, whatever became of them."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec

from artifacts import RunSummary
from components.run_outcome import executor


class RunOutcomeSpec(component_spec.ComponentSpec):
    """Parameters and output of RunOutcome.

    An exit handler has no inputs: a failed run lacks what they would be. The run's final status could be one, but
    backends before 2.14 refuse a pipeline that asks for it; what the tasks leave in `reports_dir` says more.
    """

    PARAMETERS = {
        executor.PIPELINE_NAME: component_spec.ExecutionParameter(type=str),
        executor.REPORTS_DIR: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {}
    OUTPUTS = {"report": component_spec.ChannelParameter(type=RunSummary)}


class RunOutcome(base_component.BaseComponent):
    """Writes `summary.json` and `report.html` of any run."""

    SPEC_CLASS = RunOutcomeSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, pipeline_name: str, reports_dir: str):
        """See `RunReport`; here `reports_dir` is where the other nodes have left what they had to say.

        Args:
          pipeline_name: what the report is headed with.
          reports_dir: a folder that has a folder for each run.
        """
        report = types.Channel(type=RunSummary)
        super().__init__(RunOutcomeSpec(pipeline_name=pipeline_name, reports_dir=reports_dir, report=report))
