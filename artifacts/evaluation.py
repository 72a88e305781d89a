"""The evaluation behind a report, `evaluation.json` in ModelGate's folder: scores, intervals, slices, notable rows."""

import os
from typing import Mapping, Optional, Union

from core.files import atomic_write
from core.section import Section

EVALUATION_FILE = "evaluation.json"


class Interval(Section):
    """A 95 % confidence interval."""

    low: float
    high: float


class Change(Section):
    """A metric's difference between the candidate and the model in serving, on the same rows."""

    difference: float
    interval: Optional[Interval]


class Slice(Section):
    """The task's slice metric on the rows of a slice.

    Attributes:
      rows: number of test rows.
      value: of the candidate; None if it is undefined on these rows.
      interval: of the candidate's value.
      baseline: of the model in serving; None without one.
      min: lower bound of the value; None without one, or if the slice has too few rows to be judged.
    """

    rows: int
    value: Optional[float]
    interval: Optional[Interval]
    baseline: Optional[float]
    min: Optional[float]


class NotableRow(Section):
    """A test row that a person may want to look at.

    Attributes:
      id: its id in the data.
      text: its text, or both texts of a pair; a long one is cut.
      label: its label feature.
      candidate: what the candidate says of it: for two classes the probability of class 1, for more that of its class;
        a score.
      baseline: that of the model in serving, or of the candidate if there is none.
      classes: for more than two classes, those of the candidate and of the model in serving.
    """

    id: str
    text: str
    label: Union[int, float]
    candidate: float
    baseline: float
    classes: Optional[tuple[int, int]] = None


class Scores(Section):
    """The scores of the test rows.

    Attributes:
      candidate: for each label (for scores, each of many equal ranges), the number of rows by answer: for two classes
        at each score, evenly spaced from 0 to 1; by class; or by range.
      baseline: the same for the model in serving, or the candidate's if there is none.
      fixed: number of rows that only the candidate labels correctly; for scores, whose error is much smaller.
      broken: number of rows that only the model in serving labels correctly; for scores, whose error is much larger.
      mistakes: number of rows that the candidate labels wrongly, or whose score is far off.
      confusion: the candidate's rows by label and class; empty without classes.
      calibration: model -> for each bin of the confidence in the answered class: rows, sum of the confidence minus the
        correct rows, sum of the confidence, both in thousandths.
    """

    candidate: tuple[tuple[int, ...], ...]
    baseline: tuple[tuple[int, ...], ...]
    fixed: int
    broken: int
    mistakes: int = 0
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: Mapping[str, tuple[tuple[int, int, int], ...]] = {}


class Evaluation(Section):
    """What an evaluation says beyond its metrics and checks.

    Attributes:
      label_names: names of the classes; empty if labels are numbers.
      plots: names of the plots in `components.run_report.charts`.
      metric_titles: metric name -> what people call it.
      has_baseline: whether a model is in serving; otherwise there is nothing to compare the candidate with.
      scores: the scores of all test rows.
      intervals: metric name -> confidence interval of the candidate's value, for metrics that have one.
      changes: metric name -> change against the model in serving; empty without one.
      answer_note: the meaning of the numbers of the notable rows.
      mistake_title: heading of `mistakes`.
      mistake_note: which rows `mistakes` has.
      slice_metric: name of the metric in `slices`.
      slices: slice name -> its figures.
      mistakes: the candidate's mistakes with the highest confidence, the highest first.
      fixed: rows that only the candidate labels correctly, the largest change of the probability first.
      broken: rows that only the model in serving labels correctly, likewise.
      suspicion: for each label, the smallest probability of the other class at which the label of a row is suspected to
        be wrong; None if a label has no test rows.
      suspects: number of test rows whose label is suspected to be wrong.
    """

    label_names: tuple[str, ...]
    # Files of earlier releases are about two classes.
    plots: tuple[str, ...] = ("scores", "calibration", "roc", "precision_recall")
    # The range of the scores; None for classes.
    score_range: Optional[tuple[float, float]] = None
    answer_note: str = ""
    mistake_title: str = "Most confident mistakes"
    mistake_note: str = "The candidate is sure of the other label."
    metric_titles: Mapping[str, str]
    has_baseline: bool
    scores: Scores
    intervals: Mapping[str, Interval]
    changes: Mapping[str, Change]
    slice_metric: str
    slices: Mapping[str, Slice]
    mistakes: tuple[NotableRow, ...]
    fixed: tuple[NotableRow, ...]
    broken: tuple[NotableRow, ...]
    suspicion: Optional[tuple[float, ...]]
    suspects: int

    def is_suspect(self, row: NotableRow) -> bool:
        """Returns whether a row's label is suspected to be wrong."""
        return self.suspicion is not None and abs(row.label - row.candidate) >= self.suspicion[int(row.label)]


def write(folder: str, evaluation: Evaluation) -> None:
    """Writes `evaluation.json`."""
    with atomic_write(os.path.join(folder, EVALUATION_FILE)) as stream:
        stream.write(evaluation.model_dump_json())


def read(folder: str) -> Optional[Evaluation]:
    """Reads `evaluation.json`; None without the file, which earlier versions did not write."""
    path = os.path.join(folder, EVALUATION_FILE)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as stream:
        return Evaluation.model_validate_json(stream.read())
