"""The sections of a configuration and their defaults; `gates` and `kubeflow` have their own modules."""

import codecs
import json
from typing import Annotated, Any, Literal, Mapping, Optional, Union

import pydantic

from core.beam_config import BeamConfig
from core.config.gates import GatesConfig
from core.kubeflow_config import KubeflowConfig
from core.section import Count, Fraction, OpenFraction, Positive, Section
from schema.labels import Case
from schema.task import CLASSIFICATION, Task, curated_schema, make_task

Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]

# Names that a shell and YAML leave alone.
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}

# How a text's vector is computed: by the encoder's own pooler, or from the last layer: the mean over the tokens, or the
# first token.
Pooling = Literal["pooler", "mean", "first"]

CURATED_SCHEMA = curated_schema(CLASSIFICATION)


def is_wide(encoding: str) -> bool:
    """Returns whether a codec writes every character as two or more bytes."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


class DataConfig(Section):
    """Where the reviews are and how to read them.

    A location is a path, a glob, or an `https://` or `gs://` address; `{SPAN}` in it is replaced by `span`, or by the
    largest number that exists if `span` is null.
    """

    train: str
    dev: Optional[str] = None
    test: Optional[str] = None
    span: Optional[Annotated[int, pydantic.Field(ge=0)]] = None
    train_sha256: Optional[Sha256] = None
    dev_sha256: Optional[Sha256] = None
    test_sha256: Optional[Sha256] = None
    id: Optional[str] = "id"
    # One column, or the two of a pair of texts.
    text: Union[str, tuple[str, ...]] = "document"
    label: str = "label"
    task: Literal["classification", "ordinal", "regression"] = "classification"
    labels: Mapping[str, str] = {"0": "부정", "1": "긍정"}
    # Values whose rows are left out, and whether case distinguishes values.
    ignore_labels: tuple[str, ...] = ()
    label_case: Case = "exact"
    # The smallest and the largest label of a regression.
    score_range: Optional[tuple[float, float]] = None
    quoting: Literal["minimal", "none"] = "minimal"
    delimiter: str = "\t"
    # Makes the next character part of a field: a backslash in files with `\"` for a quote.
    escape: Optional[str] = None
    comment: Optional[str] = None
    # Lines before the header.
    skip_lines: Annotated[int, pydantic.Field(ge=0)] = 0
    format: Literal["auto", "tsv", "jsonl", "parquet"] = "auto"
    header: Union[bool, tuple[str, ...]] = True
    encoding: str = "utf-8"
    schema_file: Optional[str] = CURATED_SCHEMA
    sample_size: Optional[Count] = None
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    # Shares of the training file for the splits that have no file of their own.
    dev_fraction: OpenFraction = 0.1
    test_fraction: OpenFraction = 0.1
    max_rejected_fraction: Fraction = 0.01
    # Longer than any review; keeps a binary file from being read as one line.
    max_line_bytes: Annotated[int, pydantic.Field(ge=1024)] = 1 << 20

    @pydantic.model_validator(mode="before")
    @classmethod
    def _schema_of_task(cls, value: Any) -> Any:
        """Fills in the curated schema of the task."""
        if isinstance(value, Mapping) and "schema_file" not in value and isinstance(value.get("task"), str):
            return {**value, "schema_file": curated_schema(value["task"])}
        return value

    @property
    def texts(self) -> tuple[str, ...]:
        """The text columns."""
        return (self.text,) if isinstance(self.text, str) else self.text

    @pydantic.field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        """Numbers a list of names from 0, and converts YAML's numbers to text."""
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping):
            return value
        for word in (*value, *value.values()):
            if isinstance(word, bool):
                raise ValueError(f"YAML reads an unquoted name as {str(word).lower()}; put it in quotes")
        return {str(k): str(v) for k, v in value.items()}

    @pydantic.field_validator("ignore_labels", mode="before")
    @classmethod
    def _ignore_labels(cls, value: Any) -> Any:
        """Converts YAML's numbers to text."""
        if not isinstance(value, (list, tuple)):
            return value
        return tuple(cls._labels(dict.fromkeys(value, "")))

    @pydantic.field_validator("delimiter")
    @classmethod
    def _delimiter(cls, value: str) -> str:
        value = DELIMITERS.get(value, value)
        if len(value) != 1 or not value.isascii() or value in '"\r\n\0':
            raise ValueError(f"should be one ASCII character, or one of {', '.join(DELIMITERS)}")
        return value

    @pydantic.field_validator("escape", "comment")
    @classmethod
    def _one_character(cls, value: Optional[str]) -> Optional[str]:
        if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n\0'):
            raise ValueError("should be one ASCII character, or null")
        return value

    @pydantic.field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        try:
            newline = "\t\n".encode(codecs.lookup(value).name)
        except (LookupError, UnicodeError) as error:
            raise ValueError("should be a text encoding that Python supports, such as utf-8 or cp949") from error
        if newline != b"\t\n" and not is_wide(value):
            raise ValueError("should encode a tab and a newline as in ASCII; convert the file to utf-8 first")
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        self.make_task()
        if self.escape == self.delimiter:
            raise ValueError(f"escape: {self.escape!r} is the delimiter too")
        if self.span is not None and "{SPAN}" not in self.train:
            raise ValueError(f"span: {self.span} has no effect: train = {self.train} contains no {{SPAN}}")
        if self.dev is None and self.test is None and self.dev_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"dev_fraction: {self.dev_fraction} and test_fraction: {self.test_fraction} leave no training rows"
            )
        if self.header is False:
            raise ValueError("header: should be true, or the list of column names for a file without one")
        if not isinstance(self.header, bool):
            for column in filter(None, (self.id, *self.texts, self.label)):
                if column not in self.header:
                    raise ValueError(f"header: column {column!r} is missing from {list(self.header)}")
        return self

    def make_task(self) -> Task:
        """Returns the task for these columns and labels."""
        return make_task(self.texts, self.labels, self.task, self.score_range, self.ignore_labels, self.label_case)


