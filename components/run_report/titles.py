"""Names of metrics, slices and checks for people, on the terminal and on pages. Imports nothing, to load fast."""

from typing import Mapping

# TFMA's name of the number of test rows, among the metrics.
ROW_COUNT = "example_count"

# What may follow the metric in the name of a check.
_CHANGES = ("", "_drop", "_rise", "_below_teacher")


def title_metric(name: str, titles: Mapping[str, str]) -> str:
    """Names a metric for people: `recall_0` -> `recall of 부정`.

    Args:
      name: the metric.
      titles: `Task.metric_titles`; empty for a run that was not evaluated, or of an earlier release.
    """
    return {ROW_COUNT: "test rows", **titles}.get(name, name.replace("_", " "))


def title_slice(name: str) -> str:
    """`length:1-9` -> `length 1-9`."""
    return name.replace(":", " ")


def title_check(name: str, titles: Mapping[str, str]) -> str:
    """Names a check for people: `recall_0_drop/length:1-9` -> `recall of 부정, drop, length 1-9`."""
    measured, _, part = name.partition("/")
    metric = next((each for each in titles if measured.removeprefix(each) in _CHANGES), measured)
    change = measured.removeprefix(metric).strip("_").replace("_", " ")
    return ", ".join(filter(None, [title_metric(metric, titles), change, title_slice(part)]))
