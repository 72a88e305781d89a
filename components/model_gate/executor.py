"""Reads the evaluation, asks the sentence pairs, and writes the blessing."""

import json
import os
from typing import Any, Sequence

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.baseline_model.executor import SERVING
from components.model_gate import evaluation, invariance, metric_checks
from core.checks import Check, write_checks, write_metrics
from core.config import GatesConfig
from schema.task import Task, task_from_json

EVALUATION = "evaluation"
MODEL = "model"
BASELINE = "baseline"
BLESSING = "blessing"
GATE = "gate"
PAIRS_FILE = "pairs_file"


class Executor(base_executor.BaseExecutor):
    """Writes a `ModelBlessing` with `checks.json` and `metrics.json`; a bad model is a verdict, not an exception."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges the model.

        Raises:
          UserError: the file of sentence pairs can't be read, or a line of it is wrong.
        """
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in input_dict.items()}
        gate = json.loads(exec_properties[GATE])
        task, bounds = task_from_json(gate["task"]), GatesConfig.model_validate(gate["gates"])
        has_baseline = inputs[BASELINE].get_string_custom_property("source") == SERVING
        compared = evaluation.read_comparisons(inputs[EVALUATION].uri)
        overall = compared[evaluation.OVERALL]
        made = [
            *metric_checks.check_metrics(overall, bounds.model, task, has_baseline),
            *metric_checks.check_slices(compared, bounds.slices, task, has_baseline),
            *_check_pairs(inputs[MODEL], exec_properties[PAIRS_FILE], bounds, task),
        ]
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        write_metrics(
            blessing.uri,
            {"candidate": overall.candidate, "baseline": overall.baseline if has_baseline else None},
        )
        _bless(blessing, made)


def _check_pairs(model: types.Artifact, file: str, bounds: GatesConfig, task: Task) -> list[Check]:
    if not file:
        return [invariance.nothing_asked()]
    pairs = invariance.read_pairs(file)
    try:
        answers = invariance.ask(path_utils.serving_model_path(model.uri), pairs, task)
    except Exception as error:  # Whatever a model does to the one who asks it is a verdict on the model.
        return [invariance.no_answer(error, bounds.invariance)]
    return invariance.check_pairs(pairs, answers, bounds.invariance)


def _bless(blessing: types.Artifact, made: Sequence[Check]) -> None:
    """Writes the checks, and the marker and property by which TFX's Pusher knows a blessed model."""
    blessed = not any(check.blocks for check in made)
    write_checks(blessing.uri, made)
    marker = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    with open(os.path.join(blessing.uri, marker), "wb"):
        pass
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
