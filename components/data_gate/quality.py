"""Data quality: the checks that need only this run's data, as pure functions of counts and anomalies.

A check's section under `gates.data` has the check's name, without the part after a slash.

| check                        | fails if                                                                       |
|------------------------------|--------------------------------------------------------------------------------|
| `schema_anomalies/<split>`   | ExampleValidator reports anomalies                                             |
| `rejected_fraction/<files>`  | more than `data.max_rejected_fraction` of the rows of `train` or `test` files  |
| `empty_texts/<files>`        | many of those rows have no text                                                |
| `rows/<split>`               | there are fewer rows than `min_rows`                                           |
| `label_balance/<split>`      | a label's share is outside `min_label_share` to `max_label_share`              |
| `script_share/<script>`      | a script's share of a split's letters is below `min_script_shares`; by default |
|                              | the main script of train, below half of its share there                        |
| `unreadable_characters`      | a split has many control, private use or replacement characters                |
| `test_in_train`              | many test rows have a text that is also in train, and is not a short phrase    |
| `dev_in_train`               | the same of the rows of a dev file                                             |

`comparison` has the checks of drift and skew; `reference.check_served_profile` and
`unknown_tokens.check_unknown_tokens` are about the model in serving.
"""

from typing import Mapping, Optional, Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2

from artifacts.examples import Ingest, describe_unknown_labels
from components.data_gate.content import OWN_CHARACTERS
from components.data_gate.profile import SplitProfile, share_of
from core.checks import Check
from core.config import DataGateConfig, UpperBound
from core.errors import UserError
from schema import features, rejections

GATE = "data"

# A script with this share of the letters is the main one of its file. In a split of 20 rows its share is then above
# half of that, by more than three standard deviations.
MAIN_SCRIPT_SHARE = 0.7


class DataGateStopped(UserError):
    """A blocking check failed; `checks` has all checks, including those that passed."""

    def __init__(self, checks: Sequence[Check]) -> None:
        reasons = [check.reason for check in checks if check.blocks]
        super().__init__(f"the data gate stopped the run before training: {'; '.join(reasons)}")
        self.checks = list(checks)


def check_anomalies(
    split: str, anomalies: anomalies_pb2.Anomalies, feature_count: int, bounds: DataGateConfig
) -> Check:
    """Passes if a split has no anomalies.

    Args:
      split: name of the split.
      anomalies: the split's anomalies from ExampleValidator.
      feature_count: number of features that every example must have.
      bounds: `schema_anomalies`.
    """
    by_feature = sorted(anomalies.anomaly_info.items())
    faults = [f"feature {name!r}: {_describe_anomaly(anomaly)}" for name, anomaly in by_feature]
    if anomalies.HasField("dataset_anomaly_info"):
        faults.append(_describe_anomaly(anomalies.dataset_anomaly_info))
    if anomalies.data_missing:
        faults.append("no data")
    reason = f"{split}: " + (", ".join(faults) or f"matches the schema of {feature_count} required features")
    severity = bounds.schema_anomalies.severity
    return Check(GATE, f"schema_anomalies/{split}", not faults, float(len(faults)), 0.0, reason, severity)


def check_rejected(role: str, ingest: Ingest, max_fraction: float, bounds: DataGateConfig) -> Check:
    """Passes if few enough rows of the training, dev or test files were rejected, those without a text not counted.

    Args:
      role: `train`, `dev` or `test` files.
      ingest: the counts.
      max_fraction: the largest allowed fraction of rejected rows, 0 to 1.
      bounds: `rejected_fraction`.
    """
    rejected = {k: rows for k, rows in ingest.rows[role]["rejected"].items() if k != rejections.EMPTY_TEXT}
    count, read = sum(rejected.values()), rows_read(role, ingest)
    fraction = count / read if read else 0.0
    by_count = sorted(rejected, key=lambda reason: (-rejected[reason], reason))
    reasons = ", ".join(f"{reason} {rejected[reason]:,}" for reason in by_count)
    left_out = ingest.rows[role].get("left_out", 0)
    sentence = f"{role}: {count:,} of {read:,} rows rejected ({fraction:.2%})" + (f": {reasons}" if reasons else "")
    if left_out:
        sentence += f"; {left_out:,} left out by data.ignore_labels"
    if values := describe_unknown_labels(ingest.unknown_labels.get(role, {})):
        sentence += f"; {values}"
    if fraction > max_fraction:
        sentence += f"; data.max_rejected_fraction is {max_fraction:.2%}"
        sentence += f"; check {rejections.SETTINGS[by_count[0]]}" if by_count[0] in rejections.SETTINGS else ""
    passed, severity = fraction <= max_fraction, bounds.rejected_fraction.severity
    return Check(GATE, f"rejected_fraction/{role}", passed, fraction, max_fraction, sentence, severity)


