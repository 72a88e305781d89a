"""The component: takes examples and outputs an encoder trained on them."""

from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.encoder_pretrainer import driver, executor


class EncoderPretrainerSpec(component_spec.ComponentSpec):
    """Parameters, input and output of EncoderPretrainer."""

    PARAMETERS = {
        executor.CONFIG: component_spec.ExecutionParameter(type=str),
        executor.CHECKPOINTS: component_spec.ExecutionParameter(type=str),
        executor.FINGERPRINT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {executor.ENCODER: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class EncoderPretrainer(base_component.BaseComponent):
    """Trains a vocabulary and a BERT on the training reviews and further texts, without a network.

    The output is described in `artifacts.encoder`. Further tables are outside the pipeline. Locally, the driver adds
    their fingerprint to the cache key. Kubeflow runs no drivers, so with tables the cache must be off there.
    """

    SPEC_CLASS = EncoderPretrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self, examples: types.BaseChannel, config: str, checkpoints: str = "", fingerprint: Optional[str] = None
    ) -> None:
        """Initialises the component.

        Args:
          examples: channel of `standard_artifacts.Examples` with a `train` split; texts of its other splits are not
            trained on.
          config: JSON of `core.config.PretrainConfig` (`config.encoder.pretrain.model_dump_json()`).
          checkpoints: a folder that outlives this execution, from which a killed pre-training continues; empty for no
            such folder.
          fingerprint: any string that changes with the content of the further tables; None if a driver computes it.
        """
        super().__init__(
            EncoderPretrainerSpec(
                examples=examples,
                config=config,
                checkpoints=checkpoints,
                fingerprint=fingerprint,
                encoder=types.Channel(type=standard_artifacts.Model),
            )
        )
