"""The task to learn, and everything that depends on it.

`Task` owns the text columns, label values and names, head size, loss, metrics with the defaults of their bounds, and
served outputs. Other modules take these from it. A task other than two classes also needs changes in:

- `core.config.DataConfig`: `labels` are classes;
- `schema.features` and its users: an example has an integer `label`; `schema.pbtxt` allows 0 and 1;
- `components.model_gate.metrics`: the metrics that `BinaryTask` refers to are for two classes;
- `components.serving_validator.comparison`: probabilities come from `Task.predictions`, which needs classes.

TensorFlow is imported inside the methods that need it, so that reading a configuration stays fast.
"""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence

from schema import features

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class EvaluationMetric:
    """How TFMA computes a metric.

    Attributes:
      class_name: name of a class in `components.model_gate.metrics`, else in Keras or TFMA.
      lower_is_better: whether the metric measures errors.
    """

    class_name: str
    lower_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task over one text column, or two for pairs of texts.

    Attributes:
      text_columns: names of the input's text columns, in the order of the encoder's segments.
      labels: value in the file -> display name, in class order.
    """

    text_columns: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def text_features(self) -> tuple[str, ...]:
        """The features of an example that hold its texts."""
        return features.TEXTS[: len(self.text_columns)]

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """The inputs of a served model that take the texts."""
        return features.TEXT_INPUTS[: len(self.text_columns)]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by the `label` feature."""
        return tuple(self.labels.values())

    @abc.abstractmethod
    def parse_label(self, raw: str) -> Optional[int]:
        """Returns the `label` feature for a value in the file, or None if it is not a label."""

    @property
    @abc.abstractmethod
    def head_units(self) -> int:
        """Width of the dense layer on top of the encoder."""

    @abc.abstractmethod
    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Returns training losses float32[batch] for labels int64[batch] and logits float32[batch, head_units]."""

    @property
    @abc.abstractmethod
    def training_metric(self) -> str:
        """Name of the metric that selects the best epoch; higher is better."""

    @abc.abstractmethod
    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Returns float32[batch], whose mean is the training metric; arguments as in `example_losses`."""

    @abc.abstractmethod
    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Computes the outputs of the serving signatures from logits float32[batch, head_units]."""

    @property
    @abc.abstractmethod
    def evaluated_output(self) -> str:
        """The served output that the evaluation compares with the label."""

    @property
    @abc.abstractmethod
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        """Name in reports and gates -> how to compute it on `evaluated_output`."""

    @property
    @abc.abstractmethod
    def metric_titles(self) -> Mapping[str, str]:
        """Name of an evaluation metric -> what people call it, with the names of the labels."""

    @property
    @abc.abstractmethod
    def difference_errors(self) -> EvaluationMetric:
        """Computes the standard errors of the metrics' differences between two models."""

    @property
    @abc.abstractmethod
    def notable_rows(self) -> EvaluationMetric:
        """Collects rows for the report: confident mistakes, and rows that only one of two models labels correctly."""

    @property
    @abc.abstractmethod
    def slice_metric(self) -> str:
        """The metric that is bounded on every slice; higher is better."""

    @property
    @abc.abstractmethod
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        """Defaults of `gates.model`: metric name -> `min` and `max_drop`, or `max` and `max_rise`."""

    @property
    @abc.abstractmethod
    def default_slice_bound(self) -> Mapping[str, float]:
        """Default of `gates.slices.default`: `min`, `max_drop` and `min_rows`."""

    @abc.abstractmethod
    def class_probabilities(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Returns float[batch, classes] for the served outputs, in the order of `label_names`."""

    @abc.abstractmethod
    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        """Returns (label name, its probability) for each row of the served outputs."""


class BinaryTask(Task):
    """Two classes: sigmoid of one logit; the output `probability` is that of the second class (index 1)."""

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
        # The same comparison as in the evaluation, so that both agree at the threshold.
        return {"probability": probability, "label": tf.cast(probability > 0.5, tf.int64), "logit": logit}

    @property
    def evaluated_output(self) -> str:
        return "probability"

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            "accuracy": EvaluationMetric("BinaryAccuracy"),
            "auc": EvaluationMetric("AUC"),
            # By class index, because a label's name may be any text.
            "recall_0": EvaluationMetric("Specificity"),
            "recall_1": EvaluationMetric("Recall"),
            "calibration_error": EvaluationMetric("CalibrationError", lower_is_better=True),
        }

    @property
    def metric_titles(self) -> Mapping[str, str]:
        return {
            "accuracy": "accuracy",
            "auc": "AUC",
            "recall_0": f"recall of {self.label_names[0]}",
            "recall_1": f"recall of {self.label_names[1]}",
            "calibration_error": "calibration error",
        }

    @property
    def difference_errors(self) -> EvaluationMetric:
        return EvaluationMetric("PairedErrors")

    @property
    def notable_rows(self) -> EvaluationMetric:
        return EvaluationMetric("NotableRows")

    @property
    def slice_metric(self) -> str:
        return "accuracy"

    @property
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        return {
            "accuracy": {"min": 0.7, "max_drop": 0.01},
            "auc": {"min": 0.75, "max_drop": 0.01},
            # Below half of the rows of a class, a coin toss is better.
            "recall_0": {"min": 0.5, "max_drop": 0.03},
            "recall_1": {"min": 0.5, "max_drop": 0.03},
            "calibration_error": {"max": 0.2, "max_rise": 0.03},
        }

    @property
    def default_slice_bound(self) -> Mapping[str, float]:
        # On 50 rows the 95 % confidence interval of an accuracy of 0.7 is +/- 0.13; on fewer it is useless.
        return {"min": 0.55, "max_drop": 0.05, "min_rows": 50}

    def class_probabilities(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        import numpy as np

        return np.stack([1.0 - outputs["probability"], outputs["probability"]], axis=1)

    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        classes = zip(outputs["label"].tolist(), self.class_probabilities(outputs).tolist(), strict=True)
        return [(self.label_names[int(label)], probabilities[int(label)]) for label, probabilities in classes]


def make_task(text_columns: Sequence[str], labels: Mapping[str, str]) -> Task:
    """Chooses the task for the columns and labels of a configuration.

    Raises:
      ValueError: the combination is not supported.
    """
    if not 1 <= len(text_columns) <= len(features.TEXTS):
        raise ValueError(f"text: {len(text_columns)} columns; should be one, or the two of a pair")
    if len(set(text_columns)) != len(text_columns):
        raise ValueError(f"text: {text_columns[0]!r} is named twice; should be two different columns")
    if len(labels) != 2:
        raise ValueError(f"{len(labels)} labels: only two are supported")
    return BinaryTask(tuple(text_columns), dict(labels))


def task_from_json(spec: Mapping[str, Any]) -> Task:
    """Rebuilds a task from the result of `dataclasses.asdict`, which is passed between processes."""
    return make_task(spec["text_columns"], spec["labels"])
