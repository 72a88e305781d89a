"""More than two classes."""

import dataclasses
from typing import TYPE_CHECKING, Mapping

from schema.task.base import EvaluationMetric
from schema.task.classes import ClassTask

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class MulticlassTask(ClassTask):
    """Classes without an order: softmax of a logit for each."""

    kind: str = dataclasses.field(default="multiclass", init=False)

    @property
    def head_units(self) -> int:
        return len(self.label_names)

    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def distillation_losses(self, teacher: "tf.Tensor", logits: "tf.Tensor", temperature: float) -> "tf.Tensor":
        import tensorflow as tf

        targets = tf.nn.softmax(teacher / temperature)
        return temperature**2 * tf.nn.softmax_cross_entropy_with_logits(targets, logits / temperature)

    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.cast(tf.equal(tf.argmax(self._probabilities(logits), axis=1), labels), tf.float32)

    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        probabilities = self._probabilities(tf.cast(logits, tf.float32))
        return {
            "probabilities": probabilities,
            **self.named_labels(tf.argmax(probabilities, axis=1)),
            "probability": tf.reduce_max(probabilities, axis=1),
        }

    def _probabilities(self, logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.softmax(logits)

    @property
    def evaluated_output(self) -> str:
        return "probabilities"

    @property
    def paired_metrics(self) -> EvaluationMetric:
        return EvaluationMetric("ClassMetrics", arguments={"classes": len(self.label_names)})

    @property
    def notable_rows(self) -> EvaluationMetric:
        return EvaluationMetric("NotableRows", arguments={"ranking": "classes"})

    @property
    def plots(self) -> tuple[str, ...]:
        return ("confidence_calibration",)

    @property
    def report_notes(self) -> tuple[str, str, str]:
        what = "The numbers are the probabilities of the predicted labels."
        return what, "Most confident mistakes", "The candidate is sure of another label."

    @property
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        # Twice as good as the guess of a model that knows nothing, where two classes ask for 0.7.
        better = min(2.0 / len(self.label_names), 0.6)
        return {
            "accuracy": {"min": better, "max_drop": 0.01},
            "f1_macro": {"min": better / 2, "max_drop": 0.02},
            "calibration_error": {"max": 0.2, "max_rise": 0.03},
        }

    @property
    def default_slice_bound(self) -> Mapping[str, float]:
        # 50 rows as for two classes; a slice may be a fifth worse than the bound of all rows.
        return {"min": 0.8 * self.default_bounds["accuracy"]["min"], "max_drop": 0.05, "min_rows": 50}

    def class_probabilities(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        return outputs["probabilities"]
