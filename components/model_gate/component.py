"""The component: takes the evaluation of a candidate and outputs a model blessing."""

from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from artifacts.tfx_types import GateVerdict
from components import gate_config
from components.model_gate import executor


class ModelGateSpec(component_spec.ComponentSpec):
    """Inputs, parameters and outputs of ModelGate."""

    PARAMETERS = {gate_config.PARAMETER: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.DATA_VERDICT: component_spec.ChannelParameter(type=GateVerdict, optional=True),
        executor.TEACHER_LABELS: component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing)}


class ModelGate(base_component.BaseComponent):
    """Checks the candidate's metrics, overall and by slice, and its predictions for sentence pairs.

    The output is a `ModelBlessing` as TFX's Pusher reads it, with `checks.json`, `metrics.json` and
    `evaluation.json` in its folder.
    """

    SPEC_CLASS = ModelGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        evaluation: types.BaseChannel,
        model: types.BaseChannel,
        baseline: types.BaseChannel,
        gate: str,
        data_verdict: Optional[types.BaseChannel] = None,
        teacher_labels: Optional[types.BaseChannel] = None,
    ) -> None:
        """Initialises the component.

        Args:
          evaluation: channel of the stock Evaluator's `standard_artifacts.ModelEvaluation`, computed with
            `components.model_gate.evaluation.make_eval_config`.
          model: channel of the candidate, `standard_artifacts.Model`.
          baseline: channel of BaselineModel's output.
          gate: `gate_config.dump` of the task and the `executor.sections` of a `GatesConfig`. The cache key has only
            the path of the file of sentence pairs, so changed content needs another path.
          data_verdict: channel of DataGate's verdict, with the profile of the data, whose language the sentence pairs
            must have; None to use any pairs.
          teacher_labels: channel of TeacherLabels' output, if the candidate is a student.
        """
        blessing = types.Channel(type=standard_artifacts.ModelBlessing)
        super().__init__(
            ModelGateSpec(
                evaluation=evaluation,
                model=model,
                baseline=baseline,
                gate=gate,
                data_verdict=data_verdict,
                teacher_labels=teacher_labels,
                blessing=blessing,
            )
        )
