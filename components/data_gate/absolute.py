"""The checks of DataGate: pure functions from counts and anomalies to `core.checks.Check`s.

A check's section under `gates.data` has its name, without what follows a slash.

| check                        | misses its bound where                                                         |
|------------------------------|--------------------------------------------------------------------------------|
| `schema_anomalies/<split>`   | ExampleValidator found anomalies                                               |
| `rejected_fraction/<files>`  | more than `data.max_rejected_fraction` of the rows of `train` or `test` files  |
| `rows/<split>`               | there are fewer rows than `min_rows`                                           |
| `label_balance/<split>`      | a label's share lies outside `min_label_share` to `max_label_share`            |
| `script_share/<script>`      | a split has less of a script than `min_script_shares` asks for                 |
| `unreadable_characters`      | a split has many characters that no text has                                   |
| `test_in_train`              | many test rows have a text that is also in train                               |
| `served_profile`             | the profile of the served model's data can't be read                           |
| `unknown_tokens`             | the model in serving does not know many of the tokens                          |
| `<measure>_drift`, `_skew`   | see `comparison`                                                               |
"""

from typing import Mapping, Optional, Sequence

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2

from artifacts.examples import Ingest
from components.data_gate.profile import SplitProfile, share_of
from components.tsv_example_gen import parse
from core.checks import Check
from core.config import DataGateConfig, UpperBound
from core.errors import UserError
from schema import features

GATE = "data"


class DataGateStopped(UserError):
    """The data misses a bound that blocks; `checks` holds every check that was made, passed ones too."""

    def __init__(self, checks: Sequence[Check]) -> None:
        reasons = [check.reason for check in checks if check.blocks]
        super().__init__(f"the data was stopped before training: {'; '.join(reasons)}")
        self.checks = list(checks)


def check_anomalies(
    split: str, anomalies: anomalies_pb2.Anomalies, feature_count: int, bounds: DataGateConfig
) -> Check:
    """Passes where a split has no anomalies.

    Args:
      split: name of the split.
      anomalies: what ExampleValidator found in it.
      feature_count: features of the schema that it was held against.
      bounds: `schema_anomalies`.
    """
    found = [f"feature {name!r}: {_words(anomalies.anomaly_info[name])}" for name in sorted(anomalies.anomaly_info)]
    if anomalies.HasField("dataset_anomaly_info"):
        found.append(_words(anomalies.dataset_anomaly_info))
    if anomalies.data_missing:
        found.append("there is no data")
    reason = f"{split}: " + (", ".join(found) or f"no anomalies against the schema of {feature_count} features")
    severity = bounds.schema_anomalies.severity
    return Check(GATE, f"schema_anomalies/{split}", not found, float(len(found)), 0.0, reason, severity)


