"""Drift and skew: how far the distributions of some rows are from those of training rows.

| check            | value                                                                                             |
|------------------|---------------------------------------------------------------------------------------------------|
| `label_<kind>`   | L-infinity distance of the labels' shares, TFDV's `infinity_norm`                                 |
| `length_<kind>`  | Jensen-Shannon divergence of the lengths in characters, 0 to 1, as in TFDV                        |
| `script_<kind>`  | L-infinity distance of the scripts' shares of the letters                                         |
| `oov_<kind>/...` | share of `letters`, of `words`, out of the training rows' vocabulary, minus the expected share    |

`drift` compares the training rows with the training data of the model in serving, `skew` the test rows with the
training rows. So each part of the data is compared with one other, and a fault that all files share is drift, not skew.
"""

import dataclasses
from typing import Literal, Mapping

import numpy as np
from scipy.spatial import distance

from components.data_gate import quality
from components.data_gate.profile import Profile, SplitProfile, share_of
from components.data_gate.text_counts import LENGTH_EDGES
from components.data_gate.vocabulary import UnknownShares
from core.checks import Check
from core.config import DataGateConfig
from schema import features

Kind = Literal["drift", "skew"]
MEASURES = ("label", "length", "script", "oov")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows to compare with training rows.

    Attributes:
      kind: `drift` or `skew`.
      name: name of the rows in messages.
      rows: their profile.
      unknown: shares of their letters and words that are not in the vocabulary of `other`.
      other_name: name of the training rows in messages.
      other: the profile of the data that the training rows are part of.
    """

    kind: Kind
    name: str
    rows: SplitProfile
    unknown: UnknownShares
    other_name: str
    other: Profile

    @property
    def other_rows(self) -> SplitProfile:
        """The profile of the training rows."""
        return self.other.splits[features.TRAIN_SPLIT]


def compare(pair: Comparison, bounds: DataGateConfig) -> list[Check]:
    """Runs the checks of a comparison; they pass, with a reason, if a side has too few rows for stable shares."""
    fewest = min(pair.rows.rows, pair.other_rows.rows)
    if fewest < bounds.min_compared_rows:
        reason = (
            f"{pair.name} was not compared with {pair.other_name}: {fewest:,} rows, fewer than "
            f"gates.data.min_compared_rows = {bounds.min_compared_rows:,}"
        )
        return not_compared(pair.kind, reason, bounds)
    return [
        _check_labels(pair, bounds),
        _check_lengths(pair, bounds),
        _check_scripts(pair, bounds),
        _check_unknown("letters", pair, bounds),
        _check_unknown("words", pair, bounds),
    ]


def not_compared(kind: Kind, reason: str, bounds: DataGateConfig) -> list[Check]:
    """Returns passing checks for a comparison that could not be made."""
    return [quality.upper_bounded(f"{measure}_{kind}", None, bounds, reason) for measure in MEASURES]


def l_infinity(one: Mapping[str, int], other: Mapping[str, int]) -> tuple[float, str]:
    """Returns the largest difference of a share between two sets of counts.

    Args:
      one: counts by name; a missing name counts as 0.
      other: likewise.

    Returns:
      The difference, 0 to 1, and the name that it belongs to, which is empty if there are no counts.
    """
    names = sorted({*one, *other})
    differences = {name: abs(share_of(name, one) - share_of(name, other)) for name in names}
    largest = max(names, key=differences.__getitem__, default="")
    return differences.get(largest, 0.0), largest


def _check_labels(pair: Comparison, bounds: DataGateConfig) -> Check:
    if not pair.rows.labels:
        return quality.upper_bounded(f"label_{pair.kind}", None, bounds, f"not compared: {pair.name} has no labels")
    value, reason = _largest_change("rows", pair.rows.labels, pair.other_rows.labels, pair)
    return quality.upper_bounded(f"label_{pair.kind}", value, bounds, reason)


def _check_lengths(pair: Comparison, bounds: DataGateConfig) -> Check:
    # SciPy returns the square root of the divergence.
    value = float(distance.jensenshannon(pair.rows.lengths, pair.other_rows.lengths, base=2) ** 2)
    median, other_median = _median_edge(pair.rows.lengths), _median_edge(pair.other_rows.lengths)
    reason = (
        f"{pair.name}: text lengths diverge by {value:.3f} (Jensen-Shannon) from {pair.other_name}; "
        f"half of the texts are shorter than {median:,} characters, versus {other_median:,}"
    )
    return quality.upper_bounded(f"length_{pair.kind}", value, bounds, reason)


def _check_scripts(pair: Comparison, bounds: DataGateConfig) -> Check:
    value, reason = _largest_change("letters", pair.rows.letters, pair.other_rows.letters, pair)
    return quality.upper_bounded(f"script_{pair.kind}", value, bounds, reason)


def _largest_change(
    items: str, counts: Mapping[str, int], other_counts: Mapping[str, int], pair: Comparison
) -> tuple[float, str]:
    """Returns the distance of two sets of counts, and a sentence about the largest change."""
    value, name = l_infinity(counts, other_counts)
    share = f"{share_of(name, counts):.1%} of the {items} are {name or 'none'}"
    return value, f"{pair.name}: {share}, versus {share_of(name, other_counts):.1%} in {pair.other_name}"


def _check_unknown(items: Literal["letters", "words"], pair: Comparison, bounds: DataGateConfig) -> Check:
    share, expected = getattr(pair.unknown, items), getattr(pair.other.vocabulary.expected, items)
    reason = (
        f"{pair.name}: {share:.1%} of the {pair.other.vocabulary.script} {items} are not in the vocabulary of "
        f"{pair.other_name} (expected: {expected:.1%})"
    )
    return quality.upper_bounded(f"oov_{pair.kind}/{items}", max(share - expected, 0.0), bounds, reason)


def _median_edge(lengths: tuple[int, ...]) -> int:
    """Returns the upper edge of the median's bin; for the last bin, which is open, its lower edge."""
    cumulative = np.cumsum(lengths)
    return int(LENGTH_EDGES[min(np.searchsorted(cumulative, cumulative[-1] / 2), LENGTH_EDGES.size - 1)])