class TextsConfig(Section):
    """A table of further texts for pre-training; most keys mean the same as under `data`."""

    file: str
    text: Union[str, tuple[str, ...]] = "document"
    # A column with a number in `score_range`, which pre-training predicts too. Rows without one only lack this loss.
    score: Optional[str] = None
    score_range: tuple[float, float] = (1.0, 10.0)
    quoting: Literal["minimal", "none"] = "minimal"
    delimiter: str = "\t"
    escape: Optional[str] = None
    comment: Optional[str] = None
    skip_lines: Annotated[int, pydantic.Field(ge=0)] = 0
    format: Literal["auto", "tsv", "jsonl", "parquet"] = "auto"
    header: Union[bool, tuple[str, ...]] = True
    encoding: str = "utf-8"
    max_line_bytes: Annotated[int, pydantic.Field(ge=1024)] = 1 << 20

    @pydantic.model_validator(mode="after")
    def _valid(self) -> "TextsConfig":
        low, high = self.score_range
        if low >= high:
            raise ValueError(f"score_range: {low} should be less than {high}")
        # Has the checks of the shared keys.
        self.data  # noqa: B018
        return self

    @property
    def data(self) -> DataConfig:
        """The table as the reader takes it; its label is the score."""
        shared = self.model_dump(exclude={"file", "score", "score_range"})
        if self.score is None:
            return DataConfig(train=self.file, id=None, label="", **shared)
        return DataConfig(
            train=self.file, id=None, label=self.score, task="regression", score_range=self.score_range, **shared
        )


