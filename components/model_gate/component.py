"""The component: the evaluation of a candidate in, a model blessing out."""

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.model_gate import executor


class ModelGateSpec(component_spec.ComponentSpec):
    """What ModelGate takes and makes."""

    PARAMETERS = {
        executor.GATE: component_spec.ExecutionParameter(type=str),
        executor.PAIRS_FILE: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing)}


class ModelGate(base_component.BaseComponent):
    """Judges the candidate by its metrics, its slices and sentence pairs, and blesses it if every bound holds.

    The output is a `ModelBlessing` that TFX's Pusher understands, with `checks.json` and `metrics.json` in its folder.
    """

    SPEC_CLASS = ModelGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        evaluation: types.BaseChannel,
        model: types.BaseChannel,
        baseline: types.BaseChannel,
        gate: str,
        pairs_file: str = "",
    ) -> None:
        """Makes the component.

        Args:
          evaluation: channel of the stock Evaluator's `standard_artifacts.ModelEvaluation`, made with
            `components.model_gate.evaluation.make_eval_config`.
          model: channel of the candidate, `standard_artifacts.Model`.
          baseline: channel of BaselineModel's output, whose `source` property says what it is.
          gate: JSON object: `gates` holds `model`, `slices` and `invariance` of a `GatesConfig`, `task` is
            `dataclasses.asdict` of the task.
          pairs_file: path of the sentence pairs; empty asks none. Its name stands for its content in the cache, so
            another content needs another name.
        """
        blessing = types.Channel(type=standard_artifacts.ModelBlessing)
        super().__init__(
            ModelGateSpec(
                evaluation=evaluation,
                model=model,
                baseline=baseline,
                gate=gate,
                pairs_file=pairs_file,
                blessing=blessing,
            )
        )
