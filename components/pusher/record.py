"""The record of a push: `assets.extra/push.json` in a version's folder, a `PushRecord` as JSON."""

import dataclasses
import datetime
import json
import os
from typing import Any, Mapping, Optional, Sequence

import pydantic

from artifacts.model_files import PUSH_RECORD
from core.checks import Check


def now() -> str:
    """Returns the current time in ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a model comes from, and the results of its gates; a field is None if the pipeline has no such input.

    Attributes:
      run_id: the orchestrator's id of the pipeline run that pushed it.
      data_fingerprint: SHA-256 over the content of the ingested files.
      encoder: `source`, `handle`, `preprocess_handle`, and `sha256` of its two SavedModels.
      training: `TrainingFigures`, but only the best epoch of the history.
      metrics: `candidate` -> its metrics; `baseline` -> those of the model previously in serving, null without one.
      checks: every check of every gate, including those that only warn.
      versions: versions of Python and the packages.
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
      from_version: the newest version before the rollback.
      from_sha256: digest of that version's model, which a run must not push again.
      to_version: the version whose model is in serving again, under a new number.
      time: ISO 8601, UTC.
    """

    from_version: int
    from_sha256: str
    to_version: int
    time: str = dataclasses.field(default_factory=now)


@dataclasses.dataclass(frozen=True)
class PushRecord:
    """The record of a version's push. The profile of its data is in the same folder.

    Attributes:
      push_id: 32 hexadecimal digits, unique to the push.
      model_sha256: `model_files.model_sha256` of the model.
      time: time of the push, ISO 8601, UTC.
      origin: origin of the model; after a rollback, from the record of its first push.
      rollback: set if the version is a copy of an earlier one.
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
    """Reads a version's record; None without a readable one, as in a version that was copied there by hand."""
    try:
        with open(os.path.join(version_path, PUSH_RECORD), "rb") as stream:
            # Unknown keys, from other releases, are ignored.
            return pydantic.TypeAdapter(PushRecord).validate_json(stream.read())
    except (OSError, ValueError):
        return None
