"""What tasks with classes have in common."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

from schema.labels import Case, Labels, LeftOut
from schema.task.base import EvaluationMetric, Label, Task

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Metrics of the confusion matrix, with the index of a class at the end if there is one for each class.
_OVERALL = {"accuracy": "accuracy", "f1_macro": "macro F1", "matthews": "Matthews correlation"}
_BY_CLASS = {"recall": "recall of", "f1": "F1 of"}


@dataclasses.dataclass(frozen=True)
class ClassTask(Task):
    """A task whose labels are classes.

    Attributes:
      labels: value in the file -> class name; the classes are in the order of the first values with their name.
      ignore_labels: values in the file whose rows are left out.
      label_case: whether values that differ only in case are different, as in `Labels.case`.
    """

    labels: Mapping[str, str]
    ignore_labels: tuple[str, ...] = ()
    label_case: Case = "exact"

    @functools.cached_property
    def values(self) -> Labels:
        """The values of the label column."""
        return Labels(self.labels, self.ignore_labels, self.label_case)

    @property
    def settings(self) -> dict[str, Any]:
        return {"labels": self.labels, "ignore_labels": self.ignore_labels, "label_case": self.label_case}

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.values.classes

    def parse_label(self, raw: str) -> Union[Label, LeftOut, None]:
        return self.values.parse(raw)

    def format_label(self, label: Label) -> str:
        return self.label_names[int(label)]

    @property
    def label_groups(self) -> tuple[str, ...]:
        return self.label_names

    def group_labels(self, labels: "np.ndarray") -> "np.ndarray":
        return labels

    @property
    def min_label_share(self) -> float:
        # A tenth of the share that a class has if all are equally frequent: 0.05 for two.
        return 0.1 / len(self.label_names)

    @property
    def training_metric(self) -> str:
        return "accuracy"

    @property
    def answer_output(self) -> str:
        return "label"

    def named_labels(self, labels: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Returns the served outputs `label`, int64[batch], and `label_name`, string[batch]: the names of its classes.

        Args:
          labels: integers [batch], the predicted classes.
        """
        import tensorflow as tf

        return {"label": tf.cast(labels, tf.int64), "label_name": tf.gather(tf.constant(self.label_names), labels)}

    @property
    def evaluation_metrics(self) -> Mapping[str, EvaluationMetric]:
        return {
            name: EvaluationMetric(
                lower_is_better=name == "calibration_error", limits=(-1.0 if name == "matthews" else 0.0, 1.0)
            )
            for name in self.metric_titles
        }

    @property
    def metric_titles(self) -> Mapping[str, str]:
        return {
            **_OVERALL,
            # By class index, because a label's name may be any text.
            **{f"{m}_{i}": f"{title} {n}" for m, title in _BY_CLASS.items() for i, n in enumerate(self.label_names)},
            "calibration_error": "calibration error",
        }

    @property
    def slice_metric(self) -> str:
        return "accuracy"

    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        names = self.label_names
        shares = self.answer_shares(outputs).tolist()
        return [(names[int(label)], share) for label, share in zip(outputs["label"].tolist(), shares, strict=True)]

    def answer_shares(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        import numpy as np

        probabilities = self.class_probabilities(outputs)
        return probabilities[np.arange(len(probabilities)), outputs["label"].astype(int)]

    def answer_strengths(self, outputs: "Mapping[str, np.ndarray]", row: int) -> "np.ndarray":
        return self.class_probabilities(outputs)[:, int(outputs["label"][row])]

    def find_misnamed(self, outputs: "Mapping[str, np.ndarray]") -> Optional[str]:
        for label, name in zip(outputs["label"].tolist(), outputs["label_name"].tolist(), strict=True):
            if name != self.format_label(label):
                return f"label_name is {name!r}, should be {self.format_label(label)!r}, the name of label {label:.0f}"
        return None

    @property
    def implausible(self) -> str:
        return "a probability is outside 0 to 1"

    def comparable(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        return outputs[self.evaluated_output]

    @property
    def answer_columns(self) -> tuple[str, ...]:
        return ("label_name", "probability")

    def answers(self, outputs: "Mapping[str, np.ndarray]") -> list[dict[str, Any]]:
        return [{"label_name": name, "probability": share} for name, share in self.predictions(outputs)]

    def describe_answer(self, answer: Mapping[str, Any]) -> Sequence[str]:
        return answer["label_name"], f"{answer['probability']:6.1%}"

    def answer_label(self, answer: Mapping[str, Any]) -> Label:
        return self.label_names.index(answer["label_name"])

    @property
    def answer_quality(self) -> str:
        return "accuracy"

    def rate_answer(self, label: Label, answer: Mapping[str, Any]) -> float:
        return float(self.is_right(label, answer))

    def rate_mistake(self, label: Label, answer: Mapping[str, Any]) -> float:
        return answer["probability"]

    def is_comparable(self, other: Task) -> bool:
        return self.label_names == other.label_names and self.evaluated_output == other.evaluated_output

    def describe_labels(self) -> str:
        return ", ".join(self.label_names)

    def is_right(self, label: Label, answer: Mapping[str, Any]) -> bool:
        return answer["label_name"] == self.format_label(label)
