"""What a pushed version says of itself: `assets.extra/push.json` in its folder, one JSON object, a `PushRecord`."""

import dataclasses
import datetime
import json
import os
from typing import Any, Mapping, Optional, Sequence

import pydantic

from artifacts.model_files import PUSH_RECORD
from core.checks import Check


def now() -> str:
    """Returns the time in seconds, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a model was made of, and what the gates found; a part is absent where the pipeline has no such input.

    Attributes:
      run_id: the pipeline run that pushed it, as the orchestrator calls it.
      data_fingerprint: SHA-256 over the content of the files that were ingested.
      encoder: `source`, `handle`, `preprocess_handle`, and `sha256` of its two SavedModels.
      training: `TrainingFigures`, of the history only the epoch whose weights were kept.
      metrics: `candidate` -> its metrics; `baseline` -> those of the model that was in serving, null without one.
      checks: every check of every gate, those that only warn included.
      versions: of Python and of the packages that the push ran on.
    """

    run_id: Optional[str] = None
    data_fingerprint: Optional[str] = None
    encoder: Optional[Mapping[str, Any]] = None
    training: Optional[Mapping[str, Any]] = None
    metrics: Optional[Mapping[str, Optional[Mapping[str, Optional[float]]]]] = None
    checks: Sequence[Check] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rollback:
    """One return to an earlier version.

    Attributes:
      from_version: the newest version before it.
      from_sha256: digest of that version's model, which a run does not push again.
      to_version: whose model is in serving again, under a new number.
      time: ISO 8601, UTC.
    """

    from_version: int
    from_sha256: str
    to_version: int
    time: str = dataclasses.field(default_factory=now)


@dataclasses.dataclass(frozen=True)
class PushRecord:
    """How a version came into the serving folder. The profile of its data lies beside it.

    Attributes:
      push_id: 32 hexadecimal digits, the push's own.
      model_sha256: `model_files.model_sha256` of the model.
      time: when it was pushed, ISO 8601, UTC.
      origin: of the model; of one that was rolled back to, what its first push said.
      rollback: what was undone, where the version is an earlier one's copy.
    """

    push_id: str
    model_sha256: str
    time: str = dataclasses.field(default_factory=now)
    origin: Optional[Origin] = None
    rollback: Optional[Rollback] = None


def write(version_path: str, record: PushRecord) -> None:
    """Writes a version's record."""
    path = os.path.join(version_path, PUSH_RECORD)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(record), stream, ensure_ascii=False, indent=2)


def read(version_path: str) -> Optional[PushRecord]:
    """Reads a version's record; None where it has none, as a version that someone put there by hand."""
    try:
        with open(os.path.join(version_path, PUSH_RECORD), "rb") as stream:
            # Keys that another release wrote are passed over.
            return pydantic.TypeAdapter(PushRecord).validate_json(stream.read())
    except (OSError, ValueError):
        return None
