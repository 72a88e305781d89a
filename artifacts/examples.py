"""What an ingestion did, kept beside its examples.

An Examples artifact of TsvExampleGen holds

    Split-train/, Split-dev/, Split-test/   gzipped TFRecord shards of `tf.Example`, any number, any order
    rejected/                               JSON lines: file, offset, line, reason, detail, raw, bytes
    ingest.json                             an `Ingest`

`raw` is a rejected line as text for a person; `bytes`, in base64, is what the file has there, without the newline (the
first kibibyte of a line that is too long). Whatever the codec, nothing is lost in it.
"""

import dataclasses
import itertools
import json
import os
from typing import Any, Iterator, Mapping, Optional

import tensorflow as tf

INGEST_FILE = "ingest.json"
REJECTED_FOLDER = "rejected"


@dataclasses.dataclass(frozen=True)
class Ingest:
    """Counts of an ingestion and where the data came from.

    Attributes:
      rows: split -> `{"accepted": n, "rejected": {reason: n}}`; rejected rows of the training files count under
        `train`, those of the test files under `test`.
      not_sampled: good rows of the training files that `data.sample_size` left out.
      files: role (`train`, `test`) -> names of the files read.
      span: span of the training data, None where its location has no `{SPAN}`.
      fingerprint: SHA-256 over the files' content.
    """

    rows: Mapping[str, Mapping[str, Any]]
    not_sampled: int
    files: Mapping[str, list[str]]
    span: Optional[int]
    fingerprint: str


def write_ingest(folder: str, ingest: Ingest) -> None:
    """Writes `ingest.json` into an Examples artifact's folder, whole or not at all."""
    path = os.path.join(folder, INGEST_FILE)
    with tf.io.gfile.GFile(path + ".tmp", "w") as stream:
        stream.write(json.dumps(dataclasses.asdict(ingest), ensure_ascii=False, indent=2))
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def read_ingest(folder: str) -> Ingest:
    """Reads the `ingest.json` of an Examples artifact's folder."""
    with tf.io.gfile.GFile(os.path.join(folder, INGEST_FILE)) as stream:
        return Ingest(**json.loads(stream.read()))


def read_rejected(folder: str, count: int) -> list[dict[str, Any]]:
    """Returns up to `count` rejected rows of an Examples artifact."""
    return list(itertools.islice(_rejected_rows(folder), count))


def _rejected_rows(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, REJECTED_FOLDER, "*"))):
        with tf.io.gfile.GFile(path) as stream:
            yield from map(json.loads, stream)
