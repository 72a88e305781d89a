"""Sections under `gates`: the bounds that every gate checks.

`gates.data`, `gates.invariance` and `gates.serving` have their defaults here. Those of `gates.model` and `gates.slices`
depend on the metrics of the task: `schema/task/` has them.
"""

from typing import Annotated, Any, Literal, Mapping, Optional

import pydantic

from core.checks import Severity
from core.section import Count, Finite, Fraction, Margin, Positive, Section

# The first word in the Unicode names of the letters, except Han (`CJK ...`), Kana (Hiragana and Katakana) and Jamo
# (Hangul decomposed into combining letters).
Script = Literal[
    "Hangul", "Latin", "Han", "Kana", "Cyrillic", "Greek", "Arabic", "Hebrew", "Thai", "Devanagari", "Jamo"
]


class CheckSeverity(Section):
    """A check whose bound is another key, or that has no bound."""

    severity: Severity = "fail"


class UpperBound(CheckSeverity):
    """A check with an upper bound."""

    max: Fraction


class DataGateConfig(Section):
    """Bounds of DataGate: a section for each check, by the name of the check."""

    # Share of each label in a split; a file with only one label has shares of 0 and 1.
    # The default is that of two labels; `load_config` takes the task's.
    min_label_share: Annotated[float, pydantic.Field(ge=0.0, le=0.5)] = 0.05
    max_label_share: Annotated[float, pydantic.Field(ge=0.5, le=1.0)] = 0.95
    min_rows: Count = 20
    # Minimum share of a script among the letters of a split, such as {Hangul: 0.5}. Without previous data
    # to compare with, this is what rejects English or a wrongly decoded file. Null: the main script of the training
    # split, in the other splits.
    min_script_shares: Optional[Mapping[Script, Fraction]] = None

    schema_anomalies: CheckSeverity = CheckSeverity()
    rejected_fraction: CheckSeverity = CheckSeverity()
    rows: CheckSeverity = CheckSeverity()
    label_balance: CheckSeverity = CheckSeverity()
    script_share: CheckSeverity = CheckSeverity()
    served_profile: CheckSeverity = CheckSeverity(severity="warn")

    # Public review files have up to 2.5 %.
    empty_texts: UpperBound = UpperBound(max=0.1)
    # NSMC has none; UTF-8 text read as Latin-1 has 36 %.
    unreadable_characters: UpperBound = UpperBound(max=0.01)
    # Of the test rows that are long enough to be somebody's own (`content.OWN_CHARACTERS`): 0.3 % in NSMC.
    test_in_train: UpperBound = UpperBound(max=0.1)
    # The same of the rows of a dev file; a dev split of the training file shares no text with the rest.
    dev_in_train: UpperBound = UpperBound(max=0.1)
    # Of the training rows, by the tokeniser of the model in serving, regardless of its training data. A vocabulary of
    # 8,000 from half of NSMC misses 0.3 % of the other half; one of 2,000 from the bundled sample misses 13 % of NSMC.
    unknown_tokens: UpperBound = UpperBound(max=0.1)

    # Drift compares the training rows with those of the model in serving, skew the test rows with the training rows.
    # Over 300 pairs of 500 rows of NSMC the 99th percentile of the difference is 0.08 for labels, 0.02 for lengths,
    # 0.01 for scripts and 0.03 for vocabularies; over 20 splits in halves at most 0.02, 0.001, 0.003 and 0.008.
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
    def _fill_in_defaults(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Takes the keys that are missing from the section of a check from the default of that check."""
        default = cls.model_fields[info.field_name or ""].default
        if isinstance(default, CheckSeverity) and isinstance(value, Mapping):
            return {**default.model_dump(), **value}
        return value


class MetricBound(Section):
    """Bounds of one metric: on its value, and on how much worse it may be than that of the model in serving.

    `min` and `max_drop` apply if higher is better, otherwise `max` and `max_rise`. Null disables a bound.
    """

    min: Optional[Finite] = None
    max_drop: Optional[Margin] = None
    max: Optional[Finite] = None
    max_rise: Optional[Margin] = None
    severity: Severity = "fail"


class SliceBound(Section):
    """Bounds of the task's slice metric on one slice of the test rows, if it has at least `min_rows`."""

    min: Finite
    max_drop: Margin
    min_rows: Count
    severity: Severity = "fail"


class FailedPairs(Section):
    """Maximum share of failed sentence pairs, by kind."""

    same: Fraction = 0.2
    # Small models classify by single words; set 1 for a model that need not understand negation.
    different: Fraction = 0.5


# The value of `gates.invariance.pairs` that chooses bundled pairs.
AUTO_PAIRS = "auto"


class InvarianceGateConfig(Section):
    """Sentence pairs that should get the same label, or different ones."""

    # TSV with the columns kind, what, first, second; `auto`: bundled ones for the language of the data, which only
    # warn, because they may be far from the data; null: none.
    pairs: Optional[str] = AUTO_PAIRS
    max_failed: FailedPairs = FailedPairs()
    # Scores this close count as the same answer, even on different sides of the decision boundary.
    tolerance: Fraction = 0.1
    severity: Severity = "fail"


# The checks of ServingValidator, in the order of the report.
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
    """Bounds of ServingValidator; a check without a bound here allows no failure."""

    # Severity by name of the check; the default is `fail`.
    severity: Mapping[ServingCheck, Severity] = {}
    # float32 sums in a different order differ by about 1e-6; more than 1e-5 means a different function.
    tolerance: Positive = 1e-5
    # Latency of a single review, on the CPUs of the machine that runs the check.
    max_p50_ms: Positive = 500.0
    max_p99_ms: Positive = 1000.0
    max_memory_mb: Positive = 8192.0
    # Threads that send requests at once: on most machines this many overlap without waiting for a core.
    concurrent_callers: Annotated[int, pydantic.Field(ge=2, le=256)] = 4
    startup_timeout_s: Positive = 300.0
    # For all requests together: about 1,800 rows; a large BERT on one core answers a few per second.
    answer_timeout_s: Annotated[float, pydantic.Field(gt=0.0, le=86_400.0)] = 1800.0
    # Whether to query a real TensorFlow Serving too: if one is available, always (otherwise the check fails), or never.
    model_server: Literal["auto", "required", "off"] = "auto"
    # Used if `tensorflow_model_server` is not on PATH and Docker has this image; it is never pulled. Name the version
    # in production: the set of operations depends on it.
    model_server_image: Annotated[str, pydantic.Field(pattern=r"^[\w][\w./:@-]*$")] = "tensorflow/serving:latest"

    @pydantic.field_validator("model_server", mode="before")
    @classmethod
    def _yaml_off(cls, value: Any) -> Any:
        """YAML 1.1 reads `off` as false."""
        return "off" if value is False else value


class TeacherBound(Section):
    """How much worse the student of `distill` may be than its teachers, in the task's training metric."""

    max_drop: Margin = 0.02
    severity: Severity = "fail"


class GatesConfig(Section):
    """Bounds of every gate.

    The defaults of `model` and `slices` are in `schema/task/`; the key `slices.default` applies to all slices.
    """

    data: DataGateConfig = DataGateConfig()
    model: Mapping[str, MetricBound] = {}
    slices: Mapping[str, SliceBound] = {}
    teacher: TeacherBound = TeacherBound()
    invariance: InvarianceGateConfig = InvarianceGateConfig()
    serving: ServingGateConfig = ServingGateConfig()
