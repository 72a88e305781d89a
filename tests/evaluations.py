"""Real evaluations of tiny models, for tests: the stock Evaluator's own executor on a table of texts and answers."""

import os
from typing import Mapping, Sequence, TypeVar

import numpy as np
import tensorflow as tf
from tfx.components.evaluator.executor import Executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import json_utils, path_utils, proto_utils

from components.model_gate import evaluation
from schema import features
from tests import saved_models

Artifact = TypeVar("Artifact")

# (text, label)
Rows = Sequence[tuple[str, int]]


def save_table(uri: str, answers: Mapping[str, float]) -> standard_artifacts.Model:
    """Writes a `Model` artifact that answers each text with its probability of class 1, and any other with 0.5."""
    texts = tf.constant(list(answers))
    probabilities = np.array(list(answers.values()))
    logits = tf.constant(np.log(probabilities / (1 - probabilities)), tf.float32)

    def look_up(text: tf.Tensor, unused_logit: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(tf.cast(tf.equal(text[:, tf.newaxis], texts), tf.float32), logits)

    return saved_models.save_artifact(uri, change=look_up)


def save_baseline(uri: str, answers: Mapping[str, float], source: str = "serving") -> standard_artifacts.Model:
    """Writes a baseline artifact as BaselineModel does."""
    baseline = save_table(uri, answers)
    baseline.set_string_custom_property("source", source)
    return baseline


def evaluate(
    folder: str, rows: Rows, candidate: standard_artifacts.Model, baseline: standard_artifacts.Model
) -> standard_artifacts.ModelEvaluation:
    """Evaluates both models on the rows as the pipeline does.

    Args:
      folder: for `examples/`, `evaluation/` and `blessing/`.
      rows: rows of the test split.
      candidate: a model.
      baseline: another, or the same.
    """
    evaluated = _place(standard_artifacts.ModelEvaluation(), os.path.join(folder, "evaluation"))
    Executor().Do(
        {
            "examples": [_write_examples(os.path.join(folder, "examples"), rows)],
            "model": [candidate],
            "baseline_model": [baseline],
        },
        {"evaluation": [evaluated], "blessing": [_place(standard_artifacts.ModelBlessing(), f"{folder}/blessing")]},
        {
            "eval_config": proto_utils.proto_to_json(evaluation.make_eval_config(saved_models.TASK)),
            "example_splits": json_utils.dumps([features.TEST_SPLIT]),
            "module_path": evaluation.__name__,
            "fairness_indicator_thresholds": "null",
        },
    )
    return evaluated


def serving_folder(model: standard_artifacts.Model) -> str:
    """Returns the folder of a model artifact's SavedModel."""
    return path_utils.serving_model_dir(model.uri)


def _write_examples(uri: str, rows: Rows) -> standard_artifacts.Examples:
    examples = _place(standard_artifacts.Examples(), uri)
    examples.split_names = artifact_utils.encode_split_names([features.TEST_SPLIT])
    split = os.path.join(uri, f"Split-{features.TEST_SPLIT}")
    os.makedirs(split)
    with tf.io.TFRecordWriter(os.path.join(split, "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for text, label in rows:
            example = tf.train.Example()
            example.features.feature[features.ID].bytes_list.value.append(b"1")
            example.features.feature[features.DOCUMENT].bytes_list.value.append(text.encode())
            example.features.feature[features.LABEL].int64_list.value.append(label)
            writer.write(example.SerializeToString())
    return examples


def _place(artifact: Artifact, uri: str) -> Artifact:
    os.makedirs(uri)
    artifact.uri = uri
    return artifact
