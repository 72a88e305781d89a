"""The messages that a worker sends to its launcher, one JSON object per line.

| kind        | fields                                             | sent                                    |
|-------------|----------------------------------------------------|-----------------------------------------|
| `started`   |                                                    | when the process has started            |
| `heartbeat` |                                                    | every second, through a pipe only       |
| `progress`  | `stage`, `done`, `total`, `figures`, `keep`        | on each call of `core.progress.report`  |
| `error`     | `type` (the class's name), `message`, `user_error` | when the target raised                  |
| `done`      |                                                    | when the target returned                |
"""

import dataclasses
import json
from typing import Mapping, Union

from core import progress

# The names of the errors that TensorFlow's collective operations raise when another worker is gone.
_COLLECTIVE_ERRORS = frozenset(
    ["UnavailableError", "AbortedError", "InternalError", "CancelledError", "DeadlineExceededError"]
)


@dataclasses.dataclass(frozen=True)
class Started:
    """The process has started."""


@dataclasses.dataclass(frozen=True)
class Heartbeat:
    """The process is alive."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """The target reported progress; the fields are those of `core.progress.report`."""

    stage: str
    done: int
    total: int
    figures: Mapping[str, Union[float, str]]
    keep: bool = False

    def __str__(self) -> str:
        return f"{self.stage} ({self.done} of {self.total or 'an unknown number'})"

    def report(self) -> None:
        """Reports it as this process's own progress."""
        progress.report(self.stage, self.done, self.total, keep=self.keep, **self.figures)


@dataclasses.dataclass(frozen=True)
class Error:
    """The target raised an exception.

    Attributes:
      type: name of the exception's class.
      message: its text.
      user_error: whether it is a `UserError`.
    """

    type: str
    message: str
    user_error: bool

    def __str__(self) -> str:
        # TensorFlow fills the other lines with the graph's nodes; the log has them.
        first_line = (self.message.strip() or "no message").splitlines()[0]
        return f"{self.type}: {first_line}"

    @property
    def is_collective(self) -> bool:
        """Whether it looks like the consequence of another worker's failure."""
        return self.type in _COLLECTIVE_ERRORS


@dataclasses.dataclass(frozen=True)
class Done:
    """The target returned."""


Message = Union[Started, Heartbeat, Progress, Error, Done]

_CLASSES: dict[str, type[Message]] = {
    "started": Started,
    "heartbeat": Heartbeat,
    "progress": Progress,
    "error": Error,
    "done": Done,
}
_KINDS = {message_class: kind for kind, message_class in _CLASSES.items()}


def encode(message: Message) -> str:
    """Returns a message as a line without its newline; figures may be NumPy numbers."""
    return json.dumps({"kind": _KINDS[type(message)], **vars(message)}, default=float)


def decode(line: bytes) -> Message:
    """Decodes a line from `encode`.

    Raises:
      ValueError: the line is empty or incomplete.
    """
    fields = json.loads(line)
    return _CLASSES[fields.pop("kind")](**fields)