class PretrainConfig(Section):
    """How EncoderPretrainer trains an encoder on the reviews."""

    # `mlm`: guess masked pieces; `electra`: find the pieces that a small generator replaced.
    objective: Literal["mlm", "electra"] = "mlm"
    # Further tables; the training split's texts are always used, its labels never.
    texts: tuple[TextsConfig, ...] = ()
    # An encoder to continue from, as `encoder.handle`; then sizes, casing and vocabulary are its own, and the most
    # frequent words that its vocabulary splits are added.
    continue_from: Optional[str] = None
    added_words: Annotated[int, pydantic.Field(ge=0)] = 1000
    vocabulary: Annotated[int, pydantic.Field(ge=100, le=200_000)] = 8000
    layers: Annotated[int, pydantic.Field(ge=1, le=48)] = 2
    hidden: Annotated[int, pydantic.Field(ge=8, le=4096)] = 128
    heads: Annotated[int, pydantic.Field(ge=1, le=64)] = 2
    # Width of the embeddings; null is `hidden`.
    embedding: Optional[Annotated[int, pydantic.Field(ge=8, le=4096)]] = None
    # Width of ELECTRA's generator as a share of the encoder's.
    generator_share: Annotated[float, pydantic.Field(gt=0.0, le=1.0)] = 0.25
    # Pieces to guess, and what the encoder sees of them: the mask, a random piece, or else the piece itself.
    mask_share: OpenFraction = 0.15
    mask_token_share: Fraction = 0.8
    random_share: Fraction = 0.1
    whole_words: bool = True
    # Weight of the score's loss beside the objective's.
    score_weight: Annotated[float, pydantic.Field(ge=0.0)] = 1.0
    steps: Annotated[int, pydantic.Field(ge=0)] = 1000
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    warmup_fraction: Fraction = 0.1
    max_length: Annotated[int, pydantic.Field(ge=8, le=512)] = 128
    lower_case: bool = False
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    # Of the texts, at most 5,000, for measuring.
    held_out_fraction: Annotated[float, pydantic.Field(ge=0.0, lt=0.5)] = 0.01
    # On held-out texts, at the end.
    min_accuracy: Optional[Fraction] = None
    # As under `trainer`.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    xla: Union[Literal["auto"], bool] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    checkpoint_seconds: Positive = 120.0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden: {self.hidden} should be a multiple of heads: {self.heads}")
        if self.mask_token_share + self.random_share > 1:
            raise ValueError(
                f"mask_token_share: {self.mask_token_share} and random_share: {self.random_share} should add up to at "
                "most 1"
            )
        return self


# A local `encoder.handle` with one of these is an archive.
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")


class EncoderConfig(Section):
    """Where the encoder comes from: `hub` fetches `handle`, `pretrain` trains one."""

    source: Literal["hub", "pretrain"] = "pretrain"
    handle: str = "bert_multi_cased"
    preprocess: Optional[str] = None
    # Expected digests of the two SavedModels, as `encoder.json` records them.
    sha256: Optional[Sha256] = None
    preprocess_sha256: Optional[Sha256] = None
    pretrain: PretrainConfig = PretrainConfig()


class TrainerConfig(Section):
    """How the classifier is trained."""

    mode: Literal["fine_tune", "feature_based"] = "fine_tune"
    pooling: Pooling = "pooler"
    epochs: Count = 5
    # `balanced` weighs the loss of a row by the inverse of its class's frequency.
    class_weights: Literal["none", "balanced"] = "none"
    # Of two classes. `auto` picks the one with the best macro F1 on dev.
    threshold: Union[Literal["auto"], Annotated[float, pydantic.Field(gt=0.0, lt=1.0)]] = 0.5
    batch_size: Count = 32
    learning_rate: Positive = 3e-5
    # The same in `feature_based`: on 14,274 NSMC rows the best of 3e-5 to 3e-2, which docs/training.md compares.
    head_learning_rate: Positive = 1e-2
    warmup_fraction: Fraction = 0.1
    dropout: Annotated[float, pydantic.Field(ge=0.0, lt=1.0)] = 0.1
    # Tokens of a review, [CLS] and [SEP] included; BERT has 512 positions.
    max_length: Annotated[int, pydantic.Field(ge=8, le=512)] = 128
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0
    # Of matrix products; `auto` picks the fastest on this device that costs no accuracy.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    # Whether XLA compiles the training step, for a few batch widths; `auto` does so on a GPU.
    xla: Union[Literal["auto"], bool] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    # Processes that train together, each with all GPUs of its host or its share of this machine's. `batch_size` is the
    # total over all of them: more workers train faster on the same batches.
    workers: Count = 1
    # A killed training loses at most this much work. A checkpoint holds three numbers per weight: 1.3 GB for BERT-base.
    checkpoint_seconds: Positive = 120.0

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate of the mode."""
        return self.learning_rate if self.mode == "fine_tune" else self.head_learning_rate

    @pydantic.model_validator(mode="after")
    def _enough_rows(self) -> "TrainerConfig":
        if self.workers > self.batch_size:
            raise ValueError(f"workers: {self.workers} should be at most batch_size: {self.batch_size}")
        return self


class DistillConfig(Section):
    """How a small model learns from larger ones; `trainer` and `encoder` are the small one's."""

    # Folders of pushed versions; several are an ensemble, whose logits are averaged.
    teachers: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    # Unlabelled texts for the teachers to label, in tables; the training split's are always used.
    texts: tuple[TextsConfig, ...] = ()
    # Weight of such a text in the loss; that of a labelled row is 1.
    weight: Positive = 1.0
    # Of classes: more than 1 makes the teachers' answers less sure.
    temperature: Positive = 1.0