def check_empty_texts(role: str, ingest: Ingest, bounds: DataGateConfig) -> Check:
    """Passes if few enough rows of the training, dev or test files have no text: people leave reviews empty."""
    count, read = ingest.rows[role]["rejected"].get(rejections.EMPTY_TEXT, 0), rows_read(role, ingest)
    fraction, bound = count / read if read else 0.0, bounds.empty_texts
    sentence = f"{role}: {count:,} of {read:,} rows have no text ({fraction:.2%})"
    if fraction > bound.max:
        sentence += f"; {fraction:.2%} exceeds gates.data.empty_texts.max = {bound.max}; check data.text"
    return Check(GATE, f"empty_texts/{role}", fraction <= bound.max, fraction, bound.max, sentence, bound.severity)


def rows_read(role: str, ingest: Ingest) -> int:
    """Returns the number of rows in the training or other files, including those rejected, left out or not sampled."""
    accepted = {split: rows["accepted"] for split, rows in ingest.rows.items()}
    unused = sum(ingest.rows[role]["rejected"].values()) + ingest.rows[role].get("left_out", 0)
    # Without files of its own a split is held out of the training files.
    from_own_files = {split: rows if ingest.files.get(split) else 0 for split, rows in accepted.items()}
    if role != features.TRAIN_SPLIT:
        return from_own_files[role] + unused
    others = sum(rows for split, rows in from_own_files.items() if split != features.TRAIN_SPLIT)
    return sum(accepted.values()) - others + ingest.not_sampled + unused


def check_rows(split: str, rows: int, bounds: DataGateConfig) -> Check:
    """Passes if a split has enough rows."""
    reason = f"{split}: {rows:,} rows"
    if rows < bounds.min_rows:
        reason += f"; gates.data.min_rows is {bounds.min_rows:,}"
    passed, bound = rows >= bounds.min_rows, float(bounds.min_rows)
    return Check(GATE, f"rows/{split}", passed, float(rows), bound, reason, bounds.rows.severity)


def check_label_balance(split: str, labels: Mapping[str, int], bounds: DataGateConfig) -> Check:
    """Passes if every label's share of a split is within the bounds.

    Args:
      split: name of the split.
      labels: rows of each label, at least one.
      bounds: `min_label_share`, `max_label_share`.
    """
    total = sum(labels.values())
    rarest, commonest = min(labels, key=labels.__getitem__), max(labels, key=labels.__getitem__)
    too_common = labels[commonest] > bounds.max_label_share * total
    too_rare = labels[rarest] < bounds.min_label_share * total
    name, key = (commonest, "max_label_share") if too_common and not too_rare else (rarest, "min_label_share")
    share, bound, severity = labels[name] / max(total, 1), getattr(bounds, key), bounds.label_balance.severity
    reason = f"{split}: label {name!r} has {labels[name]:,} of {total:,} rows ({share:.1%})"
    if too_common or too_rare:
        reason += f"; gates.data.{key} is {bound:.1%}"
    return Check(GATE, f"label_balance/{split}", not (too_common or too_rare), share, bound, reason, severity)


def check_script_shares(splits: Mapping[str, SplitProfile], bounds: DataGateConfig) -> list[Check]:
    """Returns a check for each script in `min_script_shares`, which passes if every split has at least that share.

    If it is null, every split must have the main script of the training split, with at least half the share.
    """
    if bounds.min_script_shares is None:
        return [_check_main_script(splits, bounds)]
    checks = []
    for script, least in bounds.min_script_shares.items():
        shares = {name: share_of(script, split.letters) for name, split in splits.items()}
        split = min(shares, key=shares.__getitem__)
        share = shares[split]
        reason = f"{split}: {share:.1%} of the letters are {script}"
        if share < least:
            reason += f"; gates.data.min_script_shares.{script} is {least:.1%}; check data.encoding and data.text"
        severity = bounds.script_share.severity
        checks.append(Check(GATE, f"script_share/{script}", share >= least, share, least, reason, severity))
    return checks


