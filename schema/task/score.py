"""A number in a range, such as a similarity from 0 to 5."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence

from schema.task.base import EvaluationMetric, Label, Task

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Groups of scores whose shares are checked and compared.
_GROUPS = 10

# A score this close counts as right where a yes or no is needed, as a share of the range.
_RIGHT = 0.1


@dataclasses.dataclass(frozen=True)
class ScoreTask(Task):
    """A score from `low` to `high`: the sigmoid of one logit, scaled to the range.

    The loss is the cross-entropy with the label's place in the range (a fractional logit model: Papke and Wooldridge
    1996), whose gradient does not vanish at the ends as that of the squared error does.

    Attributes:
      low: the smallest label.
      high: the largest label.
    """

    low: float
    high: float
    kind: str = dataclasses.field(default="score", init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"score_range: [{self.low:g}, {self.high:g}] should be two numbers, the smaller one first")

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": "regression", "score_range": self.score_range}

    @property
    def label_names(self) -> tuple[str, ...]:
        return ()

    @property
    def score_range(self) -> Optional[tuple[float, float]]:
        return self.low, self.high

    def parse_label(self, raw: str) -> Optional[Label]:
        try:
            score = float(raw)
        except ValueError:
            return None
        return score if self.low <= score <= self.high else None

    def format_label(self, label: Label) -> str:
        return f"{label:.6g}"

    @property
    def label_groups(self) -> tuple[str, ...]:
        edges = [self.low + (self.high - self.low) * i / _GROUPS for i in range(_GROUPS + 1)]
        return tuple(f"{low:.4g} to {high:.4g}" for low, high in zip(edges, edges[1:], strict=False))

    def group_labels(self, labels: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return np.clip((self._places(labels) * _GROUPS).astype(np.int64), 0, _GROUPS - 1)

    @property
    def min_label_share(self) -> float:
        return 0.0

    @property
    def head_units(self) -> int:
        return 1

    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.nn.sigmoid_cross_entropy_with_logits(self._places(tf.cast(labels, tf.float32)), logits[:, 0])

    def distillation_losses(self, teacher: "tf.Tensor", logits: "tf.Tensor", temperature: float) -> "tf.Tensor":
        """Takes the teacher's score as the label; a score has no temperature."""
        return self.example_losses(self.served_outputs(teacher)["score"], logits)

    @property
    def answer_output(self) -> str:
        return "score"

    @property
    def training_metric(self) -> str:
        return "closeness"

    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Returns 1 minus the absolute error as a share of the range, whose mean selects the best epoch."""
        import tensorflow as tf

        return 1.0 - tf.abs(self._places(tf.cast(labels, tf.float32)) - tf.sigmoid(logits[:, 0]))

    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        return {"score": self.low + (self.high - self.low) * tf.sigmoid(tf.cast(logits[:, 0], tf.float32))}

    @property
    def evaluated_output(self) -> str:
        return "score"

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            "pearson": EvaluationMetric(limits=(-1.0, 1.0)),
            "spearman": EvaluationMetric(limits=(-1.0, 1.0)),
            "mean_absolute_error": EvaluationMetric(lower_is_better=True, limits=(0.0, self.high - self.low)),
        }

    @property
    def metric_titles(self) -> Mapping[str, str]:
        return {
            "pearson": "Pearson correlation",
            "spearman": "Spearman correlation",
            "mean_absolute_error": "mean absolute error",
        }

    @property
    def paired_metrics(self) -> EvaluationMetric:
        return EvaluationMetric("ScoreMetrics", arguments={"low": self.low, "high": self.high})

    @property
    def notable_rows(self) -> EvaluationMetric:
        return EvaluationMetric(
            "NotableRows", arguments={"ranking": "scores", "right": _RIGHT * (self.high - self.low)}
        )

    @property
    def plots(self) -> tuple[str, ...]:
        return ("score_scatter", "score_histogram")

    @property
    def report_notes(self) -> tuple[str, str, str]:
        what = f"The numbers are scores from {self.low:g} to {self.high:g}."
        return what, "Largest errors", f"The score is more than {_RIGHT:.0%} of the range away from the label."

    @property
    def slice_metric(self) -> str:
        return "pearson"

    @property
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        size = self.high - self.low
        return {
            # A small encoder trained on 7,000 rows reaches 0.44 on NSMC's stars.
            "pearson": {"min": 0.4, "max_drop": 0.02},
            "spearman": {"min": 0.4, "max_drop": 0.02},
            # The middle of the range is a quarter of it away from evenly distributed labels.
            "mean_absolute_error": {"max": 0.25 * size, "max_rise": 0.02 * size},
        }

    @property
    def default_slice_bound(self) -> Mapping[str, float]:
        # On 50 rows the 95 % confidence interval of a correlation of 0.5 is about +/- 0.2.
        return {"min": 0.2, "max_drop": 0.1, "min_rows": 50}

    def class_probabilities(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        import numpy as np

        return np.zeros((len(outputs["score"]), 0))

    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        return [("", score) for score in outputs["score"].tolist()]

    def answer_shares(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        return self._places(outputs["score"])

    def answer_strengths(self, outputs: "Mapping[str, np.ndarray]", row: int) -> "np.ndarray":
        return self.answer_shares(outputs)

    @property
    def implausible(self) -> str:
        return f"a score is outside {self.low:g} to {self.high:g}"

    def comparable(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        return self._places(outputs["score"])

    @property
    def answer_columns(self) -> tuple[str, ...]:
        return ("score",)

    def answers(self, outputs: "Mapping[str, np.ndarray]") -> list[dict[str, Any]]:
        return [{"score": score} for score in outputs["score"].tolist()]

    def describe_answer(self, answer: Mapping[str, Any]) -> Sequence[str]:
        return (f"{answer['score']:8.4g}",)

    def answer_label(self, answer: Mapping[str, Any]) -> Label:
        return answer["score"]

    @property
    def answer_quality(self) -> str:
        return "mean absolute error"

    def rate_answer(self, label: Label, answer: Mapping[str, Any]) -> float:
        return abs(answer["score"] - label)

    def rate_mistake(self, label: Label, answer: Mapping[str, Any]) -> float:
        return self.rate_answer(label, answer)

    def is_comparable(self, other: Task) -> bool:
        return self.score_range == other.score_range

    def describe_labels(self) -> str:
        return f"a score from {self.low:g} to {self.high:g}"

    def is_right(self, label: Label, answer: Mapping[str, Any]) -> bool:
        return self.rate_answer(label, answer) <= _RIGHT * (self.high - self.low)

    def _places(self, scores: Any) -> Any:
        """Returns scores' places in the range, 0 to 1."""
        return (scores - self.low) / (self.high - self.low)
