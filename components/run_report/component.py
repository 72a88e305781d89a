"""The component: takes the artifacts of a run and outputs its report. The last node of the graph."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from artifacts.tfx_types import GateVerdict, RunSummary
from components.run_report import executor


class RunReportSpec(component_spec.ComponentSpec):
    """Inputs, parameters and output of RunReport."""

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
        "teacher_labels": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {executor.REPORT: component_spec.ChannelParameter(type=RunSummary)}


class RunReport(base_component.BaseComponent):
    """Writes `summary.json` and `report.html` from a run's artifacts."""

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, pipeline_name: str, reports_dir: str = "", **inputs: types.BaseChannel):
        """Initialises the component.

        Args:
          pipeline_name: the heading of the report.
          reports_dir: folder for a copy, in a folder named after the run; empty for no copy.
          **inputs: a channel for each of `RunReportSpec.INPUTS`.
        """
        report = types.Channel(type=RunSummary)
        super().__init__(RunReportSpec(pipeline_name=pipeline_name, reports_dir=reports_dir, report=report, **inputs))
