"""`drift`: the data gate's checks on the requests of a log, against the training data of the model that was asked."""

import dataclasses
import os
from typing import Any, Mapping, Optional

from artifacts import model_files
from artifacts.examples import Ingest
from components.data_gate import comparison, profile, quality, vocabulary
from components.data_gate.profile import Profile, SplitProfile, share_of
from components.data_gate.text_counts import TextCounts
from components.data_gate.unknown_tokens import unknown_token_share
from core.checks import Check
from core.config import DataConfig, DataGateConfig
from core.errors import UserError
from local import answers
from local.monitoring import logs, mojibake
from local.monitoring.logs import Log
from local.served_model import Model, Texts
from schema import features

# Texts that are tokenised and answered: the standard error of a share of one half is then a point.
_SAMPLE_ROWS = 2000
# As in the data gate: about as much of a text as a model reads.
_SAMPLE_CHARACTERS = 512

# Name of the requests in the checks' sentences.
NAME = "the log"

# What people call what a check measures; checks of the same are one topic.
TOPICS = {
    "rejected_fraction": "unreadable rows",
    "empty_texts": "empty texts",
    "unreadable_characters": "unreadable characters",
    "script_drift": "scripts",
    "script_share": "scripts",
    "length_drift": "length",
    "oov_drift": "vocabulary",
    "unknown_tokens": "unknown tokens",
    "answer_drift": "answers",
    "label_drift": "labels",
}


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The bounds of the checks.

    Attributes:
      gate: `gates.data`.
      max_rejected_fraction: `data.max_rejected_fraction`.
    """

    gate: DataGateConfig = DataGateConfig()
    max_rejected_fraction: float = DataConfig.model_fields["max_rejected_fraction"].default


@dataclasses.dataclass(frozen=True)
class Drift:
    """How the requests of a log differ from the training data.

    Attributes:
      log: the log, read to its end.
      model: name of the model in messages.
      rows: profile of the requests; without labels.
      trained: profile of the training rows.
      answered: number of answers by `Task.label_groups`, of a sample.
      checks: all checks.
      codec: the codec that the texts were probably read in, and the right one; None if nothing shows that.
    """

    log: Log
    model: str
    rows: SplitProfile
    trained: SplitProfile
    answered: Mapping[str, int]
    checks: list[Check]
    codec: Optional[tuple[str, str]]

    @property
    def failed(self) -> bool:
        """Whether a check failed that would have stopped a run."""
        return any(check.blocks for check in self.checks)

    @property
    def moved(self) -> dict[str, list[Check]]:
        """Topic -> the failed checks about it and the warnings."""
        topics: dict[str, list[Check]] = {}
        for check in self.checks:
            if not check.passed:
                topics.setdefault(topic(check), []).append(check)
        return {name: topics[name] for name in dict.fromkeys(TOPICS.values()) if name in topics}

    @property
    def not_checked(self) -> dict[str, list[str]]:
        """Why something was not checked -> the topics, without those that moved."""
        reasons: dict[str, list[str]] = {}
        for check in self.checks:
            if not check.compared and topic(check) not in self.moved:
                topics = reasons.setdefault(check.reason.partition(": ")[2], [])
                topics.extend({topic(check)}.difference(topics))
        return reasons

    def sentence(self) -> str:
        """Says what moved."""
        texts = f"{self.log.texts:,} texts of {self.log.file.name}"
        if self.moved:
            verb = "moved from" if self.failed else "are like"
            warned = "" if self.failed else ", with warnings"
            return f"{texts} {verb} the training data of {self.model}{warned}: {', '.join(self.moved)}"
        passed = sum(check.compared for check in self.checks)
        if any(not check.compared for check in self.checks if check.check == "length_drift"):
            return (
                f"{texts} are too few to compare with the training data of {self.model}; {passed} other checks passed"
            )
        return f"{texts} are like the training data of {self.model}: {passed} checks passed"

    def codec_sentence(self) -> str:
        """Says which codec the texts should be read in; empty if nothing shows that."""
        if self.codec is None:
            return ""
        wrong, right = self.codec
        return f"the texts look like {right} that was read as {wrong}: look at the client, or at what records the log"


def topic(check: Check) -> str:
    """Returns what people call what a check measures."""
    return TOPICS[check.check.partition("/")[0]]


def read_profile(model: Model) -> Profile:
    """Reads the profile of the data that a pushed model was trained on.

    Raises:
      UserError: the model has none, or it is damaged.
    """
    path = os.path.join(model.folder, model_files.DATA_PROFILE)
    try:
        return profile.read(path)
    except FileNotFoundError as error:
        raise UserError(
            f"--model {model.folder}: has no {model_files.DATA_PROFILE}, which a push adds; should be a pushed model"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({error}); push the model again") from error


def measure(log: Log, model: Model, bounds: Bounds) -> Drift:
    """Compares the requests of a log with the training data of a model.

    Raises:
      UserError: the log can't be read or has no texts, or the model has no profile of its data.
    """
    reference = read_profile(model)
    counts = TextCounts()
    sample: list[tuple[int, Texts]] = []
    for rows in log.chunks():
        counts.add(["\n".join(texts) for texts in rows])
        sample = logs.keep_sample(sample, rows, _SAMPLE_ROWS)
    counts.estimate_words(reference.vocabulary.words)
    sampled = [texts for _, texts in sample]
    joined = ["\n".join(texts)[:_SAMPLE_CHARACTERS] for texts in sampled]
    measured = profile.make_split_profile({}, counts)
    answered = answers.count_labels(model.card.task, model.predict(sampled))
    checks = [
        *_check_rows(log, bounds),
        *_check_texts(counts, measured, reference, _name(model), bounds.gate),
        _check_tokens(model, joined, bounds.gate),
        _check_answers(answered, reference, bounds.gate),
    ]
    moved = any(not check.passed for check in checks)
    codec = mojibake.find_codec(joined, reference.vocabulary.script) if moved else None
    return Drift(log, _name(model), measured, reference.splits[features.TRAIN_SPLIT], answered, checks, codec)


def _name(model: Model) -> str:
    version = os.path.basename(os.path.normpath(model.folder))
    return f"version {version}" if model_files.is_version(version) else model.folder


def _check_rows(log: Log, bounds: Bounds) -> list[Check]:
    """Checks the rows that training would reject."""
    rows: dict[str, Any] = {NAME: {"accepted": log.texts, "rejected": dict(log.rejected)}}
    ingest = Ingest(rows, 0, {NAME: [log.file.name], features.TEST_SPLIT: []}, None, "")
    return [
        quality.check_rejected(NAME, ingest, bounds.max_rejected_fraction, bounds.gate),
        quality.check_empty_texts(NAME, ingest, bounds.gate),
    ]


def _check_texts(
    counts: TextCounts, measured: SplitProfile, reference: Profile, model: str, bounds: DataGateConfig
) -> list[Check]:
    """Compares the texts with those of the training rows; requests have no labels to compare."""
    unknown = vocabulary.unknown_shares(counts, reference.vocabulary)
    other = f"the training data of {model}"
    pair = comparison.Comparison("drift", NAME, measured, unknown, other, reference)
    splits = {features.TRAIN_SPLIT: reference.splits[features.TRAIN_SPLIT], NAME: measured}
    return [
        quality.check_unreadable({NAME: measured}, bounds),
        *comparison.compare(pair, bounds),
        *quality.check_script_shares(splits, bounds),
    ]


def _check_tokens(model: Model, sample: list[str], bounds: DataGateConfig) -> Check:
    share = unknown_token_share(model.folder, sample)
    reason = f"not checked: {_name(model)} has no tokeniser with an unknown token"
    if share is not None:
        reason = f"{NAME}: {share:.2%} of the tokens are unknown to {_name(model)}"
    return quality.upper_bounded("unknown_tokens", share, bounds, reason)


def _check_answers(answered: Mapping[str, int], reference: Profile, bounds: DataGateConfig) -> Check:
    """Compares the shares of the answers with those of the training labels.

    It only warns: answers are not labels, and a model that prefers a class does so on its training data too.
    """
    labels = reference.splits[features.TRAIN_SPLIT].labels
    bound, rows = bounds.label_drift.max, sum(answered.values())
    if rows < bounds.min_compared_rows:
        reason = f"not compared: {rows:,} rows, fewer than gates.data.min_compared_rows = {bounds.min_compared_rows:,}"
        return Check(quality.GATE, "answer_drift", True, None, bound, reason, "warn", compared=False)
    value, name = comparison.l_infinity(answered, labels)
    reason = (
        f"{NAME}: {share_of(name, answered):.1%} of the answers to {rows:,} of its texts are {name}, versus "
        f"{share_of(name, labels):.1%} of the training labels"
    )
    if value > bound:
        reason += f"; {value:.3g} exceeds gates.data.label_drift.max = {bound:g}"
    return Check(quality.GATE, "answer_drift", value <= bound, value, bound, reason, "warn")


def to_json(drift: Drift) -> dict[str, Any]:
    """Returns the result for programs."""
    return {
        "log": drift.log.file.name,
        "kind": drift.log.kind,
        "model": drift.model,
        "texts": drift.log.texts,
        "failed": drift.failed,
        "moved": list(drift.moved),
        "sentence": drift.sentence(),
        "codec": drift.codec and {"read_as": drift.codec[0], "should_be": drift.codec[1]},
        "checks": [{**dataclasses.asdict(check), "verdict": check.verdict} for check in drift.checks],
        "answers": drift.answered,
        "left_out": {**drift.log.rejected, **drift.log.skipped},
        "damage": drift.log.damage or None,
    }
