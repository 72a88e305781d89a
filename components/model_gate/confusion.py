"""Metrics of a confusion matrix, and how much each cell influences them: pure functions.

A `table` is float[classes, classes], rows by label and answer.
"""

import numpy as np

from components.model_gate import paired
from components.model_gate.cell_counts import Cells


def tables(cells: Cells, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tables of the candidate and of the baseline."""
    both = np.zeros((2, classes, classes))
    for (label, *answers), rows in cells.items():
        for table, answer in zip(both, answers, strict=True):
            table[label, answer] += rows
    return both[0], both[1]


def values(table: np.ndarray) -> dict[str, float]:
    """Returns accuracy, macro F1, Matthews correlation, and recall and F1 of each class.

    A recall without rows and an F1 without rows and answers are nan. Macro F1 is the mean of the others (as in
    scikit-learn), and the Matthews correlation, for N classes R_K of Gorodkin (2004), is 0 if all labels or all answers
    are the same.
    """
    right, labels, answers = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    f1 = _divide(2 * right, labels + answers)
    return {
        "accuracy": float(_divide(right.sum(), table.sum())),
        "f1_macro": float(np.nanmean(f1)) if table.any() else float("nan"),
        "matthews": _matthews(table),
        **{f"recall_{i}": float(recall) for i, recall in enumerate(_divide(right, labels))},
        **{f"f1_{i}": float(score) for i, score in enumerate(f1)},
    }


def _matthews(table: np.ndarray) -> float:
    covariance, of_labels, of_answers = _covariances(table)
    return float(covariance / np.sqrt(of_labels * of_answers)) if of_labels * of_answers > 0 else 0.0


def _covariances(table: np.ndarray) -> tuple[float, float, float]:
    """Returns Gorodkin's covariance of labels and answers, and both variances, as sums over pairs of rows."""
    count, labels, answers = table.sum(), table.sum(axis=1), table.sum(axis=0)
    return (
        float(np.trace(table) * count - labels @ answers),
        float(count**2 - labels @ labels),
        float(count**2 - answers @ answers),
    )


def influences(table: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each metric's derivative by the share of each cell, float[classes, classes]."""
    classes, shares = len(table), table / max(table.sum(), 1.0)
    right, labels, answers = np.diag(shares), shares.sum(axis=1), shares.sum(axis=0)
    eye = np.eye(classes)
    in_label = np.broadcast_to(eye[:, :, np.newaxis], (classes, classes, classes))  # [class, label, answer]
    in_answer = np.broadcast_to(eye[:, np.newaxis, :], (classes, classes, classes))
    recall, f1 = _divide(right, labels), _divide(2 * right, labels + answers)
    of_recall = _divide(in_label * in_answer - recall[:, None, None] * in_label, labels[:, None, None])
    of_f1 = _divide(
        2 * in_label * in_answer - f1[:, None, None] * (in_label + in_answer), (labels + answers)[:, None, None]
    )
    return {
        "accuracy": eye - right.sum(),
        "f1_macro": np.nansum(of_f1, axis=0) / max(np.isfinite(f1).sum(), 1),
        "matthews": _matthews_influence(shares),
        **{f"recall_{i}": of_recall[i] for i in range(classes)},
        **{f"f1_{i}": of_f1[i] for i in range(classes)},
    }


def _matthews_influence(shares: np.ndarray) -> np.ndarray:
    covariance, of_labels, of_answers = _covariances(shares)
    if of_labels * of_answers <= 0:
        return np.zeros_like(shares)
    labels, answers = shares.sum(axis=1), shares.sum(axis=0)
    slope = np.eye(len(shares)) + np.trace(shares) - answers[:, np.newaxis] - labels
    root = np.sqrt(of_labels * of_answers)
    label_slope, answer_slope = 2 * (1 - labels)[:, np.newaxis], 2 * (1 - answers)
    return slope / root - covariance / root / 2 * (label_slope / of_labels + answer_slope / of_answers)


def paired_errors(cells: Cells, classes: int) -> dict[str, float]:
    """Returns the standard error of candidate minus baseline for each metric of `values`."""
    index = np.array(list(cells), np.int64).reshape(-1, 3)
    labels, (candidate, baseline) = index[:, 0], index[:, 1:].T
    rows = np.array(list(cells.values()), np.float64)
    ours, theirs = (influences(table) for table in tables(cells, classes))
    errors = {
        name: paired.error_of_mean(_finite(ours[name][labels, candidate] - theirs[name][labels, baseline]), rows)
        for name in ours
    }
    hits = (candidate == labels).astype(np.float64) - (baseline == labels)
    errors["accuracy"] = paired.error_of_proportion(hits, rows)
    for i in range(classes):
        errors[f"recall_{i}"] = paired.error_of_proportion(hits[labels == i], rows[labels == i])
    return errors


def bounds(table: np.ndarray) -> dict[str, tuple[float, float]]:
    """Returns the ends of the 95 % confidence interval of each metric of `values`."""
    known, rows = values(table), table.ravel()
    limits = {name: (-1.0 if name == "matthews" else 0.0, 1.0) for name in known}
    ends = {
        name: paired.normal_bounds(known[name], paired.error_of_mean(_finite(influence.ravel()), rows), limits[name])
        for name, influence in influences(table).items()
    }
    ends["accuracy"] = paired.share_bounds(known["accuracy"], table.sum())
    for i, count in enumerate(table.sum(axis=1)):
        ends[f"recall_{i}"] = paired.share_bounds(known[f"recall_{i}"], count)
    return ends


def changed_rows(cells: Cells) -> dict[str, int]:
    """Counts the rows that only the candidate (`fixed`) or only the baseline (`broken`) answers correctly."""
    return {
        "fixed": sum(rows for (label, ours, theirs), rows in cells.items() if ours == label != theirs),
        "broken": sum(rows for (label, ours, theirs), rows in cells.items() if theirs == label != ours),
    }


def _divide(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divides; the quotient by 0 is nan."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(dividend / np.where(divisor == 0, np.nan, divisor))


def _finite(values: np.ndarray) -> np.ndarray:
    """Replaces nan, the influence on a metric that is undefined, by 0."""
    return np.nan_to_num(values)
