"""The checks of DataGate: pure functions from counts and anomalies to `pipeline.gates.Check`s.

| check                        | fails where                                                                    |
|------------------------------|--------------------------------------------------------------------------------|
| `schema_anomalies/<split>`   | ExampleValidator found anomalies                                               |
| `rejected_fraction/<files>`  | more than `data.max_rejected_fraction` of the rows of `train` or `test` files  |
| `label_balance/<split>`      | a label has less than `gates.data.min_label_share` of the rows                 |
| `min_rows/<split>`           | there are fewer rows than `gates.data.min_rows`                                |
| `test_in_train`              | never: test texts that are also in train are counted                           |
"""

from typing import Sequence

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.tsv_example_gen import parse
from components.tsv_example_gen.ingest import Ingest
from pipeline.errors import UserError
from pipeline.gates import Check
from schema import features

GATE = "data"


class DataGateStopped(UserError):
    """The data misses a bound; `checks` holds every check that was made, passed ones too."""

    def __init__(self, checks: Sequence[Check]) -> None:
        failed = [check.reason for check in checks if not check.passed]
        super().__init__(f"the data was stopped before training: {'; '.join(failed)}")
        self.checks = list(checks)


def check_anomalies(split: str, anomalies: anomalies_pb2.Anomalies, feature_count: int) -> Check:
    """Passes where a split has no anomalies.

    Args:
      split: name of the split.
      anomalies: what ExampleValidator found in it.
      feature_count: features of the schema that it was held against.
    """
    found = [
        f"feature {name!r}: {_words(anomalies.anomaly_info[name])}" for name in sorted(anomalies.anomaly_info)
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        found.append(_words(anomalies.dataset_anomaly_info))
    if anomalies.data_missing:
        found.append("there is no data")
    reason = f"{split}: " + (", ".join(found) or f"no anomalies against the schema of {feature_count} features")
    return Check(GATE, f"schema_anomalies/{split}", not found, float(len(found)), 0.0, reason)


def check_rejected(role: str, ingest: Ingest, max_fraction: float) -> Check:
    """Passes where few enough rows of the training or test files were rejected.

    Args:
      role: `train` or `test`: which files.
      ingest: what was read.
      max_fraction: bound on rejected rows over rows read, 0 to 1.
    """
    rejected = ingest.rows[role]["rejected"]
    count, read = sum(rejected.values()), rows_read(role, ingest)
    fraction = count / read if read else 0.0
    by_count = sorted(rejected, key=lambda reason: (-rejected[reason], reason))
    reasons = ", ".join(f"{reason} {rejected[reason]:,}" for reason in by_count)
    sentence = f"{role}: {count:,} of {read:,} rows rejected ({fraction:.2%})" + (f": {reasons}" if reasons else "")
    if fraction > max_fraction:
        sentence += f"; data.max_rejected_fraction allows {max_fraction:.2%}"
        sentence += f", see {parse.SETTINGS[by_count[0]]}" if by_count[0] in parse.SETTINGS else ""
    return Check(GATE, f"rejected_fraction/{role}", fraction <= max_fraction, fraction, max_fraction, sentence)


def rows_read(role: str, ingest: Ingest) -> int:
    """Returns how many rows the training or test files hold, rejected and left out ones too."""
    accepted = {split: rows["accepted"] for split, rows in ingest.rows.items()}
    rejected = sum(ingest.rows[role]["rejected"].values())
    # Without test files the test split is held out of the training files.
    tested = accepted[features.TEST_SPLIT] if ingest.files[features.TEST_SPLIT] else 0
    if role == features.TEST_SPLIT:
        return tested + rejected
    return sum(accepted.values()) - tested + ingest.not_sampled + rejected


def check_label_balance(
    split: str, label_counts: Sequence[int], label_names: Sequence[str], min_share: float
) -> Check:
    """Passes where every label has its share of a split.

    Args:
      split: name of the split.
      label_counts: rows of each label, in the order of the names.
      label_names: the labels' names, at least one.
      min_share: bound on each label's share of the rows, 0 to 0.5.
    """
    total = sum(label_counts)
    rarest = int(np.argmin(label_counts))
    count, share = label_counts[rarest], label_counts[rarest] / max(total, 1)
    reason = f"{split}: the rarest label {label_names[rarest]!r} has {count:,} of {total:,} rows ({share:.1%})"
    if share < min_share:
        reason += f"; gates.data.min_label_share asks for {min_share:.1%}"
    return Check(GATE, f"label_balance/{split}", share >= min_share, share, min_share, reason)


def check_min_rows(split: str, rows: int, min_rows: int) -> Check:
    """Passes where a split has enough rows."""
    reason = f"{split}: {rows:,} rows"
    if rows < min_rows:
        reason += f"; gates.data.min_rows asks for {min_rows:,}"
    return Check(GATE, f"min_rows/{split}", rows >= min_rows, float(rows), float(min_rows), reason)


def report_test_in_train(train_hashes: np.ndarray, test_hashes: np.ndarray) -> Check:
    """Counts the test rows whose exact text is also in train; always passes.

    Args:
      train_hashes: uint64[n], text hashes of the train split.
      test_hashes: uint64[m], text hashes of the test split.
    """
    count = int(np.isin(test_hashes, train_hashes).sum())
    share = count / max(test_hashes.size, 1)
    reason = f"test: {count:,} of {test_hashes.size:,} rows ({share:.1%}) have a text that is also in train"
    return Check(GATE, "test_in_train", True, float(count), None, reason)


def _words(anomaly: anomalies_pb2.AnomalyInfo) -> str:
    """The anomaly's own words, each sentence once."""
    return ": ".join(dict.fromkeys(filter(None, (anomaly.short_description, anomaly.description))))
