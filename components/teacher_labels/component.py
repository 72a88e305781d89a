"""The component: takes examples and outputs texts with the logits of teachers."""

from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.teacher_labels import driver, executor


class TeacherLabelsSpec(component_spec.ComponentSpec):
    """Parameters, input and output of TeacherLabels."""

    PARAMETERS = {
        executor.CONFIG: component_spec.ExecutionParameter(type=str),
        executor.TASK: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {executor.LABELS: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class TeacherLabels(base_component.BaseComponent):
    """Computes the mean logits of pushed models for unlabelled texts and for the test rows.

    The output is described in `artifacts.teacher_labels`. Teachers and tables are outside the pipeline. Locally, the
    driver adds their fingerprint to the cache key. Kubeflow runs no drivers, so the cache must be off there.
    """

    SPEC_CLASS = TeacherLabelsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, examples: types.BaseChannel, config: str, task: str, fingerprint: Optional[str] = None) -> None:
        """Initialises the component.

        Args:
          examples: channel of TsvExampleGen's `standard_artifacts.Examples`; texts of its dev and test splits are not
            for the student.
          config: JSON of `core.config.DistillConfig`; only `executor.SETTINGS` of it are needed.
          task: JSON of the task (`schema.task.task_to_json`).
          fingerprint: any string that changes with the content of teachers and tables; None if a driver computes it.
        """
        super().__init__(
            TeacherLabelsSpec(
                examples=examples,
                config=config,
                task=task,
                fingerprint=fingerprint,
                labels=types.Channel(type=standard_artifacts.Examples),
            )
        )
