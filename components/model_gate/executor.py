"""Checks the evaluation and the predictions for sentence pairs, and writes the blessing."""

import os
from typing import Any, Mapping, Optional

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from artifacts import baseline
from artifacts import evaluation as evaluation_artifact
from artifacts.blessing import bless
from artifacts.examples import PROFILE_FILE
from components import gate_config
from components.data_gate import profile
from components.model_gate import details, invariance, metric_checks, results, teacher
from core.checks import Check, write_metrics
from core.config import AUTO_PAIRS, GatesConfig, InvarianceGateConfig, TeacherBound
from schema.task import Task

EVALUATION = "evaluation"
MODEL = "model"
BASELINE = "baseline"
DATA_VERDICT = "data_verdict"
TEACHER_LABELS = "teacher_labels"
BLESSING = "blessing"

_SECTIONS = ("model", "slices", "invariance")


def sections(has_teacher: bool) -> tuple[str, ...]:
    """Returns the fields of `GatesConfig` that this gate reads."""
    return (*_SECTIONS, "teacher") if has_teacher else _SECTIONS


class Executor(base_executor.BaseExecutor):
    """Writes a `ModelBlessing` with its checks, metrics and evaluation; bad models fail checks and raise no errors."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model.

        Raises:
          UserError: the file of sentence pairs can't be read or has an invalid line.
        """
        given = {name: artifacts for name, artifacts in input_dict.items() if artifacts}
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in given.items()}
        task, bounds = gate_config.load(exec_properties[gate_config.PARAMETER], GatesConfig)
        not_compared = baseline.why_not_compared(inputs[BASELINE])
        comparisons = results.read_comparisons(inputs[EVALUATION].uri)
        overall = comparisons[results.OVERALL]
        model_path = path_utils.serving_model_path(inputs[MODEL].uri)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        checks = [
            *metric_checks.check_metrics(overall, bounds.model, task, not_compared),
            *metric_checks.check_slices(comparisons, bounds.slices, task, not_compared),
            *_check_student(model_path, bounds.teacher, task, inputs.get(TEACHER_LABELS)),
            *_check_pairs(model_path, bounds.invariance, task, inputs.get(DATA_VERDICT)),
        ]
        write_metrics(
            blessing.uri,
            {
                "candidate": _in_order(overall.candidate, task),
                "baseline": None if not_compared else _in_order(overall.baseline, task),
            },
        )
        rows = results.read_details(inputs[EVALUATION].uri)
        evaluated = details.make_evaluation(comparisons, rows, bounds.slices, task, not not_compared)
        evaluation_artifact.write(blessing.uri, evaluated)
        bless(blessing, checks)


def _in_order(values: Mapping[str, float], task: Task) -> dict[str, float]:
    """Returns the number of rows, then the metrics in the order of the task."""
    known = [name for name in task.evaluation_metrics if name in values]
    return {name: values[name] for name in dict.fromkeys([*sorted(values.keys() - known), *known])}


def _check_student(model_path: str, bound: TeacherBound, task: Task, labels: Optional[types.Artifact]) -> list[Check]:
    return [teacher.check_student(model_path, labels.uri, bound, task)] if labels else []


def _check_pairs(
    model_path: str, bounds: InvarianceGateConfig, task: Task, data_verdict: Optional[types.Artifact] = None
) -> list[Check]:
    if len(task.text_inputs) > 1:
        return [invariance.not_single_texts()]
    data = profile.read(os.path.join(data_verdict.uri, PROFILE_FILE)) if data_verdict else None
    pairs = invariance.choose_pairs(bounds, data)
    if isinstance(pairs, Check):
        return [pairs]
    if bounds.pairs == AUTO_PAIRS:
        bounds = bounds.model_copy(update={"severity": "warn"})
    try:
        answers = invariance.predict(model_path, pairs, task)
    except Exception as error:  # A model may raise any error, which fails the check.
        return [invariance.prediction_failed(error, bounds)]
    return invariance.check_pairs(pairs, answers, bounds)
