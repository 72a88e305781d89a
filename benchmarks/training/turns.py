"""Contenders that take turns, each a process of its own, so that all see the same noise of the machine.

A contender sets itself up, says so in a line, and waits. For every line that it gets it works, and answers with
one line; when its input ends, so does it. All lines are JSON. Answers have a pipe of their own, since libraries print
what they like. This module imports nothing but the standard library: contenders run under other interpreters too.
"""

import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Mapping, Optional, Sequence

# The variable that tells a contender the number of its pipe for answers.
_ANSWERS = "TURNS_ANSWERS"
# Setting up takes a minute at BERT-base's shape; ending takes none, but a process may hang.
_END_TIMEOUT_S = 20
# Of a contender that died, this much of what it printed last is shown.
_SHOWN_CHARACTERS = 2000
# The multiples of the golden ratio's fraction lie most evenly in [0, 1).
_GOLDEN = (math.sqrt(5) - 1) / 2


class ContenderError(Exception):
    """A contender ended before its time; the text holds the end of what it printed."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a contender is to train.

    Attributes:
      encoder: folder with `preprocess/`, `encoder/` and `encoder.json`.
      train: TSV of reviews in NSMC's format.
      tokens: .npz of the same rows' tokens and labels, from `data.write_tokens`, for who has no tokeniser of ours.
      work: `turns` of seconds, or `epochs`, each with an evaluation.
      rows: the first rows of the file only; None for all.
      dev: TSV of the rows to evaluate on, or empty for a tenth of the others.
      dev_rows: as `rows`.
      precision: `float32`, `bfloat16`, or what else a contender knows.
      batching: `padded`, `dynamic` or `grouped`; PyTorch's contender has the choice.
      batch_size: rows of a batch.
      max_length: tokens of a row at most.
      learning_rate: peak, after a linear warm-up over a tenth of the steps.
      epochs: over which the learning rate decays to 0.
      seed: of new weights, dropout and order.
    """

    encoder: str
    train: str
    tokens: str = ""
    work: str = "turns"
    rows: Optional[int] = None
    dev: str = ""
    dev_rows: Optional[int] = None
    precision: str = "float32"
    batching: str = "grouped"
    batch_size: int = 32
    max_length: int = 128
    learning_rate: float = 3e-5
    epochs: int = 5
    seed: int = 0

    @classmethod
    def from_argument(cls) -> "Job":
        """Reads the job that a contender's process was started with."""
        return cls(**json.loads(sys.argv[1]))


class Referee:
    """The contender's end of the line."""

    def __init__(self) -> None:
        """Opens the pipe that the driver made."""
        self._answers = os.fdopen(int(os.environ[_ANSWERS]), "w")

    def wait(self) -> Any:
        """Waits for a turn and returns what is asked for; None where there are no more turns."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def answer(self, **figures: Any) -> None:
        """Ends a turn, the first one (setting up) too."""
        self._answers.write(json.dumps(figures) + "\n")
        self._answers.flush()


class Contender:
    """The driver's end: a process that works when it is told to."""

    def __init__(self, name: str, command: Sequence[str], environment: Optional[Mapping[str, str]] = None):
        """Starts the process and waits until it is set up.

        Args:
          name: what tables call it.
          command: program and arguments.
          environment: variables on top of this process's.

        Raises:
          ContenderError: it ended instead.
        """
        self.name = name
        self._printed = tempfile.TemporaryFile("w+", errors="replace")
        answers, theirs = os.pipe()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=self._printed,
            pass_fds=[theirs],
            env={**os.environ, **(environment or {}), _ANSWERS: str(theirs)},
            text=True,
        )
        os.close(theirs)
        self._answers = os.fdopen(answers)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def turn(self, request: Any) -> dict[str, Any]:
        """Lets it work and returns its answer.

        Raises:
          ContenderError: it died.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It is dead; what it wrote says why.
        return self._read()

    def close(self) -> None:
        """Ends the process, by force where it does not listen."""
        try:
            self._process.communicate(timeout=_END_TIMEOUT_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._printed.close()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._printed.seek(0)
        raise ContenderError(f"{self.name} ended with status {status}: {self._printed.read()[-_SHOWN_CHARACTERS:]}")


def work(step: Callable[[], Any], wait: Callable[[Any], Any], examples: int) -> None:
    """Answers turns of so many seconds with whole steps; what a contender's process ends in.

    Args:
      step: trains on one batch; a device may go on working after it returns.
      wait: takes what the last step returned, and waits until that is done.
      examples: of each batch.
    """
    referee = Referee()
    referee.answer(ready=True)
    while (seconds := referee.wait()) is not None:
        started, done = time.monotonic(), 0
        while not done or time.monotonic() - started < seconds:
            made = step()
            done += examples
        wait(made)
        referee.answer(examples=done, seconds=time.monotonic() - started)


def take_turns(
    contenders: Sequence[Contender],
    request: Any,
    rounds: int,
    tell: Callable[[str, Mapping[str, Any]], None] = lambda name, answer: None,
) -> dict[str, list[dict[str, Any]]]:
    """Gives every contender its turn, round after round; every round another one begins.

    Args:
      contenders: they have different names.
      request: what every turn asks for.
      rounds: turns of each.
      tell: is called with the name and the answer after every turn.

    Returns:
      By name, the answers of all rounds.
    """
    answers: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            answer = contender.turn(request)
            answers[contender.name].append(answer)
            tell(contender.name, answer)
    return answers


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over several rounds."""

    median: float
    low: float
    high: float


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Returns ours / theirs, round by round: what both rounds share cancels out."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Spread(statistics.median(each), min(each), max(each))


def evenly_mixed(costs: Sequence[float]) -> list[int]:
    """Orders batches so that every stretch of them is a fair sample of cheap and dear ones.

    A turn of seconds takes some ten batches of BERT-base; ten random ones differ by tens of per cent from the
    next ten.

    Args:
      costs: one a batch, say its tokens.

    Returns:
      The batches' numbers, in the order to take them.
    """
    by_cost = sorted(range(len(costs)), key=costs.__getitem__)
    turn_of_rank = sorted(range(len(costs)), key=lambda turn: turn * _GOLDEN % 1.0)
    order = [0] * len(costs)
    for rank, turn in enumerate(turn_of_rank):
        order[turn] = by_cost[rank]
    return order