def check_rejected(role: str, ingest: Ingest, max_fraction: float, bounds: DataGateConfig) -> Check:
    """Passes where few enough rows of the training or test files were rejected.

    Args:
      role: `train` or `test`: which files.
      ingest: what was read.
      max_fraction: bound on rejected rows over rows read, 0 to 1.
      bounds: `rejected_fraction`.
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
    passed, severity = fraction <= max_fraction, bounds.rejected_fraction.severity
    return Check(GATE, f"rejected_fraction/{role}", passed, fraction, max_fraction, sentence, severity)


def rows_read(role: str, ingest: Ingest) -> int:
    """Returns how many rows the training or test files hold, rejected and left out ones too."""
    accepted = {split: rows["accepted"] for split, rows in ingest.rows.items()}
    rejected = sum(ingest.rows[role]["rejected"].values())
    # Without test files the test split is held out of the training files.
    tested = accepted[features.TEST_SPLIT] if ingest.files[features.TEST_SPLIT] else 0
    if role == features.TEST_SPLIT:
        return tested + rejected
    return sum(accepted.values()) - tested + ingest.not_sampled + rejected


def check_rows(split: str, rows: int, bounds: DataGateConfig) -> Check:
    """Passes where a split has enough rows."""
    reason = f"{split}: {rows:,} rows"
    if rows < bounds.min_rows:
        reason += f"; gates.data.min_rows asks for {bounds.min_rows:,}"
    passed, bound = rows >= bounds.min_rows, float(bounds.min_rows)
    return Check(GATE, f"rows/{split}", passed, float(rows), bound, reason, bounds.rows.severity)


def check_label_balance(split: str, labels: Mapping[str, int], bounds: DataGateConfig) -> Check:
    """Passes where every label's share of a split lies in the band.

    Args:
      split: name of the split.
      labels: rows of each label, at least one.
      bounds: `min_label_share`, `max_label_share`.
    """
    total = sum(labels.values())
    rarest, commonest = min(labels, key=labels.get), max(labels, key=labels.get)
    too_common = labels[commonest] > bounds.max_label_share * total
    too_rare = labels[rarest] < bounds.min_label_share * total
    name, key = (commonest, "max_label_share") if too_common and not too_rare else (rarest, "min_label_share")
    share, bound, severity = labels[name] / max(total, 1), getattr(bounds, key), bounds.label_balance.severity
    reason = f"{split}: label {name!r} has {labels[name]:,} of {total:,} rows ({share:.1%})"
    if too_common or too_rare:
        reason += f"; gates.data.{key} is {bound:.1%}"
    return Check(GATE, f"label_balance/{split}", not (too_common or too_rare), share, bound, reason, severity)


def check_script_shares(splits: Mapping[str, SplitProfile], bounds: DataGateConfig) -> list[Check]:
    """Passes, for each script with a least share, where it has that share of the letters of every split."""
    made = []
    for script, least in bounds.min_script_shares.items():
        split = min(splits, key=lambda name: share_of(script, splits[name].letters))
        share = share_of(script, splits[split].letters)
        reason = f"{split}: {share:.1%} of the letters are {script}"
        if share < least:
            reason += f"; gates.data.min_script_shares.{script} asks for {least:.1%}, see data.encoding and data.text"
        severity = bounds.script_share.severity
        made.append(Check(GATE, f"script_share/{script}", share >= least, share, least, reason, severity))
    return made


def check_unreadable(splits: Mapping[str, SplitProfile], bounds: DataGateConfig) -> Check:
    """Passes where every split has few control, private use and replacement characters: signs of a wrong codec."""
    shares = {name: sum(split.unreadable.values()) / max(split.characters, 1) for name, split in splits.items()}
    worst = max(shares, key=shares.get)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(splits[worst].unreadable.items()))
    reason = f"{worst}: {shares[worst]:.2%} of the characters can't be read" + (f" ({kinds})" if kinds else "")
    return upper_bounded("unreadable_characters", shares[worst], bounds, reason, "; see data.encoding")


def check_test_in_train(train_hashes: np.ndarray, test_hashes: np.ndarray, bounds: DataGateConfig) -> Check:
    """Passes where few enough test rows have a text that is also in train.

    Args:
      train_hashes: uint64[n], text hashes of the train split.
      test_hashes: uint64[m], text hashes of the test split.
      bounds: `test_in_train`.
    """
    count = int(np.isin(test_hashes, train_hashes).sum())
    share = count / max(test_hashes.size, 1)
    reason = f"test: {count:,} of {test_hashes.size:,} rows ({share:.1%}) have a text that is also in train"
    return upper_bounded("test_in_train", share, bounds, reason)


def check_unknown_tokens(share: Optional[float], words: str, bounds: DataGateConfig) -> Check:
    """Passes where the model in serving knows enough of the training rows' tokens.

    Args:
      share: 0 to 1; None where there is no model to ask.
      words: who was asked, or why nobody was.
      bounds: `unknown_tokens`.
    """
    reason = words if share is None else f"train: {share:.2%} of the tokens are unknown to {words}"
    return upper_bounded("unknown_tokens", share, bounds, reason)


def check_served_profile(fault: str, words: str, bounds: DataGateConfig) -> Check:
    """Passes where the profile of the served model's data can be read, or there is none.

    Args:
      fault: what is wrong with it, else empty.
      words: what there is to compare with.
      bounds: `served_profile`.
    """
    reason = f"{fault}; so no drift is checked, and the next push mends it" if fault else f"compared with: {words}"
    return Check(GATE, "served_profile", not fault, None, None, reason, bounds.served_profile.severity)


def upper_bounded(name: str, value: Optional[float], bounds: DataGateConfig, reason: str, see: str = "") -> Check:
    """Makes the check of a value that should be small.

    Args:
      name: the section under `gates.data` that holds the bound, and behind a slash what tells such checks apart.
      value: what was found; None, which passes, where there was nothing to measure.
      bounds: of the gate.
      reason: a sentence without the bound.
      see: where else to look, added to a sentence about a missed bound.
    """
    section = name.partition("/")[0]
    bound: UpperBound = getattr(bounds, section)
    passed = value is None or value <= bound.max
    if not passed:
        reason += f"; gates.data.{section}.max allows {bound.max:g}, it is {value:.3g}{see}"
    return Check(GATE, name, passed, value, bound.max, reason, bound.severity)


def _words(anomaly: anomalies_pb2.AnomalyInfo) -> str:
    """The anomaly's own words, each sentence once."""
    return ": ".join(dict.fromkeys(filter(None, (anomaly.short_description, anomaly.description))))
