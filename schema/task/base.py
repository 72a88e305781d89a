"""What every task defines."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

from schema import features
from schema.labels import LeftOut

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# The `label` feature: index of a class, or a score.
Label = Union[int, float]


@dataclasses.dataclass(frozen=True)
class EvaluationMetric:
    """How TFMA computes a metric.

    Attributes:
      class_name: name of a class in `components.model_gate`, else in Keras or TFMA; empty if `Task.paired_metrics`
        computes the metric.
      lower_is_better: whether the metric measures errors.
      limits: smallest and largest possible value.
      arguments: keyword arguments of the class.
    """

    class_name: str = ""
    lower_is_better: bool = False
    limits: tuple[float, float] = (0.0, 1.0)
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task over one text column, or two for pairs of texts.

    Attributes:
      text_columns: names of the input's text columns, in the order of the encoder's segments.
    """

    text_columns: tuple[str, ...]

    @property
    def text_features(self) -> tuple[str, ...]:
        """The features of an example that hold its texts."""
        return features.TEXTS[: len(self.text_columns)]

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """The inputs of a served model that take the texts."""
        return features.TEXT_INPUTS[: len(self.text_columns)]

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keys of the section `data` that make this task, without the columns."""

    @property
    @abc.abstractmethod
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by the `label` feature; empty if labels are numbers."""

    @property
    def score_range(self) -> Optional[tuple[float, float]]:
        """The smallest and the largest label; None if labels are classes."""
        return None

    @abc.abstractmethod
    def parse_label(self, raw: str) -> Union[Label, LeftOut, None]:
        """Returns the `label` feature for a value in the file, `LEFT_OUT`, or None if it is not a label."""

    @abc.abstractmethod
    def format_label(self, label: Label) -> str:
        """Returns a `label` feature as people read it: the name of a class, or a number."""

    @property
    @abc.abstractmethod
    def label_groups(self) -> tuple[str, ...]:
        """Names of the groups whose shares the data gate checks and compares: the classes, or ranges of scores."""

    @abc.abstractmethod
    def group_labels(self, labels: "np.ndarray") -> "np.ndarray":
        """Returns int64[n], the index in `label_groups` of each label feature."""

    @property
    @abc.abstractmethod
    def min_label_share(self) -> float:
        """Default of `gates.data.min_label_share`."""

    @property
    @abc.abstractmethod
    def head_units(self) -> int:
        """Width of the dense layer on top of the encoder."""

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Where the bias of that layer starts, one number for each unit: all classes equally probable."""
        return (0.0,) * self.head_units

    @abc.abstractmethod
    def example_losses(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Returns training losses float32[batch] for label features [batch] and logits float32[batch, head_units]."""

    @abc.abstractmethod
    def distillation_losses(self, teacher: "tf.Tensor", logits: "tf.Tensor", temperature: float) -> "tf.Tensor":
        """Returns the losses float32[batch] of a student that learns the answers of a teacher.

        Args:
          teacher: the teacher's logits float32[batch, head_units].
          logits: the student's, the same shape.
          temperature: divides the logits of both; the losses are scaled so that their gradients keep their size
            (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
        """

    def answers_of(self, logits: "np.ndarray") -> "np.ndarray":
        """Returns the `label` features, int64[n] or float32[n], that logits float32[n, head_units] stand for."""
        return self.served_outputs(logits)[self.answer_output].numpy()

    @property
    @abc.abstractmethod
    def answer_output(self) -> str:
        """The served output that is a `label` feature."""

    @property
    @abc.abstractmethod
    def training_metric(self) -> str:
        """Name of the metric that selects the best epoch; higher is better."""

    @abc.abstractmethod
    def example_scores(self, labels: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        """Returns float32[batch], whose mean is the training metric; arguments as in `example_losses`."""

    def balanced_weights(self, labels: "np.ndarray") -> "np.ndarray":
        """Returns float32[classes], the weight of a row of each class, so that all classes weigh the same in total.

        Args:
          labels: int64[n], the training rows; their mean weight is 1.
        """
        import numpy as np

        counts = np.bincount(labels, minlength=len(self.label_names))
        return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)

    @property
    def has_threshold(self) -> bool:
        """Whether a threshold divides the answers in two."""
        return False

    def best_threshold(self, labels: "np.ndarray", logits: "np.ndarray") -> float:
        """Returns the threshold with the best macro F1 on some rows; only if `has_threshold`.

        Args:
          labels: int64[n].
          logits: float32[n, head_units].
        """
        raise NotImplementedError

    @abc.abstractmethod
    def served_outputs(self, logits: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Computes the outputs of the serving signatures from logits float32[batch, head_units].

        Those of type string name other outputs in words: they are neither compared nor evaluated.
        """

    def find_misnamed(self, outputs: "Mapping[str, np.ndarray]") -> Optional[str]:
        """Returns what is wrong with the served outputs that are words, or None; other tasks than classes have none."""
        return None

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
    def paired_metrics(self) -> EvaluationMetric:
        """Compares two models row by row: standard errors of the metrics' differences, and what the report draws."""

    @property
    @abc.abstractmethod
    def notable_rows(self) -> EvaluationMetric:
        """Collects rows for the report: the worst mistakes, and rows that only one of two models answers correctly."""

    @property
    @abc.abstractmethod
    def plots(self) -> tuple[str, ...]:
        """Names of the report's plots of the evaluation, in `components.run_report.charts`."""

    @property
    @abc.abstractmethod
    def report_notes(self) -> tuple[str, str, str]:
        """Says in the report what the numbers of the notable rows are, and the heading and meaning of the mistakes."""

    @property
    @abc.abstractmethod
    def slice_metric(self) -> str:
        """The metric that is bounded on every slice; higher is better."""

    @property
    @abc.abstractmethod
    def default_bounds(self) -> Mapping[str, Mapping[str, float]]:
        """Defaults of `gates.model`: metric name -> `min` and `max_drop`, or `max` and `max_rise`.

        A metric that is not here is reported, and has no bounds until the configuration sets them.
        """

    @property
    @abc.abstractmethod
    def default_slice_bound(self) -> Mapping[str, float]:
        """Default of `gates.slices.default`: `min`, `max_drop` and `min_rows`."""

    @abc.abstractmethod
    def class_probabilities(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Returns float[batch, classes] for the served outputs, in the order of `label_names`."""

    @abc.abstractmethod
    def predictions(self, outputs: "Mapping[str, np.ndarray]") -> list[tuple[str, float]]:
        """Returns (label name, its probability), or ("", score), for each row of the served outputs."""

    @abc.abstractmethod
    def answer_shares(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Returns float[batch], 0 to 1: the probability of the label of each row, or a score's place in its range.

        Raises:
          IndexError: a label is not the index of a class.
        """

    @abc.abstractmethod
    def answer_strengths(self, outputs: "Mapping[str, np.ndarray]", row: int) -> "np.ndarray":
        """Returns float[batch], 0 to 1: the probability that each row gives to the label of one of them, or its score.

        Args:
          outputs: the served outputs.
          row: index of the row whose answer is meant. A score is the place in its range, whichever row is meant.
        """

    @property
    @abc.abstractmethod
    def implausible(self) -> str:
        """What is wrong if one of `answer_shares` is outside 0 to 1."""

    @abc.abstractmethod
    def comparable(self, outputs: "Mapping[str, np.ndarray]") -> "np.ndarray":
        """Returns float[batch, ...] from 0 to 1, which is close for two texts that a model takes for the same."""

    @property
    @abc.abstractmethod
    def answer_columns(self) -> tuple[str, ...]:
        """Names of the columns that `predict` adds to a file."""

    @abc.abstractmethod
    def answers(self, outputs: "Mapping[str, np.ndarray]") -> list[dict[str, Any]]:
        """Returns the values of `answer_columns` for each row of the served outputs: texts and numbers."""

    @abc.abstractmethod
    def describe_answer(self, answer: Mapping[str, Any]) -> Sequence[str]:
        """Returns an answer as the terminal shows it: such as `positive` and ` 97.3%`."""

    @abc.abstractmethod
    def answer_label(self, answer: Mapping[str, Any]) -> Label:
        """Returns the label feature that an answer stands for: its class, or its score."""

    @property
    @abc.abstractmethod
    def answer_quality(self) -> str:
        """What people call the mean of `rate_answer`."""

    @abc.abstractmethod
    def rate_answer(self, label: Label, answer: Mapping[str, Any]) -> float:
        """Returns how good or bad an answer to a row with this label feature is."""

    @abc.abstractmethod
    def rate_mistake(self, label: Label, answer: Mapping[str, Any]) -> float:
        """Returns how bad a wrong answer is: its probability, or its error."""

    @abc.abstractmethod
    def is_comparable(self, other: "Task") -> bool:
        """Returns whether the answers of a model for another task can be compared: the same labels mean the same."""

    @abc.abstractmethod
    def describe_labels(self) -> str:
        """Returns what a model predicts: the names of the classes, or the range of the score."""

    @abc.abstractmethod
    def is_right(self, label: Label, answer: Mapping[str, Any]) -> bool:
        """Returns whether an answer counts as right for a row with this label feature."""
