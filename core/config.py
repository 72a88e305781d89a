"""The configuration of a run: frozen, validated models, one a concern.

A YAML file under `configs/` holds the sections; `--set section.key=value` changes any of them. Relative
paths in a file are relative to that file's folder, those after `--set` to the current folder.
"""

import codecs
import os
import re
from typing import Annotated, Any, Literal, Mapping, Optional, Sequence, Union

import pydantic
import yaml

from core.checks import Severity
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig
from core.section import Count, Fraction, OpenFraction, Positive, Section
from schema import slices
from schema.task import Task, make_task

Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]

CURATED_SCHEMA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "schema", "schema.pbtxt")

# Fields that hold a location, by dotted name; local ones are made absolute when a file is read.
LOCATION_FIELDS = (
    "data.train",
    "data.test",
    "data.schema_file",
    "encoder.handle",
    "encoder.preprocess",
    "gates.invariance.pairs",
    "serving.dir",
)

# The key under `gates.slices` that stands for every slice.
_DEFAULT = "default"


class DataConfig(Section):
    """Where the reviews are and how to read them.

    A location is a path, a glob, or an `https://` or `gs://` address; `{SPAN}` in it stands for digits: those of
    `span`, or the largest that exist where that is null.
    """

    train: str
    test: Optional[str] = None
    span: Optional[Annotated[int, pydantic.Field(ge=0)]] = None
    train_sha256: Optional[Sha256] = None
    test_sha256: Optional[Sha256] = None
    id: Optional[str] = "id"
    text: str = "document"
    label: str = "label"
    labels: Mapping[str, str] = {"0": "부정", "1": "긍정"}
    quoting: Literal["minimal", "none"] = "minimal"
    header: Union[bool, tuple[str, ...]] = True
    encoding: str = "utf-8"
    schema_file: Optional[str] = CURATED_SCHEMA
    sample_size: Optional[Count] = None
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    dev_fraction: OpenFraction = 0.1
    # Used where no test file is given: that share of the training file is held out instead.
    test_fraction: OpenFraction = 0.1
    max_rejected_fraction: Fraction = 0.01
    # A longer line is no review; the bound keeps a binary file from being read as one line.
    max_line_bytes: Annotated[int, pydantic.Field(ge=1024)] = 1 << 20

    @pydantic.field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        """A list of names stands for the values 0, 1, ...; YAML's numbers are taken as text."""
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping):
            return value
        for word in (*value, *value.values()):
            if isinstance(word, bool):
                raise ValueError(f"a name is read as {str(word).lower()}; YAML wants it in quotes")
        return {str(k): str(v) for k, v in value.items()}

    @pydantic.field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        try:
            newline = "\t\n".encode(codecs.lookup(value).name)
        except (LookupError, UnicodeError) as error:
            raise ValueError("should be a text encoding that Python knows, such as utf-8 or cp949") from error
        if newline != b"\t\n":
            raise ValueError("a tab and a newline should be one byte each in it; convert the file to utf-8 first")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        make_task((self.text,), self.labels)
        if self.span is not None and "{SPAN}" not in self.train:
            raise ValueError(f"span: {self.span}: train = {self.train} has no {{SPAN}} that it could stand for")
        if self.test is None and self.dev_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"dev_fraction: {self.dev_fraction} and test_fraction: {self.test_fraction} leave no training rows"
            )
        if self.header is False:
            raise ValueError("header: should be true, or the list of column names for a file without one")
        if not isinstance(self.header, bool):
            for column in filter(None, (self.id, self.text, self.label)):
                if column not in self.header:
                    raise ValueError(f"header: {list(self.header)} lacks the column {column!r}")
        return self


class PretrainConfig(Section):
    """The encoder that is made from the reviews where none is downloaded."""

    vocabulary: Annotated[int, pydantic.Field(ge=100, le=200_000)] = 8000
    layers: Annotated[int, pydantic.Field(ge=1, le=48)] = 2
    hidden: Annotated[int, pydantic.Field(ge=8, le=4096)] = 128
    heads: Annotated[int, pydantic.Field(ge=1, le=64)] = 2
    steps: Annotated[int, pydantic.Field(ge=0)] = 1000
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    max_length: Annotated[int, pydantic.Field(ge=8, le=512)] = 128
    lower_case: bool = False
    seed: Annotated[int, pydantic.Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _divisible(self) -> "PretrainConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden: {self.hidden} should be a multiple of heads: {self.heads}")
        return self


