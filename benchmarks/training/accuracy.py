"""Seconds of training to the same dev accuracy.

The rule: all train on the same rows with the same hyper-parameters and evaluate on the same dev rows after each
epoch. The target is the lowest of the contenders' best dev accuracies, so that all reach it. The time is that of
all epochs up to the first one that ends at the target or above, from strings in memory and a built model on:
tokenising and tracing count, evaluating does not.
"""

import contextlib
import dataclasses
import statistics
from typing import Mapping, Sequence

import rich.console
import rich.table

from benchmarks.training import contenders, turns


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of training: its seconds, and the dev accuracy after it."""

    seconds: float
    accuracy: float


def train(
    entries: Sequence[contenders.Entry],
    workload: turns.Workload,
    pythons: contenders.Pythons,
    console: rich.console.Console,
) -> dict[str, list[Epoch]]:
    """Trains each contender on the workload with its seed, an epoch a turn."""
    workload = dataclasses.replace(workload, work="epochs")
    with contextlib.ExitStack() as stack:
        console.print(f"seed {workload.seed}: setting up {', '.join(entry.name for entry in entries)} ...")
        started = [stack.enter_context(contenders.start(entry, workload, pythons)) for entry in entries]
        answers = turns.take_turns(
            started,
            "epoch",
            workload.epochs,
            lambda name, answer: console.print(f"{name}: {answer['seconds']:.1f} s, {answer['accuracy']:.4f}"),
        )
    return {name: [Epoch(one["seconds"], one["accuracy"]) for one in of_name] for name, of_name in answers.items()}


def best(epochs: Sequence[Epoch]) -> float:
    """Returns the best dev accuracy."""
    return max(epoch.accuracy for epoch in epochs)


def seconds_to(target: float, epochs: Sequence[Epoch]) -> float:
    """Returns the seconds of training until an epoch ended at the target or above; one of them does."""
    reached = next(number for number, epoch in enumerate(epochs, 1) if epoch.accuracy >= target)
    return sum(epoch.seconds for epoch in epochs[:reached])


def table(trained: Mapping[int, Mapping[str, Sequence[Epoch]]]) -> rich.table.Table:
    """Makes the table of all seeds, by seed and contender; the first contender is compared with each one."""
    made = rich.table.Table(title="Training to the same dev accuracy")
    base = next(iter(next(iter(trained.values()))))
    columns = ("best dev accuracy", "target", "seconds to it", "all seconds", f"{base}'s seconds ÷ its")
    for column in ("seed", "contender", *columns):
        made.add_column(column, justify="left" if column == "contender" else "right")
    ratios: dict[str, list[float]] = {name: [] for name in trained[next(iter(trained))]}
    for seed, runs in trained.items():
        target = min(best(epochs) for epochs in runs.values())
        for name, epochs in runs.items():
            seconds = seconds_to(target, epochs)
            ratios[name].append(seconds_to(target, runs[base]) / seconds)
            figures = f"{best(epochs):.4f}", f"{target:.4f}", f"{seconds:.1f}", f"{sum(e.seconds for e in epochs):.1f}"
            made.add_row(str(seed), name, *figures, f"{ratios[name][-1]:.2f}")
    for name, values in ratios.items():
        mean = statistics.mean(best(runs[name]) for runs in trained.values())
        made.add_row("all", name, f"{mean:.4f} (mean)", "", "", "", f"{statistics.median(values):.2f} (median)")
    return made
