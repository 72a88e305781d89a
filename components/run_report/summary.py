"""The summary of a run, the content of `summary.json`. Imports neither TensorFlow nor TFX, to load fast."""

import dataclasses
import glob
import os
import shlex
from typing import TYPE_CHECKING, Any, Literal, Mapping, Optional, Sequence

from artifacts import model_card
from core import checks, installation, intervals, versions
from core.errors import UserError
from schema import features

if TYPE_CHECKING:
    from artifacts.model_run import TrainingFigures
    from artifacts.pretraining import PretrainingFigures
    from artifacts.teacher_labels import TeacherFigures

SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"

Status = Literal["pushed", "not_blessed", "stopped", "failed"]

EXIT_STATUS: Mapping[Status, int] = {"pushed": 0, "failed": 1, "stopped": 2, "not_blessed": 3}


# Texts for `predict` if no test row is suitable: the first alone, or both as a pair.
_SENTENCES = ("이것은 놀라운 영화입니다!", "정말 최고다")
# Test rows to look for a sentence in, and the lengths in characters of one that says something and fits into a line.
_SEARCHED_ROWS = 2000
_LENGTHS = range(8, 41)
_BEST_LENGTH = 20


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """Number of accepted rows of a split, rejected rows by reason, and rows that `data.ignore_labels` leaves out."""

    accepted: int
    rejected: Mapping[str, int]
    left_out: int = 0


@dataclasses.dataclass(frozen=True)
class DataSummary:
    """The data of a run.

    Attributes:
      files: role (`train`, `dev`, `test`) -> names of the files; `dev` and `test` are empty if that split is held out
        of the training files.
      fingerprint: SHA-256 of the files' content.
      examples: the folder of `Split-train/`, `Split-dev/`, `Split-test/` and `rejected/`.
    """

    files: Mapping[str, Sequence[str]]
    fingerprint: str
    examples: str


@dataclasses.dataclass(frozen=True)
class EncoderSummary:
    """The encoder of a run.

    Attributes:
      source: `hub` or `pretrain`.
      handle: its catalogue name, address or folder, or a description of its size.
      digest: SHA-256 of the encoder's SavedModel.
      path: the folder of `preprocess/` and `encoder/`.
      layers: number of Transformer layers, None if unknown.
      hidden: width of the outputs.
      vocabulary: number of word pieces, None if unknown.
      pretraining: how it was pretrained here; None for an encoder from elsewhere.
    """

    source: str
    handle: str
    digest: str
    path: str
    layers: Optional[int]
    hidden: int
    vocabulary: Optional[int]
    pretraining: Optional["PretrainingFigures"] = None

    @property
    def sizes(self) -> str:
        """What is known of its sizes."""
        layers = "" if self.layers is None else f"{self.layers} layers, "
        vocabulary = "" if self.vocabulary is None else f", {self.vocabulary:,} word pieces"
        return f"{layers}{self.hidden} wide{vocabulary}"


@dataclasses.dataclass(frozen=True)
class ComponentSummary:
    """The execution of one component; `status` is `not_run`, `complete` or `failed`."""

    id: str
    status: str
    seconds: float
    cached: bool


