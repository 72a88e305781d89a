"""The log of requests: a line of JSON for each row that was answered, and for each request that was not.

| key              | content                                                                                 |
|------------------|-----------------------------------------------------------------------------------------|
| `time`           | when the request arrived, UTC                                                           |
| `model`          | name of the model                                                                       |
| `version`        | number of the version that answered                                                     |
| `method`         | `predict` or `explain`                                                                  |
| `status`         | HTTP status                                                                             |
| `latency_ms`     | milliseconds from the head of the request to its response                               |
| answer's columns | as in the columns of `predict`: `label_name` and `probability`, or `score`              |
| `tokens`         | number of tokens before any cut; null if the model does not say                         |
| inputs           | the texts, `text` and of a pair `text_pair`, only with `--log-texts`                    |
"""

import dataclasses
import datetime
import json
from typing import IO, Any, Callable, Iterable, Mapping, Optional

from core.errors import UserError


@dataclasses.dataclass
class RequestLog:
    """Appends to a file.

    Attributes:
      stream: the file, unbuffered.
      with_texts: whether texts are written.
      report: called with a sentence when the log can no longer be written.
    """

    stream: IO[bytes]
    with_texts: bool
    report: Callable[[str], None]
    _failed: bool = False

    def write(self, request: Mapping[str, Any], rows: Iterable[Mapping[str, Any]] = ({},)) -> None:
        """Writes a line for each row, with what is known of the whole request first; never fails."""
        lines = [json.dumps({**request, **row}, ensure_ascii=False) + "\n" for row in rows]
        try:
            self.stream.write("".join(lines).encode("utf-8", "replace"))
            self._failed = False
        except OSError as error:  # A full disk must not stop the answers.
            if not self._failed:
                self.report(
                    f"--log {self.stream.name}: can't be written ({error.strerror}); requests are still answered"
                )
            self._failed = True


def open_log(path: Optional[str], with_texts: bool, report: Callable[[str], None]) -> Optional[RequestLog]:
    """Opens the file to append to it, None without a path.

    Raises:
      UserError: it can't be written.
    """
    if path is None:
        return None
    try:
        # Unbuffered, so that whoever follows the file sees whole lines at once.
        return RequestLog(open(path, "ab", buffering=0), with_texts, report)
    except OSError as error:
        raise UserError(f"--log {path}: can't be written ({error.strerror})") from error


def now() -> str:
    """Returns the time as the log shows it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
