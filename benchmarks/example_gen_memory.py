"""Peak memory of TsvExampleGen by number of rows: it must not grow with the file.

    python -m benchmarks.example_gen_memory 30000 3000000 --source ratings_train.txt

The source's rows are repeated to each size in a temporary folder; each size runs the real executor, with a
tenth of the rows sampled if `--sample` is given, in a separate process.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Optional


def main() -> None:
    """Prints one line a size: rows, seconds, peak MiB, and peak MiB before the first row was read."""
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(_measure(arguments.measure, arguments.rows[0] // 10 if arguments.sample else None)))
        return
    print(f"{'rows':>10} {'seconds':>8} {'peak MiB':>9} {'at start':>9}")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "ratings.txt")
            _repeat(arguments.source, file, rows)
            figures = _measure_in_new_process(file, rows, arguments.sample)
        print(f"{rows:>10,} {figures['seconds']:>8.1f} {figures['peak_mib']:>9.0f} {figures['start_mib']:>9.0f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+", help="sizes to measure, in rows")
    parser.add_argument("--source", help="TSV with a header, in NSMC's format")
    parser.add_argument("--sample", action="store_true", help="sample a tenth of the rows: reads the file twice")
    parser.add_argument("--measure", metavar="FILE", help=argparse.SUPPRESS)  # The new process's own option.
    arguments = parser.parse_args()
    if not arguments.source and not arguments.measure:
        parser.error("--source is needed")
    return arguments


def _repeat(source: str, target: str, rows: int) -> None:
    """Writes the source's header once and its rows over and over until there are `rows`."""
    with open(source, "rb") as stream, open(target, "wb") as output:
        output.write(stream.readline())
        output.writelines(itertools.islice(itertools.cycle(stream), rows))


def _measure_in_new_process(file: str, rows: int, sample: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.example_gen_memory", str(rows), "--measure", file]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command + ["--sample"] * sample, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(file: str, sample_size: Optional[int]) -> dict[str, float]:
    """Runs the executor on a file and returns what it took."""
    from tfx.types import standard_artifacts

    from components.tsv_example_gen.executor import Executor
    from core.config import DataConfig

    examples = standard_artifacts.Examples()
    examples.uri = os.path.join(os.path.dirname(file), "examples")
    data = DataConfig(train=file, sample_size=sample_size).model_dump_json()
    start_mib, started = _peak_mib(), time.monotonic()
    Executor().Do({}, {"examples": [examples]}, {"data": data})
    return {"seconds": time.monotonic() - started, "peak_mib": _peak_mib(), "start_mib": start_mib}


def _peak_mib() -> float:
    """Peak resident memory of this process; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