def main_script(letters: Mapping[str, int]) -> Optional[str]:
    """Returns the script of most letters, given the number of letters by script; None if none prevails."""
    script = max(sorted(letters), key=letters.__getitem__, default="")
    return script if script and share_of(script, letters) >= MAIN_SCRIPT_SHARE else None


def _check_main_script(splits: Mapping[str, SplitProfile], bounds: DataGateConfig) -> Check:
    letters, severity = splits[features.TRAIN_SPLIT].letters, bounds.script_share.severity
    script = main_script(letters)
    if script is None:
        reason = f"not compared: no script has {MAIN_SCRIPT_SHARE:.0%} of the letters of train"
        return Check(GATE, "script_share", True, None, None, reason, severity, compared=False)
    train_share = share_of(script, letters)
    least = train_share / 2
    shares = {name: share_of(script, split.letters) for name, split in splits.items()}
    split = min(shares, key=shares.__getitem__)
    reason = f"{split}: {shares[split]:.1%} of the letters are {script}, the main script of train ({train_share:.1%})"
    if shares[split] < least:
        reason += "; at least half of that is needed; check data.encoding, and gates.data.min_script_shares"
    return Check(GATE, f"script_share/{script}", shares[split] >= least, shares[split], least, reason, severity)


def check_unreadable(splits: Mapping[str, SplitProfile], bounds: DataGateConfig) -> Check:
    """Passes if every split has few control, private use and replacement characters, signs of a wrong encoding."""
    shares = {name: sum(split.unreadable.values()) / max(split.characters, 1) for name, split in splits.items()}
    worst = max(shares, key=shares.__getitem__)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(splits[worst].unreadable.items()))
    reason = f"{worst}: {shares[worst]:.2%} of the characters are unreadable" + (f" ({kinds})" if kinds else "")
    return upper_bounded("unreadable_characters", shares[worst], bounds, reason, "; check data.encoding")


def check_in_train(split: str, count: int, rows: int, bounds: DataGateConfig) -> Check:
    """Passes if few enough rows of another split have a text that is also in train.

    Args:
      split: name of the other split, `dev` or `test`.
      count: rows of the other split that have a text of `content.OWN_CHARACTERS` or more that is also in train.
      rows: rows of the other split that have that many.
      bounds: `dev_in_train`, `test_in_train`.
    """
    name = f"{split}_in_train"
    if not rows:
        return upper_bounded(name, None, bounds, f"not compared: no {split} row has {OWN_CHARACTERS} characters")
    share = count / rows
    counted = f"{count:,} of {rows:,} rows ({share:.1%}) with {OWN_CHARACTERS} or more characters"
    return upper_bounded(name, share, bounds, f"{split}: {counted} have a text that is also in train")


def upper_bounded(name: str, value: Optional[float], bounds: DataGateConfig, reason: str, hint: str = "") -> Check:
    """Returns the check of a value that has an upper bound.

    Args:
      name: the section under `gates.data` with the bound; a part after a slash distinguishes checks of one section.
      value: the measured value; None, which passes, if nothing could be measured.
      bounds: the gate's bounds.
      reason: a sentence without the bound.
      hint: what to check, added to the reason if the value exceeds the bound.
    """
    section = name.partition("/")[0]
    bound: UpperBound = getattr(bounds, section)
    passed = value is None or value <= bound.max
    if not passed:
        reason += f"; {value:.3g} exceeds gates.data.{section}.max = {bound.max:g}{hint}"
    return Check(GATE, name, passed, value, bound.max, reason, bound.severity, compared=value is not None)


def _describe_anomaly(anomaly: anomalies_pb2.AnomalyInfo) -> str:
    """Joins the short and the long description, which may be the same sentence."""
    return ": ".join(dict.fromkeys(filter(None, (anomaly.short_description, anomaly.description))))
