"""Kills a run inside one component after the other, with the same command again after each."""

import random
from typing import Iterator, Optional

from benchmarks.faults.runs import Ended, Place
from benchmarks.faults.table import Row

# A component may be done in half the time that the reference's took while the machine was busy.
_EARLIEST_END = 0.5
# Of a component that takes no time at all the moment is somewhere in its launch.
_SHORTEST_S = 0.1


def kill_everywhere(place: Place, reference: Place, generator: random.Random) -> Iterator[Row]:
    """Kills a run (signal 9) at a random moment inside every component, and lets it finish at the end.

    Args:
      place: where nothing ran yet.
      reference: where the same job was run and left alone.
      generator: of the moments.

    Yields:
      A row a kill, and one for the end: whether its figures are those of the reference, to the last digit.
    """
    components = reference.summary()["components"]
    before: Optional[str] = None
    complete: set[str] = set()
    for component in components:
        node, seconds = component["id"], max(component["seconds"], _SHORTEST_S)
        after_s = generator.uniform(0.0, _EARLIEST_END * seconds)
        killed, node_at_work = _kill_inside(place, before, after_s, [each["id"] for each in components])
        complete, faults = _judge(killed, complete)
        yield Row(
            f"kill -9 in {node_at_work}",
            f"{after_s:.2f} s after its start",
            f"signal {-killed.status}" if killed.status < 0 else killed.last_words,
            "; ".join(faults) or f"{len(killed.cached)} components taken from before",
            not faults,
        )
        before = node
    ended = place.run()
    _, faults = _judge(ended, complete)
    faults += _unlike(place, reference)
    told = "; ".join(faults) or "figures equal to the last digit, one version in serving"
    yield Row("the same command once more", "", ended.last_words, told, ended.status == 0 and not faults)


def _kill_inside(place: Place, before: Optional[str], after_s: float, order: list[str]) -> tuple[Ended, str]:
    """Kills a run some seconds after a component ended (None: it started); says which one was at work."""
    running = place.start()
    running.wait_for(before)
    running.wait(after_s)
    killed = running.kill()
    left = [node for node in order if node not in killed.nodes]
    return killed, left[0] if left else "the summary"


def _judge(ended: Ended, complete: set[str]) -> tuple[set[str], list[str]]:
    """Returns what is complete now, and what this attempt did again or took although it was not complete."""
    again = [node for node in ended.nodes if node in complete and node not in ended.cached]
    torn = sorted(ended.cached - complete)
    faults = [f"ran again: {', '.join(again)}"] if again else []
    # A component whose last act was killed may have been recorded a moment before its line was told.
    return complete | set(ended.nodes), faults + ([f"taken: {', '.join(torn)}"] if len(torn) > 1 else [])


def _unlike(place: Place, reference: Place) -> list[str]:
    """Says what differs between the ends of two jobs."""
    ours, theirs = place.summary(), reference.summary()
    faults = [f"{part} differs" for part in ("rows", "metrics") if ours[part] != theirs[part]]
    if ours["training"]["history"] != theirs["training"]["history"]:
        faults.append("the training's history differs")
    if len(place.versions()) != 1:
        faults.append(f"{len(place.versions())} versions in serving")
    return faults
