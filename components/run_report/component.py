"""RunReport: the last node of every run."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from artifacts import GateVerdict, RunSummary
from components.run_report import executor


class RunReportSpec(component_spec.ComponentSpec):
    """Inputs, output and parameter of RunReport."""

    PARAMETERS = {
        executor.PIPELINE_NAME: component_spec.ExecutionParameter(type=str),
        executor.REPORTS_DIR: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "data_verdict": component_spec.ChannelParameter(type=GateVerdict),
        "encoder": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "serving_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"report": component_spec.ChannelParameter(type=RunSummary)}


class RunReport(base_component.BaseComponent):
    """Gathers a run's artifacts into `summary.json` and `report.html`."""

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, pipeline_name: str, reports_dir: str = "", **inputs: types.BaseChannel):
        """Args are named as in `RunReportSpec.INPUTS`.

        Args:
          pipeline_name: what the report is headed with.
          reports_dir: a folder that gets a copy, in a folder named after the run; empty for none.
          **inputs: one channel for each input of the spec.
        """
        report = types.Channel(type=RunSummary)
        super().__init__(RunReportSpec(pipeline_name=pipeline_name, reports_dir=reports_dir, report=report, **inputs))
