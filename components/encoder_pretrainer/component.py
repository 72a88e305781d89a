"""The component: takes examples and outputs an encoder trained on them."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.encoder_pretrainer import executor


class EncoderPretrainerSpec(component_spec.ComponentSpec):
    """Parameter, input and output of EncoderPretrainer."""

    PARAMETERS = {executor.CONFIG: component_spec.ExecutionParameter(type=str)}
    INPUTS = {executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {executor.ENCODER: component_spec.ChannelParameter(type=standard_artifacts.Model)}


class EncoderPretrainer(base_component.BaseComponent):
    """Trains a vocabulary and a small BERT on the training reviews, without a network.

    The output is described in `artifacts.encoder`.
    """

    SPEC_CLASS = EncoderPretrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, config: str) -> None:
        """Initialises the component.

        Args:
          examples: channel of `standard_artifacts.Examples` with a `train` split.
          config: JSON of `core.config.PretrainConfig` (`config.encoder.pretrain.model_dump_json()`).
        """
        super().__init__(
            EncoderPretrainerSpec(
                examples=examples, config=config, encoder=types.Channel(type=standard_artifacts.Model)
            )
        )
