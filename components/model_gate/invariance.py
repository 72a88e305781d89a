"""Pairs of sentences with the same meaning or a different one, which a model must label alike or differently.

After the invariance and directional tests of Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with
CheckList", ACL 2020. A pair needs no label, so anyone who writes the language can add one.

The file is unquoted TSV in UTF-8 with the header `kind what first second`: `kind` is `same` or `different`, `what`
names the difference between the two sentences. Each kind and `what` has its own check: `same/spacing`,
`different/negation`.
"""

import dataclasses
import re
from typing import Literal, Optional, Sequence, Union

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the ops inside the model.

from components.data_gate.profile import Profile
from components.model_gate.language import bundled_pairs, script_of_data, script_of_texts
from core import progress
from core.checks import Check
from core.config import AUTO_PAIRS, InvarianceGateConfig
from core.errors import UserError
from schema.task import Task

GATE = "invariance"

Kind = Literal["same", "different"]
SAME: Kind = "same"
DIFFERENT: Kind = "different"
COLUMNS = ("kind", "what", "first", "second")

# Failed pairs that a reason quotes, and characters of each sentence: enough to recognise the problem.
_SHOWN_PAIRS = 3
_SHOWN_CHARACTERS = 60

# Sentences per request to the model.
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sentences and the expected relation of their labels.

    Attributes:
      kind: whether the labels must agree (`same`) or differ.
      what: the difference, such as `spacing`.
      first: one sentence.
      second: the other.
    """

    kind: Kind
    what: str
    first: str
    second: str


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's answers to n pairs; index 0 is for the first sentences, index 1 for the second ones.

    Attributes:
      labels: two lists of n (label name, its probability), or ("", score) without classes.
      scores: `Task.comparable`, float[2, n] or float[2, n, classes].
    """

    labels: tuple[list[tuple[str, float]], list[tuple[str, float]]]
    scores: np.ndarray


def read_pairs(file: str) -> list[Pair]:
    """Reads a file of sentence pairs.

    Raises:
      UserError: the file can't be read or has an invalid line.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise UserError(f"gates.invariance.pairs = {file}: {error.strerror}; null turns the check off") from error
    return parse_pairs(content, file)


def parse_pairs(content: bytes, file: str) -> list[Pair]:
    """Parses the content of a file of pairs; empty lines are skipped.

    Args:
      content: UTF-8, with or without a BOM, with LF or CRLF line endings.
      file: name of the file in messages.

    Raises:
      UserError: the content is not UTF-8, has an invalid line, or has no pairs.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {number}: not UTF-8") from error
    # Not `splitlines`, which also splits at characters that a sentence may contain.
    header, *lines = [line.removesuffix("\r") for line in text.split("\n")]
    if tuple(header.split("\t")) != COLUMNS:
        raise UserError(f"{file}, line 1: should be the tab-separated column names {', '.join(COLUMNS)}")
    line_numbers: dict[Pair, int] = {}
    for number, line in enumerate(lines, start=2):
        if line:
            pair = _parse_pair(line, f"{file}, line {number}")
            if pair in line_numbers:
                raise UserError(f"{file}, line {number}: duplicate of line {line_numbers[pair]}")
            line_numbers[pair] = number
    if not line_numbers:
        raise UserError(f"{file}: no sentence pairs; gates.invariance.pairs=null turns the check off")
    return list(line_numbers)


def _parse_pair(line: str, place: str) -> Pair:
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        raise UserError(f"{place}: {len(fields)} columns, should be {len(COLUMNS)}: {', '.join(COLUMNS)}")
    kind, what, first, second = fields
    if kind != SAME and kind != DIFFERENT:
        raise UserError(f"{place}: kind = {kind!r}: should be {SAME} or {DIFFERENT}")
    if not re.fullmatch(r"[\w-]{1,40}", what):
        raise UserError(f"{place}: what = {what!r}: should be a short name without spaces, such as spacing")
    for column, sentence in (("first", first), ("second", second)):
        if not sentence.strip():
            raise UserError(f"{place}: {column}: the sentence is empty")
    if first == second:
        raise UserError(f"{place}: first and second are the same sentence")
    return Pair(kind, what, first, second)


def predict(model_folder: str, pairs: Sequence[Pair], task: Task) -> Answers:
    """Runs the exported model's `serving_default` on both sentences of every pair.

    Args:
      model_folder: folder of the SavedModel.
      pairs: the pairs, at least one.
      task: the task of the model.
    """
    serve = tf.saved_model.load(model_folder).signatures["serving_default"]
    sentences = [pair.first for pair in pairs] + [pair.second for pair in pairs]
    batches = []
    for start in range(0, len(sentences), _BATCH):
        progress.report("predicting sentence pairs", start, len(sentences))
        batches.append(serve(text=tf.constant(sentences[start : start + _BATCH])))
    outputs = {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}
    labels, scores = task.predictions(outputs), task.comparable(outputs)
    return Answers((labels[: len(pairs)], labels[len(pairs) :]), np.stack(np.split(scores, 2)))


