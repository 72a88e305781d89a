"""Two classes."""

import dataclasses
from typing import TYPE_CHECKING, Mapping

from schema.task.base import EvaluationMetric
from schema.task.classes import ClassTask

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class BinaryTask(ClassTask):
    """Two classes: sigmoid of one logit; the output `probability` is that of the second class (index 1)."""

    kind: str = dataclasses.field(default="binary", init=False)

    @property
    def head_units(self) -> int:
        return 1

    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits[:, 0])

    def distillation_losses(self, teacher: "tf.Tensor", logits: "tf.Tensor", temperature: float) -> "tf.Tensor":
        import tensorflow as tf

        targets = tf.sigmoid(teacher[:, 0] / temperature)
        return temperature**2 * tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0] / temperature)

    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        # A logit of 0 is a probability of 0.5.
        return tf.cast(tf.equal(logits[:, 0] > 0.0, labels > 0), tf.float32)

    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        logit = tf.cast(logits[:, 0], tf.float32)
        probability = tf.sigmoid(logit)
        # The same comparison as in the evaluation, so that both agree at the threshold.
        return {"probability": probability, **self.named_labels(tf.cast(probability > 0.5, tf.int64)), "logit": logit}

    @property
    def has_threshold(self) -> bool:
        return True

    def best_threshold(self, labels: "np.ndarray", logits: "np.ndarray") -> float:
        import numpy as np

        probabilities = 1.0 / (1.0 + np.exp(-logits[:, 0].astype(np.float64)))
        # Of equally good ones, `max` takes the first, which is the nearest to 0.5.
        hundredths = sorted(range(1, 100), key=lambda step: abs(step - 50))
        return max(hundredths, key=lambda step: _macro_f1(labels == 1, probabilities > step / 100)) / 100

    @property
    def evaluated_output(self) -> str:
        return "probability"

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            **super().evaluation_metrics,
            "accuracy": EvaluationMetric("BinaryAccuracy"),
            "auc": EvaluationMetric("AUC"),
            "recall_0": EvaluationMetric("Specificity"),
            "recall_1": EvaluationMetric("Recall"),
            "calibration_error": EvaluationMetric("CalibrationError", lower_is_better=True),
        }

    @property
    def metric_titles(self) -> Mapping[str, str]:
        return {"accuracy": "accuracy", "auc": "AUC", **super().metric_titles}

    @property
    def paired_metrics(self) -> EvaluationMetric:
        return EvaluationMetric("PairedErrors")

    @property
    def notable_rows(self) -> EvaluationMetric:
        return EvaluationMetric("NotableRows")

    @property
    def plots(self) -> tuple[str, ...]:
        return ("scores", "calibration", "roc", "precision_recall")

    @property
    def report_notes(self) -> tuple[str, str, str]:
        what = f"The numbers are probabilities of {self.label_names[1]}."
        return what, "Most confident mistakes", "The candidate is sure of the other label."

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


def _macro_f1(labels: "np.ndarray", answers: "np.ndarray") -> float:
    """Returns the mean of both classes' F1, for labels and answers bool[n]."""
    wrong = (labels != answers).sum()
    right = (labels & answers).sum(), (~labels & ~answers).sum()
    return sum(2 * count / max(2 * count + wrong, 1) for count in right) / 2
