"""The component: TFX's Trainer with the labels of teachers as a further input."""

from typing import Any, Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.trainer import executor


class TrainerSpec(standard_component_specs.TrainerSpec):
    """Inputs, parameters and outputs of TFX's Trainer, and the labels of teachers."""

    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        executor.TEACHER_LABELS: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class Trainer(base_component.BaseComponent):
    """Trains a student: on the labelled rows, and on texts with the logits of teachers."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, teacher_labels: types.BaseChannel, custom_config: Mapping[str, Any], **arguments: Any) -> None:
        """Initialises the component.

        Args:
          teacher_labels: channel of TeacherLabels' output.
          custom_config: as of TFX's Trainer, with `distill` (see `trainer.job`).
          **arguments: further inputs and parameters of TFX's Trainer.
        """
        super().__init__(
            TrainerSpec(
                teacher_labels=teacher_labels,
                custom_config=json_utils.dumps(dict(custom_config)),
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
                **arguments,
            )
        )
