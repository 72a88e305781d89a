"""Contenders, each in its own process, that work in turn, so that all see the same noise of the machine.

A contender sets itself up, reports that in a line, and waits. For every line of its standard input it works and answers
with one line; it ends when its input does. All lines are JSON. Answers go through a separate pipe, since libraries
print to standard output. This module imports only the standard library: contenders also run under other interpreters.
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

# The environment variable with the file descriptor of a contender's pipe for answers.
_ANSWERS = "TURNS_ANSWERS"
# A process may hang when it ends.
_END_TIMEOUT_S = 20
# How much of a failed contender's output is shown.
_SHOWN_CHARACTERS = 2000
# The multiples of the golden ratio's fraction lie most evenly in [0, 1).
_GOLDEN = (math.sqrt(5) - 1) / 2


class ContenderError(Exception):
    """A contender ended early; the message contains the end of its output."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a contender trains.

    Attributes:
      encoder: folder with `preprocess/`, `encoder/` and `encoder.json`.
      train: TSV of reviews in NSMC's format.
      tokens: .npz of the same rows' tokens and labels, from `data.write_tokens`, for contenders without our tokeniser.
      work: `turns` of seconds, or `epochs`, each with an evaluation.
      rows: number of rows, from the start of the file; None for all.
      dev: TSV of the rows to evaluate on, or empty for a tenth of the others.
      dev_rows: as `rows`, of `dev`.
      precision: `float32`, `bfloat16`, or another one that the contender supports.
      batching: `padded`, `dynamic` or `grouped`; only PyTorch's contender uses it.
      task: `binary`, or another one of `data.TASKS`; only our contender uses it.
      batch_size: rows per batch.
      max_length: longest row in tokens; longer ones are cut.
      learning_rate: peak, after a linear warm-up over a tenth of the steps.
      epochs: number of epochs over which the learning rate decays to 0.
      seed: seed of new weights, dropout and the order of rows.
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
    task: str = "binary"
    table_rows: Optional[int] = None
    whole_table: bool = False
    batch_size: int = 32
    max_length: int = 128
    learning_rate: float = 3e-5
    epochs: int = 5
    seed: int = 0

    @classmethod
    def from_argument(cls) -> "Workload":
        """Reads the workload that a contender's process was started with."""
        return cls(**json.loads(sys.argv[1]))


class Referee:
    """The contender's end of the pipes."""

    def __init__(self) -> None:
        """Opens the pipe for answers."""
        self._answers = os.fdopen(int(os.environ[_ANSWERS]), "w")

    def wait(self) -> Any:
        """Waits for a turn and returns its request; None after the last turn."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def answer(self, **figures: Any) -> None:
        """Ends a turn, or the set-up."""
        self._answers.write(json.dumps(figures) + "\n")
        self._answers.flush()


class Contender:
    """The driver's end: a process that works when it gets a request."""

    def __init__(self, name: str, command: Sequence[str], environment: Optional[Mapping[str, str]] = None):
        """Starts the process and waits until it is set up.

        Args:
          name: as shown in tables.
          command: program and arguments.
          environment: variables added to this process's.

        Raises:
          ContenderError: it ended during its set-up.
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
          ContenderError: it ended.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended; `_read` raises with its output.
        return self._read()

    def close(self) -> None:
        """Ends the process, by force if it does not end by itself."""
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
    """Works in turns until the input ends. A turn lasts some seconds and consists of whole steps.

    Args:
      step: trains on one batch; a device may still be working when it returns.
      wait: takes the result of the last step and waits until the device has finished it.
      examples: number of examples in a batch.
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
    on_answer: Callable[[str, Mapping[str, Any]], None] = lambda name, answer: None,
) -> dict[str, list[dict[str, Any]]]:
    """Gives every contender a turn in each round; a different one begins in each round.

    Args:
      contenders: with distinct names.
      request: sent in every turn.
      rounds: number of turns of each.
      on_answer: called with the name and the answer after every turn.

    Returns:
      Name -> answers of all rounds.
    """
    answers: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            answer = contender.turn(request)
            answers[contender.name].append(answer)
            on_answer(contender.name, answer)
    return answers


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over several rounds."""

    median: float
    low: float
    high: float


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Returns the ratios ours / theirs of each round; noise that both share cancels out."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Spread(statistics.median(each), min(each), max(each))


def evenly_mixed(costs: Sequence[float]) -> list[int]:
    """Orders batches so that every stretch of them has about the mean cost.

    A turn of some seconds takes about ten batches of BERT-base; the cost of ten random ones varies by tens of per cent.

    Args:
      costs: the cost of each batch, such as its number of tokens.

    Returns:
      The indices of the batches, in the order in which to take them.
    """
    by_cost = sorted(range(len(costs)), key=costs.__getitem__)
    turn_of_rank = sorted(range(len(costs)), key=lambda turn: turn * _GOLDEN % 1.0)
    order = [0] * len(costs)
    for rank, turn in enumerate(turn_of_rank):
        order[turn] = by_cost[rank]
    return order