def check_pairs(pairs: Sequence[Pair], answers: Answers, bounds: InvarianceGateConfig) -> list[Check]:
    """Checks the share of failed pairs for each kind and `what`.

    A `same` pair fails if the labels differ and the scores differ by more than the tolerance, a `different` pair if the
    labels agree. A pair with a score that is not finite fails.

    Args:
      pairs: n pairs.
      answers: the model's answers, in the same order.
      bounds: the tolerance and the largest shares of failed pairs.
    """
    failed = _failed(pairs, answers, bounds.tolerance)
    groups: dict[tuple[Kind, str], list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault((pair.kind, pair.what), []).append(index)
    return [
        _check_group(
            kind, what, len(indices), [_quote_pair(pairs[i], answers, i) for i in indices if failed[i]], bounds
        )
        for (kind, what), indices in sorted(groups.items())
    ]


def choose_pairs(bounds: InvarianceGateConfig, data: Optional[Profile]) -> Union[list[Pair], Check]:
    """Returns the pairs for the language of the data, or a check that says why there are none.

    Args:
      bounds: `pairs` is a file, `auto` or None.
      data: the profile of the data; None accepts pairs in any language.

    Raises:
      UserError: the file can't be read or has an invalid line.
    """
    if bounds.pairs is None:
        return _not_checked("gates.invariance.pairs is null")
    if bounds.pairs == AUTO_PAIRS:
        file = bundled_pairs(data) if data else None
        if file is None:
            return _not_checked("no sentence pairs for the language of the data; set gates.invariance.pairs to a file")
        # Whether a negation changes the label depends on what the labels mean.
        return [pair for pair in read_pairs(file) if pair.kind == SAME]
    pairs = read_pairs(bounds.pairs)
    script, expected = script_of_texts([pair.first for pair in pairs]), script_of_data(data) if data else None
    if script and expected and script != expected:
        return _not_checked(
            f"the pairs of gates.invariance.pairs are in {script} letters, the training rows in {expected}; "
            "set it to a file in the language of the data, or to auto"
        )
    return pairs


def _not_checked(reason: str) -> Check:
    """Returns the check of a run without sentence pairs, which passes."""
    return Check(GATE, "pairs", True, None, None, f"not checked: {reason}", compared=False)


def not_single_texts() -> Check:
    """Returns the check of a task over pairs of texts, which passes: the file has single sentences."""
    return _not_checked("gates.invariance.pairs has single sentences, and this model takes pairs of texts")


def prediction_failed(error: Exception, bounds: InvarianceGateConfig) -> Check:
    """Returns the failed check of a model that raised an error."""
    first_line = (str(error).strip() or "no message").splitlines()[0]
    reason = f"the model failed to predict the sentence pairs: {type(error).__name__}: {first_line}"
    return Check(GATE, "pairs", False, None, None, reason, bounds.severity)


def _failed(pairs: Sequence[Pair], answers: Answers, tolerance: float) -> np.ndarray:
    """Returns bool[n], whether each pair fails."""
    apart = np.abs(answers.scores[0] - answers.scores[1]).reshape(len(pairs), -1).max(axis=1)
    same_name = np.array([first == second for (first, _), (second, _) in zip(*answers.labels, strict=True)])
    # Scores, which have no name, agree if they are close.
    unnamed = np.array([name == "" for name, _ in answers.labels[0]])
    same_label = same_name & (~unnamed | (apart <= tolerance))
    must_agree = np.array([pair.kind == SAME for pair in pairs])
    return ~np.isfinite(apart) | np.where(must_agree, ~same_label & (apart > tolerance), same_label)


def _check_group(kind: Kind, what: str, count: int, failed: Sequence[str], bounds: InvarianceGateConfig) -> Check:
    allowed = getattr(bounds.max_failed, kind)
    share = len(failed) / count
    expected, actual = ("agree", "do not") if kind == SAME else ("differ", "agree")
    reason = f"{what}: {len(failed)} of {count} pairs that should {expected} {actual} ({share:.1%})"
    if share > allowed:
        reason += f", more than gates.invariance.max_failed.{kind} = {allowed:g}"
    if failed:
        reason += f": {'; '.join(failed[:_SHOWN_PAIRS])}" + ("; ..." if len(failed) > _SHOWN_PAIRS else "")
    return Check(GATE, f"{kind}/{what}", share <= allowed, share, allowed, reason, bounds.severity)


def _quote_pair(pair: Pair, answers: Answers, index: int) -> str:
    """Formats a pair, such as `"재미있다" (positive 0.91) and "재미없다" (positive 0.77)`."""
    return " and ".join(
        f'"{_shorten(sentence)}" ({f"{name} {number:.2f}".strip()})'
        for sentence, (name, number) in zip(
            (pair.first, pair.second), (labels[index] for labels in answers.labels), strict=True
        )
    )


def _shorten(sentence: str) -> str:
    return sentence if len(sentence) <= _SHOWN_CHARACTERS else sentence[: _SHOWN_CHARACTERS - 1] + "…"
