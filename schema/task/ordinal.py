"""Classes in order, such as stars."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from schema.task.base import EvaluationMetric
from schema.task.multiclass import MulticlassTask

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class OrdinalTask(MulticlassTask):
    """Classes in order: logit k is that of being above class k, among the rows that are at least class k.

    This is the sequential (continuation ratio) model of Tutz, "Sequential models in categorical regression", 1991, and
    of CORN (Shi, Cao and Raschka 2023): the products of the steps are probabilities of the classes that always sum to
    1. With two classes it is the logistic model.
    """

    kind: str = dataclasses.field(default="ordinal", init=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "task": "ordinal"}

    @property
    def head_units(self) -> int:
        return len(self.label_names) - 1

    @property
    def initial_bias(self) -> tuple[float, ...]:
        # Step k divides one class from the `classes - 1 - k` above it; with zeros the first class would start at 1/2.
        return tuple(math.log(self.head_units - step) for step in range(self.head_units))

    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        # A row of class 2 has passed steps 0 and 1 and stopped at step 2; it says nothing about later steps.
        classes, steps = tf.cast(labels, tf.int64)[:, tf.newaxis], tf.range(self.head_units, dtype=tf.int64)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(classes > steps, tf.float32), logits)
        return tf.reduce_sum(tf.where(classes >= steps, losses, 0.0), axis=1)

    def distillation_losses(self, teacher: "tf.Tensor", logits: "tf.Tensor", temperature: float) -> "tf.Tensor":
        import tensorflow as tf

        # A step counts by the probability that the teacher gives to reaching it.
        passed = tf.sigmoid(teacher / temperature)
        reached = tf.math.cumprod(passed, axis=1, exclusive=True)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(passed, logits / temperature)
        return temperature**2 * tf.reduce_sum(reached * losses, axis=1)

    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        outputs = super().served_outputs(logits)
        values = tf.constant(self.class_values, tf.float32)
        return {**outputs, "expected_value": tf.linalg.matvec(outputs["probabilities"], values)}

    @property
    def class_values(self) -> tuple[float, ...]:
        """The number of each class: its value in the file if all are ascending numbers, else its index."""
        values = [_number(raw) for raw in self.labels]
        ascending = all(low < high for low, high in zip(values, values[1:], strict=False))
        return tuple(values if ascending and len(values) == len(self.label_names) else range(len(self.label_names)))

    def _probabilities(self, logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        # In logarithms, so that many steps lose no precision.
        passed = tf.cumsum(tf.math.log_sigmoid(logits), axis=1)
        reached = tf.pad(passed, [[0, 0], [1, 0]])
        return tf.exp(reached + tf.pad(tf.math.log_sigmoid(-logits), [[0, 0], [0, 1]]))

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            **super().evaluation_metrics,
            "mean_absolute_error": EvaluationMetric(lower_is_better=True, limits=(0.0, self._range)),
            "pearson": EvaluationMetric(limits=(-1.0, 1.0)),
            "spearman": EvaluationMetric(limits=(-1.0, 1.0)),
        }

    @property
    def metric_titles(self) -> Mapping[str, str]:
        return {
            **super().metric_titles,
            "mean_absolute_error": "mean absolute error of the expected value",
            "pearson": "Pearson correlation of the expected value",
            "spearman": "Spearman correlation of the expected value",
        }

    @property
    def paired_metrics(self) -> EvaluationMetric:
        classes = len(self.label_names)
        return EvaluationMetric("ClassMetrics", arguments={"classes": classes, "values": self.class_values})

    @property
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        # A guess of the middle is a quarter of the range away from evenly distributed labels.
        return {
            **super().default_bounds,
            "mean_absolute_error": {"max": 0.25 * self._range, "max_rise": 0.02 * self._range},
        }

    @property
    def _range(self) -> float:
        return self.class_values[-1] - self.class_values[0]

    @property
    def answer_columns(self) -> tuple[str, ...]:
        return (*super().answer_columns, "expected_value")

    def answers(self, outputs: "Mapping[str, np.ndarray]") -> list[dict[str, Any]]:
        return [
            {**answer, "expected_value": value}
            for answer, value in zip(super().answers(outputs), outputs["expected_value"].tolist(), strict=True)
        ]

    def describe_answer(self, answer: Mapping[str, Any]) -> Sequence[str]:
        return *super().describe_answer(answer), f"{answer['expected_value']:.2f}"


def _number(raw: str) -> float:
    """Returns a label's value as a number; nan, which is not less than any other, if it is not one."""
    try:
        value = float(raw)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
