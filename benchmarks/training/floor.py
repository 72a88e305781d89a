"""The share of a training step that its matrix products need, and where the rest of its time goes."""

import dataclasses
from typing import Mapping, Sequence

import rich.table

from benchmarks.training import contenders, turns
from benchmarks.training.shapes import Shape, step_flops


@dataclasses.dataclass(frozen=True)
class Floor:
    """The speed of training if nothing but matrix products took time.

    Attributes:
      rate: name of the rate of multiplication.
      gflops_per_s: the rate.
      examples_per_s: the speed at that rate.
    """

    rate: str
    gflops_per_s: float
    examples_per_s: float


def floors(lengths: Sequence[int], shape: Shape, rates: Mapping[str, float]) -> list[Floor]:
    """Computes the floor for rows of these lengths, by the names of rates in GFLOP/s."""
    flops = step_flops(lengths, shape.layers, shape.hidden, shape.feed_forward) / len(lengths)
    return [Floor(name, rate, rate * 1e9 / flops) for name, rate in rates.items()]


def trace(workload: turns.Workload) -> dict[str, float]:
    """Traces our training step in a separate process; returns the seconds of a step by kind of operation."""
    entry = contenders.Entry("trace", "trace", workload.precision, workload.batching)
    with contenders.start(entry, workload, {}) as process:
        return process.turn("trace")["seconds"]


def floor_table(rows: Sequence[Floor], examples_per_s: float) -> rich.table.Table:
    """Makes the table of floors; the share is the part of our time that matrix products alone would take."""
    made = rich.table.Table(title=f"The arithmetic floor; ours: {examples_per_s:.1f} examples/s")
    for column in ("at the rate of", "GFLOP/s", "examples/s at most", "our share of it"):
        made.add_column(column, justify="left" if column == "at the rate of" else "right")
    for row in rows:
        share = f"{examples_per_s / row.examples_per_s:.0%}"
        made.add_row(row.rate, f"{row.gflops_per_s:.1f}", f"{row.examples_per_s:.1f}", share)
    return made


def trace_table(seconds: Mapping[str, float]) -> rich.table.Table:
    """Makes the table of where a step's time goes."""
    made = rich.table.Table(title=f"A step of ours, {1e3 * sum(seconds.values()):.1f} ms on average")
    for column in ("time in", "ms", "share"):
        made.add_column(column, justify="left" if column == "time in" else "right")
    for kind, value in seconds.items():
        made.add_row(kind, f"{1e3 * value:.1f}", f"{value / sum(seconds.values()):.1%}")
    return made
