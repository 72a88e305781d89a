"""The component: takes the candidate, the training process's answers and test rows; outputs an infra blessing."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import gate_config
from components.serving_validator import executor


class ServingValidatorSpec(component_spec.ComponentSpec):
    """Inputs, parameters and outputs of ServingValidator."""

    PARAMETERS = {gate_config.PARAMETER: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingValidator(base_component.BaseComponent):
    """Sends real and hostile rows to the exported model in a fresh process, and blesses it if all checks pass.

    The output is an `InfraBlessing` as TFX's Pusher reads it, with `checks.json` in its folder.
    """

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, model: types.BaseChannel, model_run: types.BaseChannel, examples: types.BaseChannel, gate: str
    ) -> None:
        """Initialises the component.

        Args:
          model: channel of the candidate, `standard_artifacts.Model`.
          model_run: channel of the Trainer's `standard_artifacts.ModelRun`, which contains `golden.json`.
          examples: channel of `standard_artifacts.Examples` with a `test` split.
          gate: `gate_config.dump` of the task and a `ServingGateConfig`.
        """
        blessing = types.Channel(type=standard_artifacts.InfraBlessing)
        super().__init__(
            ServingValidatorSpec(model=model, model_run=model_run, examples=examples, gate=gate, blessing=blessing)
        )