class EncoderConfig(Section):
    """Where the encoder comes from: `hub` takes `handle`, `pretrain` makes one by `pretrain`."""

    source: Literal["hub", "pretrain"] = "pretrain"
    handle: str = "bert_multi_cased"
    preprocess: Optional[str] = None
    # What the two should turn out to be, whoever holds them: digests as `encoder.json` records them.
    sha256: Optional[Sha256] = None
    preprocess_sha256: Optional[Sha256] = None
    pretrain: PretrainConfig = PretrainConfig()


class TrainerConfig(Section):
    """How the classifier is trained."""

    mode: Literal["fine_tune", "feature_based"] = "fine_tune"
    epochs: Count = 5
    batch_size: Count = 32
    learning_rate: Positive = 3e-5
    warmup_fraction: Fraction = 0.1
    dropout: Annotated[float, pydantic.Field(ge=0.0, lt=1.0)] = 0.1
    # Tokens of a review, [CLS] and [SEP] included; BERT has 512 positions.
    max_length: Annotated[int, pydantic.Field(ge=8, le=512)] = 128
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    # Of matrix products; `auto` takes what this device multiplies faster without loss of accuracy.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    # Whether XLA compiles the training step, for a few batch widths; `auto` does so on a GPU.
    xla: Union[Literal["auto"], bool] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    # Processes that train together, each with all GPUs of its host or its share of this one's. `batch_size` is that
    # of all of them together: more workers are faster, not different.
    workers: Count = 1
    # What a killed training loses at most. A state holds three numbers a weight: 1.3 GB for BERT-base.
    checkpoint_seconds: Positive = 120.0

    @pydantic.model_validator(mode="after")
    def _enough_rows(self) -> "TrainerConfig":
        if self.workers > self.batch_size:
            raise ValueError(f"workers: {self.workers} can't share a batch_size of {self.batch_size}")
        return self


# Scripts that text is told apart by: each is the first word of the Unicode names of its letters, but for Han
# (`CJK ...`), Kana (Hiragana and Katakana) and Jamo (Hangul taken apart into letters that combine).
Script = Literal[
    "Hangul", "Latin", "Han", "Kana", "Cyrillic", "Greek", "Arabic", "Hebrew", "Thai", "Devanagari", "Jamo"
]


class CheckSeverity(Section):
    """What a check does whose bound is a setting of its own, or none at all."""

    severity: Severity = "fail"


class UpperBound(CheckSeverity):
    """The most that a check allows."""

    max: Fraction


