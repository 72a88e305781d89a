"""The component: an exit handler of cluster runs, which runs even if other nodes failed."""

import json
from typing import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec

from artifacts.tfx_types import RunSummary
from components.run_outcome import executor
from components.run_report.executor import PIPELINE_NAME, REPORT, REPORTS_DIR


class RunOutcomeSpec(component_spec.ComponentSpec):
    """Parameters and output of RunOutcome.

    It has no inputs, because a failed run may not have created them. The run's final status could be an input, but
    backends before 2.14 reject such a pipeline, and the notes in `reports_dir` have more details.
    """

    PARAMETERS = {
        PIPELINE_NAME: component_spec.ExecutionParameter(type=str),
        REPORTS_DIR: component_spec.ExecutionParameter(type=str),
        executor.NOTIFY: component_spec.ExecutionParameter(type=str),
        executor.PARAMETERS: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {REPORT: component_spec.ChannelParameter(type=RunSummary)}


class RunOutcome(base_component.BaseComponent):
    """Writes `summary.json` and `report.html` of a run, successful or not."""

    SPEC_CLASS = RunOutcomeSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, pipeline_name: str, reports_dir: str, notify: str, parameters: Mapping[str, str]):
        """Initialises the component.

        Args:
          pipeline_name: the heading of the report.
          reports_dir: folder with one folder per run, which has the notes of failed nodes or RunReport's files.
          notify: the section `notify` of the configuration, as JSON.
          parameters: key -> value of the configuration, for MLflow.
        """
        report = types.Channel(type=RunSummary)
        super().__init__(
            RunOutcomeSpec(
                pipeline_name=pipeline_name,
                reports_dir=reports_dir,
                notify=notify,
                parameters=json.dumps(parameters, ensure_ascii=False),
                report=report,
            )
        )
