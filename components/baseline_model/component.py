"""The component: takes the candidate and the serving folder, and outputs the model to compare with."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.baseline_model import driver, executor


class BaselineModelSpec(component_spec.ComponentSpec):
    """Inputs, parameters and outputs of BaselineModel."""

    PARAMETERS = {
        executor.SERVING_DIR: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {executor.BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class BaselineModel(base_component.BaseComponent):
    """Passes the model in serving to the Evaluator, or the candidate itself if no model is served yet.

    It reads a folder outside the pipeline. Locally, its driver adds the fingerprint of that folder to the cache key.
    Kubeflow runs no drivers, so the cache must be off for this component there.
    """

    SPEC_CLASS = BaselineModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, model: types.BaseChannel, serving_dir: str) -> None:
        """Initialises the component.

        Args:
          model: channel of the candidate, `standard_artifacts.Model`.
          serving_dir: the folder that the model server watches; it may not exist.
        """
        super().__init__(
            BaselineModelSpec(
                model=model, serving_dir=serving_dir, baseline=types.Channel(type=standard_artifacts.Model)
            )
        )