@dataclasses.dataclass(frozen=True)
class Summary:
    """The summary of a run; a field keeps its default if the run ended before its component.

    Attributes:
      pipeline: name of the pipeline.
      status: the outcome.
      rows: row counts by split.
      data: the input files and the examples made of them.
      encoder: the encoder that was fine-tuned.
      training: measurements of the training.
      distillation: the teachers and the texts that they labelled; None without teachers.
      metrics: metrics of the candidate and of the model previously in serving.
      metric_titles: metric name -> what people call it, with the names of the labels.
      metric_intervals: metric name -> 95 % confidence interval of the candidate's value, for metrics that have one.
      gates: all checks of all gates.
      model_path: folder of the candidate's SavedModel, pushed or not; only of local runs.
      pushed_path: folder of the pushed version.
      already_in_serving: whether that version was in serving before the run, so that nothing new was pushed.
      error: why the run failed or was stopped.
      components: in the order of the graph; only of local runs.
      started: ISO 8601, UTC; only of local runs.
      seconds: duration; only of local runs.
      run: id of the run, the name of its folder in the history; only of local runs.
      run_folder: that folder; only of local runs.
      report_path: path of `report.html`.
      versions: versions of Python and the packages.
    """

    pipeline: str
    status: Status
    rows: Mapping[str, SplitRows] = dataclasses.field(default_factory=dict)
    data: Optional[DataSummary] = None
    encoder: Optional[EncoderSummary] = None
    training: Optional["TrainingFigures"] = None
    distillation: Optional["TeacherFigures"] = None
    metrics: checks.Metrics = dataclasses.field(default_factory=lambda: checks.NO_METRICS)
    metric_titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metric_intervals: Mapping[str, intervals.Interval] = dataclasses.field(default_factory=dict)
    gates: Sequence[checks.Check] = ()
    model_path: Optional[str] = None
    pushed_path: Optional[str] = None
    already_in_serving: bool = False
    error: Optional[str] = None
    components: Sequence[ComponentSummary] = ()
    started: Optional[str] = None
    seconds: Optional[float] = None
    run: Optional[str] = None
    run_folder: Optional[str] = None
    report_path: Optional[str] = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions.installed)

    @property
    def exit_status(self) -> int:
        """The exit status of the command that ran the pipeline."""
        return EXIT_STATUS[self.status]

    @property
    def reason(self) -> str:
        """Why nothing was pushed; empty after a push."""
        return find_reason(self.error, self.gates)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `summary.json`."""
        return {**dataclasses.asdict(self), "exit_status": self.exit_status}


def describe_distillation(summary: Summary) -> str:
    """Returns a sentence on the teachers, their texts, and what the student lost; empty without teachers."""
    taught = summary.distillation
    if taught is None:
        return ""
    who = "a teacher" if len(taught.teachers) == 1 else f"{len(taught.teachers)} teachers"
    lost = next((check.value for check in summary.gates if check.check.endswith("_below_teacher")), None)
    student = ""
    if isinstance(lost, float):
        whom = "it" if len(taught.teachers) == 1 else "them"
        student = f"; the student is {abs(lost):.4f} {'below' if lost > 0 else 'above'} {whom}"
    return f"learned from {who} with {taught.metric} {taught.value:.4f}, on {taught.rows:,} texts{student}"


def predict_command(summary: Summary) -> str:
    """Returns a command that labels a short test row with the pushed model, so in the language of the data."""
    model_dir = summary.pushed_path or ""
    try:
        inputs = len(model_card.read(model_dir).task.text_inputs)
    except UserError:  # On a cluster the model may be on another machine.
        inputs = 1
    texts = _short_row(summary.data.examples) if summary.data else None
    sentences = texts if texts and len(texts) == inputs else _SENTENCES[:inputs]
    words = " ".join(shlex.quote(sentence) for sentence in sentences)
    return f"{installation.command('local_runner.py')} predict --model {model_dir} {words}"


def _short_row(examples_dir: str) -> Optional[Sequence[str]]:
    """Returns the texts of a test row to show in a command; None if none is suitable."""
    from artifacts import examples  # Imports TensorFlow.

    shards = glob.glob(os.path.join(glob.escape(examples_dir), f"Split-{features.TEST_SPLIT}", "*"))
    if not shards:
        return None
    chunks = examples.read_rows(shards, _SEARCHED_ROWS)
    rows = [[text.decode("utf-8", "replace") for text in texts] for texts in next(chunks, ((), (), ()))[1]]
    suitable = [row for row in rows if all(map(_suits_command_line, row))]
    return min(suitable, key=lambda row: (sum(abs(len(text) - _BEST_LENGTH) for text in row), row), default=None)


def _suits_command_line(text: str) -> bool:
    # A dash would begin an option, and a quote in quotes can't be read.
    return len(text) in _LENGTHS and text.isprintable() and not text.startswith("-") and "'" not in text


def find_reason(error: Optional[str], gates: Sequence[checks.Check]) -> str:
    """Returns why nothing was pushed: the error, or the first failed check and how many more failed; else empty."""
    failed = [check for check in gates if check.blocks]
    if error or not failed:
        return error or ""
    others = len(failed) - 1
    more = f" (and {others} more failed check{'' if others == 1 else 's'})" if others else ""
    return failed[0].reason + more


def why_not_pushed(content: Mapping[str, Any]) -> str:
    """Returns why nothing was pushed, from the content of `summary.json`; empty after a push."""
    if content.get("status") == "pushed":
        return ""
    return find_reason(content.get("error"), [checks.Check(**check) for check in content.get("gates", ())])


def describe(content: Mapping[str, Any]) -> str:
    """Returns the outcome of a run in words, from the content of `summary.json`."""
    status, path = str(content.get("status")), content.get("pushed_path")
    if status == "pushed" and content.get("already_in_serving"):
        return f"already in serving, nothing new was pushed: this model is {path}"
    if status == "pushed":
        return f"pushed to {path}"
    how = "not blessed, nothing was pushed" if status == "not_blessed" else status
    return f"{how}: {why_not_pushed(content)}"


def run_folder(reports_dir: str, run_id: Optional[str]) -> str:
    """Returns the folder of one run's reports.

    Raises:
      ValueError: `run_id` is None.
    """
    if run_id is None:
        raise ValueError(f"run id missing: it is the name of the run's folder in {reports_dir}")
    return os.path.join(reports_dir, run_id)
