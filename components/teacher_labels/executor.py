"""Labels texts with the teachers, and measures the teachers on the test rows."""

import json
from typing import Any, Iterator, Sequence

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from artifacts import examples as examples_artifact
from artifacts import teacher_labels
from components.teacher_labels import rows, teachers
from core.config import DistillConfig
from schema import features
from schema.task import Task, task_from_json
from trainer import tokens

EXAMPLES = "examples"
CONFIG = "config"
TASK = "task"
FINGERPRINT = "fingerprint"
LABELS = "labels"

# The fields of `DistillConfig` that this component reads; the others concern the training.
SETTINGS = {"teachers", "texts"}


class Executor(base_executor.BaseExecutor):
    """Writes the artifact of `artifacts.teacher_labels`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Labels the texts.

        Args:
          input_dict: `examples`: one `standard_artifacts.Examples` with the splits train, dev and test.
          output_dict: `labels`: one `standard_artifacts.Examples`.
          exec_properties: `config`: JSON of `DistillConfig`; `task`: JSON of the task; `fingerprint` is only for the
            cache.

        Raises:
          UserError: a teacher was not pushed or predicts something else, or a table can't be used.
        """
        config = DistillConfig.model_validate_json(exec_properties[CONFIG])
        task = task_from_json(json.loads(exec_properties[TASK]))
        digests = teachers.check(config.teachers, task)
        output = artifact_utils.get_single_instance(output_dict[LABELS])
        output.split_names = artifact_utils.encode_split_names(list(teacher_labels.SPLITS))
        splits = {name: _patterns(input_dict[EXAMPLES], name) for name in features.SPLITS}
        test, labels = _read_test(splits[features.TEST_SPLIT])
        held_back = {features.DEV_SPLIT: set(_read_texts(splits[features.DEV_SPLIT])), features.TEST_SPLIT: set(test)}
        texts, left_out, rejected = rows.collect(_read_texts(splits[features.TRAIN_SPLIT]), config.texts, held_back)
        logits = [_logits_of_both(folder, texts, test) for folder in config.teachers]
        text_logits, test_logits = (np.mean(each, axis=0) for each in zip(*logits, strict=True))
        answers = task.answers_of(text_logits)
        teacher_labels.write_rows(output.uri, teacher_labels.UNLABELLED_SPLIT, texts, answers, text_logits)
        teacher_labels.write_rows(output.uri, features.TEST_SPLIT, test, labels, test_logits)
        figures = teacher_labels.TeacherFigures(
            teachers=[
                {"path": path, "sha256": digest, "value": _measure(task, labels, own)}
                for path, digest, (_, own) in zip(config.teachers, digests, logits, strict=True)
            ],
            metric=task.training_metric,
            value=_measure(task, labels, test_logits),
            rows=len(texts),
            test_rows=len(test),
            left_out=left_out,
            rejected=rejected,
        )
        teacher_labels.write_figures(output.uri, figures)


def _patterns(artifacts: list[types.Artifact], split: str) -> list[str]:
    return [artifact_utils.get_split_uri(artifacts, split) + "/*"]


def _read_texts(patterns: Sequence[str]) -> Iterator[examples_artifact.Texts]:
    for _, texts, _ in examples_artifact.read_rows(patterns, tokens.CHUNK_ROWS):
        yield from texts


def _read_test(patterns: Sequence[str]) -> tuple[list[examples_artifact.Texts], np.ndarray]:
    """Returns texts and labels of the test rows, in an order that does not depend on their shards."""
    chunks = list(examples_artifact.read_rows(patterns, tokens.CHUNK_ROWS))
    texts = [row for _, rows, _ in chunks for row in rows]
    labels = np.concatenate([labels for *_, labels in chunks])
    order = sorted(range(len(texts)), key=lambda row: (texts[row], labels[row]))
    return [texts[row] for row in order], labels[order]


def _logits_of_both(
    folder: str, texts: Sequence[examples_artifact.Texts], test: Sequence[examples_artifact.Texts]
) -> tuple[np.ndarray, np.ndarray]:
    logits = teachers.compute_logits(folder, [*texts, *test], "labelling with the teacher")
    return logits[: len(texts)], logits[len(texts) :]


def _measure(task: Task, labels: np.ndarray, logits: np.ndarray) -> float:
    return float(np.mean(task.example_scores(labels, logits)))