class ServingConfig(Section):
    """The folder that a model server watches (default: `serving` under the pipeline's folder)."""

    dir: Optional[str] = None
    keep: Count = 5
    # Whether a model that `local_runner.py rollback` took out of serving may be pushed again.
    allow_rolled_back: bool = False

    @pydantic.field_validator("dir")
    @classmethod
    def _local(cls, value: Optional[str]) -> Optional[str]:
        # A push is atomic because of a rename, which object stores don't have.
        if value is not None and "://" in value:
            raise ValueError("should be a folder, not an address")
        return value


class NotifyConfig(Section):
    """Who is notified when a run has ended. `${NAME}` in the address and the headers is an environment variable."""

    on: tuple[Literal["pushed", "not_blessed", "stopped", "failed"], ...] = (
        "pushed",
        "not_blessed",
        "stopped",
        "failed",
    )
    webhook: Optional[Annotated[str, pydantic.Field(pattern=r"^(https?://|\$\{\w+\})")]] = None
    headers: Mapping[str, str] = {}
    # Slack, Mattermost and others show the field `text`.
    template: str = '{"text": "$message"}'
    # Program and arguments; gets `summary.json` on its standard input.
    command: tuple[str, ...] = ()

    @pydantic.field_validator("template")
    @classmethod
    def _json(cls, value: str) -> str:
        try:
            json.loads(value)
        except ValueError as error:
            raise ValueError(f"should be JSON ({error})") from error
        return value


class Config(Section):
    """A whole run."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    data: DataConfig
    encoder: EncoderConfig = EncoderConfig()
    trainer: TrainerConfig = TrainerConfig()
    # Without it, the model learns from the labelled rows only.
    distill: Optional[DistillConfig] = None
    gates: GatesConfig = GatesConfig()
    serving: ServingConfig = ServingConfig()
    beam: BeamConfig = BeamConfig()
    notify: NotifyConfig = NotifyConfig()
    # Only `kubeflow_runner.py` needs it.
    kubeflow: Optional[KubeflowConfig] = None

    @pydantic.model_validator(mode="after")
    def _trainer_fits_task(self) -> "Config":
        if self.trainer.class_weights != "none" and not self.task.label_names:
            raise ValueError(
                f"trainer.class_weights: {self.trainer.class_weights} needs classes; the labels are numbers (data.task)"
            )
        for table in self.distill.texts if self.distill else ():
            if table.score is not None:
                raise ValueError(f"distill.texts: score = {table.score}: only a pre-training uses it; remove it")
            if len(table.data.texts) != len(self.data.texts):
                raise ValueError(
                    f"distill.texts: text = {', '.join(table.data.texts)}: should be as many columns as data.text = "
                    f"{', '.join(self.data.texts)}"
                )
        if self.trainer.threshold != 0.5 and not self.task.has_threshold:
            raise ValueError(f"trainer.threshold: {self.trainer.threshold} is for two classes; remove it")
        return self

    @property
    def task(self) -> Task:
        """The task for the columns and labels of the data."""
        return self.data.make_task()
