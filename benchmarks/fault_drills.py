"""Injects faults into whole runs, one after the other, and tells what the user saw and whether the next run worked.

    python -m benchmarks.fault_drills [--kills 3] [--seed 0] [--only kills|resting|running|disk ...] [--naming WORD]

A small pipeline is run as `local_runner.py` runs it. `kills`: signal 9 at a random moment inside every component, the
whole round as often as `--kills` says. `resting`: something is spoiled between two runs. `running`: what happens while
a run is at work, be it a second run. `disk`: full and read-only disks, which need the right to mount one. A row is good
(✓) where the run ended with the documented exit status, said what was wrong without a traceback, and the same command
after the mend did its work.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
from typing import Callable, Iterator, Optional, Sequence

import rich.console

from benchmarks.faults import injections, kills, table
from benchmarks.faults.runs import Place
from benchmarks.faults.table import Row

_KINDS = ("kills", "resting", "running", "disk")
_DISK_MIB = 3


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the drills; returns 1 where one went otherwise than promised."""
    options = _parser().parse_args(arguments)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in _drills(folder, options):
            rows.append(row)
            console.print(f"{'✓' if row.good else '✗'} {row.fault}", markup=False)
            _write(options.out, rows)
    console.print(table.make(rows))
    console.print(f"{sum(row.good for row in rows)} of {len(rows)} as promised")
    return int(not all(row.good for row in rows))


def _write(file: Optional[str], rows: Sequence[Row]) -> None:
    """Writes the rows that there are: an hour of drills should survive its last one."""
    if file:
        with open(file, "w", encoding="utf-8") as stream:
            json.dump([dataclasses.asdict(row) for row in rows], stream, ensure_ascii=False, indent=1)


def _drills(folder: str, options: argparse.Namespace) -> Iterator[Row]:
    reference = Place(os.path.join(folder, "reference"))
    first = reference.run()
    if first.status:
        raise SystemExit(f"the run that was left alone failed:\n{first.told}")
    kinds: dict[str, Callable[[], Iterator[Row]]] = {
        "kills": lambda: _kills(folder, reference, options),
        "resting": lambda: injections.all_resting(reference, options.naming),
        "running": lambda: _running(folder, reference),
        "disk": lambda: _disk(folder),
    }
    for kind in options.only:
        yield from kinds[kind]()


def _kills(folder: str, reference: Place, options: argparse.Namespace) -> Iterator[Row]:
    generator = random.Random(options.seed)
    for number in range(options.kills):
        yield from kills.kill_everywhere(Place(os.path.join(folder, f"killed-{number}")), reference, generator)


def _running(folder: str, place: Place) -> Iterator[Row]:
    yield injections.second_run(place)
    yield injections.interrupted(place, signal.SIGINT, 130, "interrupted")
    yield injections.interrupted(place, signal.SIGTERM, -signal.SIGTERM, "")
    yield injections.torn_checkpoint(place)
    yield injections.lost_worker(place)
    yield injections.two_at_once(Place(os.path.join(folder, "two")))
    yield injections.two_roots(place, Place(place.folder, root=os.path.join(folder, "other-root")))


def _disk(folder: str) -> Iterator[Row]:
    yield injections.full_disk(folder, _DISK_MIB)
    yield injections.full_serving(folder)
    yield injections.read_only(folder, "root")
    yield injections.read_only(folder, "serving")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3, help="of every component")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", choices=_KINDS, default=_KINDS)
    parser.add_argument("--naming", metavar="WORD", default="", help="of `resting`, only what has this in its name")
    parser.add_argument("--out", metavar="FILE.json", help="write the rows there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
