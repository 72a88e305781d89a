"""Examples a second of all contenders, which train in turns of some seconds."""

import contextlib
import statistics
from typing import Mapping, Sequence

import rich.console
import rich.table

from benchmarks.training import contenders, turns


def measure(
    entries: Sequence[contenders.Entry],
    workload: turns.Workload,
    pythons: contenders.Pythons,
    turn_seconds: float,
    rounds: int,
    console: rich.console.Console,
) -> dict[str, list[float]]:
    """Starts the contenders one after another, then lets them train in turn.

    Returns:
      Name of the contender -> examples a second in each round.
    """
    with contextlib.ExitStack() as stack:
        started = []
        for entry in entries:
            console.print(f"setting up {entry.name} ...")
            started.append(stack.enter_context(contenders.start(entry, workload, pythons)))
        console.print(f"{rounds} rounds of {len(started)} turns of {turn_seconds:g} s ...")
        answers = turns.take_turns(
            started, turn_seconds, rounds, lambda name, answer: console.print(f"{name}: {_rate(answer):.1f} examples/s")
        )
    return {name: [_rate(answer) for answer in of_name] for name, of_name in answers.items()}


def table(entries: Sequence[contenders.Entry], rates: Mapping[str, Sequence[float]]) -> rich.table.Table:
    """Makes the table: each contender's rate, and the ratio of each of ours to it in the same round."""
    made = rich.table.Table(title="Training, examples a second: median of the rounds (lowest to highest)")
    made.add_column("contender")
    made.add_column("examples/s", justify="right")
    bases = [entry.name for entry in entries if entry.is_ours]
    for base in bases:
        made.add_column(f"{base} ÷ it", justify="right")
    for entry in entries:
        own = rates[entry.name]
        spread = turns.Spread(statistics.median(own), min(own), max(own))
        ratios = [turns.ratios(rates[base], own) for base in bases]
        made.add_row(entry.name, format_spread(spread, 1), *(format_spread(ratio, 2) for ratio in ratios))
    return made


def format_spread(spread: turns.Spread, digits: int) -> str:
    """Formats a spread as `4.20 (4.10 to 4.30)`."""
    median, low, high = (f"{value:.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return f"{median} ({low} to {high})"


def _rate(answer: Mapping[str, float]) -> float:
    return answer["examples"] / answer["seconds"]