class DataGateConfig(Section):
    """Bounds of DataGate; a check's section has the check's name, and may leave out what it does not change."""

    # Each label's share of a split; a file with one label only has shares of 0 and 1.
    min_label_share: Annotated[float, pydantic.Field(ge=0.0, le=0.5)] = 0.05
    max_label_share: Annotated[float, pydantic.Field(ge=0.5, le=1.0)] = 0.95
    min_rows: Count = 20
    # Least share of a script among the letters of a split, such as {Hangul: 0.5}: what keeps the first run, which has
    # nothing to compare with, from taking English or a wrongly decoded file for Korean.
    min_script_shares: Mapping[Script, Fraction] = {}

    schema_anomalies: CheckSeverity = CheckSeverity()
    rejected_fraction: CheckSeverity = CheckSeverity()
    rows: CheckSeverity = CheckSeverity()
    label_balance: CheckSeverity = CheckSeverity()
    script_share: CheckSeverity = CheckSeverity()
    served_profile: CheckSeverity = CheckSeverity(severity="warn")

    # NSMC has none; of UTF-8 read as Latin-1 it is 36 %.
    unreadable_characters: UpperBound = UpperBound(max=0.01)
    # Short reviews repeat: 1.6 % of 5,000 test rows of NSMC are among 14,274 training rows, 2.2 % among 34,272.
    test_in_train: UpperBound = UpperBound(max=0.1)
    # Of the training rows, by the tokeniser of the model in serving, whatever data it was made from. A vocabulary of
    # 8,000 from half of NSMC does not know 0.3 % of the other half; one of 2,000 from the bundled sample 13 % of NSMC.
    unknown_tokens: UpperBound = UpperBound(max=0.1)

    # Drift: the training rows against those behind the model in serving. Skew: the test rows against the training rows.
    # At the 99th percentile of 300 draws of 500 and 500 rows of NSMC labels differ by 0.08, lengths by 0.02, scripts by
    # 0.01, vocabularies by 0.03; of 20 draws of its halves none by more than 0.02, 0.001, 0.003 and 0.008.
    min_compared_rows: Count = 500
    label_drift: UpperBound = UpperBound(max=0.1)
    label_skew: UpperBound = UpperBound(max=0.1)
    length_drift: UpperBound = UpperBound(max=0.05)
    length_skew: UpperBound = UpperBound(max=0.05)
    script_drift: UpperBound = UpperBound(max=0.05)
    script_skew: UpperBound = UpperBound(max=0.05)
    oov_drift: UpperBound = UpperBound(max=0.05)
    oov_skew: UpperBound = UpperBound(max=0.05)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _completed(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """What a check's section leaves out is as in its default."""
        default = cls.model_fields[info.field_name].default
        if isinstance(default, CheckSeverity) and isinstance(value, Mapping):
            return {**default.model_dump(), **value}
        return value


class MetricBound(Section):
    """Bounds of one metric: on its value, and on how much worse than the model in serving it may be.

    `min` and `max_drop` are for a metric where higher is better, `max` and `max_rise` for the others. Null is no bound.
    """

    min: Optional[Fraction] = None
    max_drop: Optional[Fraction] = None
    max: Optional[Fraction] = None
    max_rise: Optional[Fraction] = None
    severity: Severity = "fail"


class SliceBound(Section):
    """Bounds of the task's slice metric on one slice of the test rows; fewer rows than `min_rows` are not judged."""

    min: Fraction
    max_drop: Fraction
    min_rows: Count
    severity: Severity = "fail"


class FailedPairs(Section):
    """The share of the sentence pairs of each kind that may fail."""

    same: Fraction = 0.2
    # Small models read words more than sentences: 1 for a model that is not asked to know negation.
    different: Fraction = 0.5


class InvarianceGateConfig(Section):
    """Sentence pairs that the model must answer alike, or must not."""

    # TSV with the columns kind, what, first, second; null asks none.
    pairs: Optional[str] = None
    max_failed: FailedPairs = FailedPairs()
    # Scores so near each other agree, even on both sides of the boundary between two labels.
    tolerance: Fraction = 0.1
    severity: Severity = "fail"


# The checks of ServingValidator, in the order of its report.
ServingCheck = Literal[
    "loads",
    "self_contained",
    "answers_real_rows",
    "agrees_with_training",
    "batch_independent",
    "concurrent_callers",
    "latency_p50_ms",
    "latency_p99_ms",
    "refuses_bad_input",
    "answers_hostile_rows",
    "memory_mb",
    "model_server",
]


class ServingGateConfig(Section):
    """Bounds of ServingValidator; what has none of its own allows no failure at all."""

    # Checks that do something else than fail, by name.
    severity: Mapping[ServingCheck, Severity] = {}
    # float32 sums in another order differ by about 1e-6; anything past 1e-5 is another function.
    tolerance: Positive = 1e-5
    # Of one review alone, on the processors of the machine that asks.
    max_p50_ms: Positive = 500.0
    max_p99_ms: Positive = 1000.0
    max_memory_mb: Positive = 8192.0
    # Threads that ask at once: as many meet one another without a wait for a core on most machines.
    concurrent_callers: Annotated[int, pydantic.Field(ge=2, le=256)] = 4
    startup_timeout_s: Positive = 300.0
    # For all requests together: some 1,800 rows, of which a large BERT on one core answers a few a second.
    answer_timeout_s: Annotated[float, pydantic.Field(gt=0.0, le=86_400.0)] = 1800.0
    # Whether a real TensorFlow Serving is asked, too: where there is one, always (else the check fails), never.
    model_server: Literal["auto", "required", "off"] = "auto"
    # Asked where no `tensorflow_model_server` is on PATH but Docker has this image; it is never pulled. Name the one
    # that serves in production: servers of different versions know different operations.
    model_server_image: Annotated[str, pydantic.Field(pattern=r"^[\w][\w./:@-]*$")] = "tensorflow/serving:latest"

    @pydantic.field_validator("model_server", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        """YAML 1.1 reads `off` as false."""
        return "off" if value is False else value


class GatesConfig(Section):
    """Bounds of every gate.

    A metric that `model` leaves out has the task's own bounds. `slices` has a bound for each slice; `default` in a file
    stands for all of them.
    """

    data: DataGateConfig = DataGateConfig()
    model: Mapping[str, MetricBound] = {}
    slices: Mapping[str, SliceBound] = {}
    invariance: InvarianceGateConfig = InvarianceGateConfig()
    serving: ServingGateConfig = ServingGateConfig()


class ServingConfig(Section):
    """The folder that a model server watches (default: `serving` under the pipeline's folder)."""

    dir: Optional[str] = None
    keep: Count = 5
    # Whether a model that `local_runner.py rollback` took out of serving may be pushed again.
    allow_rolled_back: bool = False

    @pydantic.field_validator("dir")
    @classmethod
    def _local(cls, value: Optional[str]) -> Optional[str]:
        # A rename is what makes a push atomic, and object stores have none.
        if value is not None and "://" in value:
            raise ValueError("should be a folder, not an address")
        return value


class BeamConfig(Section):
    """Beam's own flags, as Beam spells them; none is its direct runner on this machine."""

    args: tuple[str, ...] = ()


class Config(Section):
    """A whole run."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    data: DataConfig
    encoder: EncoderConfig = EncoderConfig()
    trainer: TrainerConfig = TrainerConfig()
    gates: GatesConfig = GatesConfig()
    serving: ServingConfig = ServingConfig()
    beam: BeamConfig = BeamConfig()
    # Only `kubeflow_runner.py` asks for it.
    kubeflow: Optional[KubeflowConfig] = None

    @property
    def task(self) -> Task:
        """The task that the data's columns and labels ask for."""
        return make_task((self.data.text,), self.data.labels)


def load_config(file: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and applies overrides.

    Args:
      file: path of the YAML file.
      overrides: `section.key=value` strings; the value is read as YAML.

    Returns:
      The validated configuration, its local locations absolute.

    Raises:
      UserError: the file can't be read, or a key or value is wrong; all faults are listed.
    """
    tree = _read_yaml(file)
    _make_locations_absolute(tree, os.path.dirname(os.path.abspath(file)))
    given = _override_tree(overrides)
    _make_locations_absolute(given, os.getcwd())
    tree = _merged(tree, given)
    try:
        return Config.model_validate(_with_task_bounds(tree))
    except pydantic.ValidationError as error:
        raise UserError(f"{file}: {describe_faults(error)}") from error


def describe_faults(error: pydantic.ValidationError, section: str = "") -> str:
    """Returns all that is wrong in one line.

    Args:
      error: of validating a configuration, or one section of it.
      section: that section's name.
    """
    prefix = (section,) if section else ()
    return "; ".join(_fault({**fault, "loc": (*prefix, *fault["loc"])}) for fault in error.errors())


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            tree = yaml.safe_load(stream)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; configs/ holds examples") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{file}: should hold sections such as `data:`, got {type(tree).__name__}")
    return tree


def _override_tree(overrides: Sequence[str]) -> dict[str, Any]:
    """`["a.b=1"]` -> `{"a": {"b": 1}}`; later ones win."""
    tree: dict[str, Any] = {}
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key:
            raise UserError(f"--set {override}: should be KEY=VALUE, such as trainer.epochs=3")
        if not raw.isascii() and any("\ud800" <= letter <= "\udfff" for letter in raw):
            # Python's stand-in for bytes that are no text; JSON has none.
            raise UserError(f"--set {override}: the value is not UTF-8")
        try:
            value = _yaml_value(raw)
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not valid YAML") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        tree = _merged(tree, value)
    return tree


def _yaml_value(raw: str) -> Any:
    """YAML 1.1 reads `3e-5` as text; a number is what the reader means."""
    value = yaml.safe_load(raw)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; where both hold a value, `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "labels":
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _with_task_bounds(tree: dict[str, Any]) -> dict[str, Any]:
    """Puts the task's default bounds under `gates`, so that a file states only what it changes.

    Raises:
      UserError: a metric, a slice, or a key of a metric does not exist.
    """
    try:
        data = DataConfig.model_validate(tree.get("data"))
        stated = {gate: dict(tree.get("gates", {}).get(gate, {})) for gate in ("model", "slices")}
    except (pydantic.ValidationError, AttributeError, TypeError, ValueError):
        return tree  # The whole tree's validation reports it with its full name.
    task = make_task((data.text,), data.labels)
    _check_metric_bounds(stated["model"], task)
    bounds = {"model": _merged(task.default_bounds, stated["model"]), "slices": _slice_bounds(stated["slices"], task)}
    return {**tree, "gates": {**tree.get("gates", {}), **bounds}}


def _check_metric_bounds(stated: Mapping[str, Any], task: Task) -> None:
    for name, bound in stated.items():
        if name not in task.evaluation_metrics:
            raise UserError(f"gates.model.{name}: no such metric; there are {', '.join(task.evaluation_metrics)}")
        lower = task.evaluation_metrics[name].lower_is_better
        right, wrong = (("max", "max_rise"), ("min", "max_drop"))[:: 1 if lower else -1]
        for key in wrong:
            if isinstance(bound, Mapping) and bound.get(key) is not None:
                better, instead = "lower" if lower else "higher", right[wrong.index(key)]
                raise UserError(f"gates.model.{name}.{key}: {better} is better for this metric; its key is {instead}")


def _slice_bounds(stated: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Each slice's bound: the task's default, then `default`, then the slice's own."""
    for name, bound in stated.items():
        if name not in (_DEFAULT, *slices.NAMES):
            raise UserError(f"gates.slices.{name}: no such slice; there are {_DEFAULT}, {', '.join(slices.NAMES)}")
        if not isinstance(bound, Mapping):
            raise UserError(f"gates.slices.{name} = {bound!r}: should hold any of {', '.join(SliceBound.model_fields)}")
    default = {**task.default_slice_bound, **stated.get(_DEFAULT, {})}
    return {name: {**default, **stated.get(name, {})} for name in slices.NAMES}


def _make_locations_absolute(tree: dict[str, Any], folder: str) -> None:
    """Resolves relative local locations in place; addresses and catalogue names stay as they are."""
    for field in LOCATION_FIELDS:
        *sections, key = field.split(".")
        holder: Any = tree
        for section in sections:
            holder = holder.get(section) if isinstance(holder, dict) else None
        location = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(location, str) and _is_local(field, location):
            holder[key] = os.path.normpath(os.path.join(folder, os.path.expanduser(location)))


def _is_local(field: str, location: str) -> bool:
    if "://" in location:
        return False
    # A handle without a separator is a catalogue name.
    return not field.startswith("encoder.") or os.sep in location or location.startswith(".")


def _fault(error: Mapping[str, Any]) -> str:
    """One pydantic error as `data.dev_fraction = 1.5: should be less than 1`."""
    field = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if error["type"] == "extra_forbidden":
        return f"{field}: no such key{_did_you_mean(error['loc'])}"
    if error["type"] == "missing":
        return f"{field}: missing"
    if isinstance(error["input"], (Mapping, Section)):
        return f"{field}: {message}" if field else message
    return f"{field} = {error['input']!r}: {message}"


def _did_you_mean(location: Sequence[Union[str, int]]) -> str:
    model: Any = Config
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(str(part))
        model = field.annotation if field else None
    known = getattr(model, "model_fields", None)
    return f"; there are {', '.join(known)}" if known else ""
