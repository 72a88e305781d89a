"""What is predicted, and everything that depends on it.

`Task` is the one owner of: text columns, label values and names, head size, loss, metrics with their
gates' defaults, and served outputs. Nothing outside this module may assume a binary label over one text.
TensorFlow is imported inside the methods that need it, so that reading a configuration stays instant.
"""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class EvaluationMetric:
    """How TFMA computes a metric.

    Attributes:
      class_name: name of the Keras or TFMA class, or of one in the evaluation's own `metrics`.
      lower_is_better: whether it counts what is wrong.
    """

    class_name: str
    lower_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task over one text column.

    Attributes:
      text_columns: names of the input's text columns, in the order the encoder reads them.
      labels: value in the file -> name for a person, in class order.
    """

    text_columns: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes; the index is the `label` feature's value."""
        return tuple(self.labels.values())

    @abc.abstractmethod
    def parse_label(self, raw: str) -> Optional[int]:
        """Returns the `label` feature for a file's value, or None where it is outside the set."""

    @property
    @abc.abstractmethod
    def head_units(self) -> int:
        """Width of the dense layer on top of the encoder."""

    @abc.abstractmethod
    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Training losses float32[batch] of examples: labels int64[batch], logits float32[batch, head_units]."""

    @property
    @abc.abstractmethod
    def training_metric(self) -> str:
        """Name of the metric that is watched during training and picks the checkpoint; higher is better."""

    @abc.abstractmethod
    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """What examples add to the training metric, float32[batch], which is the mean; arguments as above."""

    @abc.abstractmethod
    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Turns logits float32[batch, head_units] into the outputs of the serving signatures."""

    @property
    @abc.abstractmethod
    def evaluated_output(self) -> str:
        """The served output that the evaluation compares with the label."""

    @property
    @abc.abstractmethod
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        """Name in reports and gates -> how it is computed, on `evaluated_output`."""

    @property
    @abc.abstractmethod
    def difference_errors(self) -> EvaluationMetric:
        """What computes the standard error of each metric's difference between two models."""

    @property
    @abc.abstractmethod
    def slice_metric(self) -> str:
        """The metric that every slice is held to; higher is better."""

    @property
    @abc.abstractmethod
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        """Defaults of `gates.model`: metric name -> `min` and `max_drop`, or `max` and `max_rise`."""

    @property
    @abc.abstractmethod
    def default_slice_bound(self) -> Mapping[str, float]:
        """Default of `gates.slices.default`: `min`, `max_drop` and `min_rows`."""

    @abc.abstractmethod
    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        """Returns (label name, its probability) for each row of the served outputs."""


class BinaryTask(Task):
    """Two classes: sigmoid over one logit; `probability` is that of the second class (index 1)."""

    def parse_label(self, raw: str) -> Optional[int]:
        values = tuple(self.labels)
        return values.index(raw) if raw in values else None

    @property
    def head_units(self) -> int:
        return 1

    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits[:, 0])

    @property
    def training_metric(self) -> str:
        return "accuracy"

    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        # A logit of 0 is a probability of 0.5.
        return tf.cast(tf.equal(logits[:, 0] > 0.0, labels > 0), tf.float32)

    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        logit = tf.cast(logits[:, 0], tf.float32)
        probability = tf.sigmoid(logit)
        # The same comparison as the evaluation makes, so that the two can't disagree at the boundary.
        return {"probability": probability, "label": tf.cast(probability > 0.5, tf.int64), "logit": logit}

    @property
    def evaluated_output(self) -> str:
        return "probability"

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            "accuracy": EvaluationMetric("BinaryAccuracy"),
            "auc": EvaluationMetric("AUC"),
            # Named by the class's index: a label's name may be any text.
            "recall_0": EvaluationMetric("Specificity"),
            "recall_1": EvaluationMetric("Recall"),
            "calibration_error": EvaluationMetric("CalibrationError", lower_is_better=True),
        }

    @property
    def difference_errors(self) -> EvaluationMetric:
        return EvaluationMetric("PairedErrors")

    @property
    def slice_metric(self) -> str:
        return "accuracy"

    @property
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        return {
            "accuracy": {"min": 0.7, "max_drop": 0.01},
            "auc": {"min": 0.75, "max_drop": 0.01},
            # Half the rows of a class: below it that label is worth less than a coin's.
            "recall_0": {"min": 0.5, "max_drop": 0.03},
            "recall_1": {"min": 0.5, "max_drop": 0.03},
            "calibration_error": {"max": 0.2, "max_rise": 0.03},
        }

    @property
    def default_slice_bound(self) -> Mapping[str, float]:
        # Of 50 rows an accuracy of 0.7 is within 0.13 with 95 % confidence; a smaller slice says little.
        return {"min": 0.55, "max_drop": 0.05, "min_rows": 50}

    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        return [
            (self.label_names[int(label)], float(p if label == 1 else 1.0 - p))
            for label, p in zip(outputs["label"], outputs["probability"], strict=True)
        ]


def make_task(text_columns: Sequence[str], labels: Mapping[str, str]) -> Task:
    """Chooses the task for the columns and labels of a configuration.

    Raises:
      ValueError: the combination has no task; the text says what there is.
    """
    if len(text_columns) != 1:
        raise ValueError(f"{len(text_columns)} text columns: one is what there is a task for")
    if len(labels) != 2:
        raise ValueError(f"{len(labels)} labels: two is what there is a task for")
    return BinaryTask(tuple(text_columns), dict(labels))


def task_from_json(spec: Mapping[str, Any]) -> Task:
    """Rebuilds a task from `dataclasses.asdict` of one, as it crosses process boundaries."""
    return make_task(spec["text_columns"], spec["labels"])
