"""Measures where the time of a training step on a CPU goes, with TensorFlow's profiler.

It is started like a contender: in its turn it traces some steps, and answers with the seconds of a step by kind of
operation.
"""

import collections
import glob
import os
import re
import tempfile
import time
from typing import Callable, Iterable

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf  # noqa: E402
from tensorflow.tsl.profiler.protobuf import xplane_pb2  # noqa: E402

from benchmarks.training import ours, turns  # noqa: E402
from trainer import tracing  # noqa: E402

STEPS = 20
IDLE = "no operation running"

# The first pattern that matches an operation's `name:Type` decides. Names are those of the trainer's own code.
_KINDS = (
    ("optimizer", r"AdamWeightDecay|ResourceApply|global_norm"),
    ("embedding gradient", r":(UnsortedSegmentSum|ResourceScatter\w*|Unique\w*)$"),
    ("matrix products", r":\w*MatMul\w*$"),
    ("random numbers", r"random_uniform|Random"),
    ("dropout", r"stateless_dropout"),
    ("normalisation", r"moments|batchnorm"),
    ("GELU", r"Gelu"),
    ("softmax", r"Softmax"),
    ("bias gradients", r":BiasAddGrad$"),
    ("copies", r":\w*(Transpose|Concat\w*|Pack|Slice\w*|Gather\w*|BroadcastTo|Tile|Cast|Reshape)\w*$"),
    ("input pipeline", r":(Iterator\w*|PyFunc)$"),
    ("XLA", r":_?Xla\w+$"),
)
_REST = "other elementwise operations"
# These only wait for the operations inside them.
_CONTAINERS = r":(Stateful)?PartitionedCall$|:(While|If|StatelessIf|StatelessWhile)$"

Interval = tuple[float, float, str]


def main() -> None:
    """Traces steps of our trainer in each turn."""
    with tracing.libraries_as_written():
        step, referee = ours.make_step(turns.Workload.from_argument()), turns.Referee()
        referee.answer(ready=True)
        while referee.wait() is not None:
            referee.answer(seconds=traced_seconds(step))


def traced_seconds(step: Callable[[], tf.Tensor]) -> dict[str, float]:
    """Returns the mean seconds of a step by kind of operation, from a trace of some steps."""
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        started = time.perf_counter()
        for _ in range(STEPS):
            step().numpy()
        wall = time.perf_counter() - started
        tf.profiler.experimental.stop()
        seconds = seconds_by_kind(read_operations(folder), wall)
    return {kind: total / STEPS for kind, total in seconds.items()}


def kind_of(operation: str) -> str:
    """Returns the kind of an operation `name:Type`."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, operation)), _REST)


def seconds_by_kind(intervals: Iterable[Interval], wall: float) -> dict[str, float]:
    """Divides wall time among kinds; time in which several operations run is divided equally among them.

    For example, ("a", 0 to 2 s) and ("b", 1 to 2 s) within 3 s give a: 1.5, b: 0.5, idle: 1.

    Args:
      intervals: (start, end, kind), in seconds.
      wall: total seconds.

    Returns:
      Kind, or `IDLE` -> seconds, largest first; they add up to `wall`.
    """
    events = sorted(
        event for start, end, kind in intervals for event in ((start, 1, kind), (end, -1, kind)) if end > start
    )
    running: collections.Counter[str] = collections.Counter()
    seconds: collections.Counter[str] = collections.Counter()
    before = 0.0
    for moment, change, kind in events:
        if total := running.total():
            for other, count in running.items():
                seconds[other] += (moment - before) * count / total
        running[kind] += change
        before = moment
    seconds[IDLE] = max(wall - seconds.total(), 0.0)
    return dict(seconds.most_common())


def read_operations(folder: str) -> list[Interval]:
    """Reads the operations of a profiler's trace: (start, end, kind) in seconds."""
    (file,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
    space = xplane_pb2.XSpace()
    with open(file, "rb") as stream:
        space.ParseFromString(stream.read())
    return [interval for plane in space.planes for interval in _plane_operations(plane)]


def _plane_operations(plane: xplane_pb2.XPlane) -> list[Interval]:
    """Returns a plane's operations, whose events are named `name:Type` and displayed as `Type`."""
    kinds = {
        number: kind_of(event.name)
        for number, event in plane.event_metadata.items()
        if event.display_name
        and event.name.endswith(f":{event.display_name}")
        and not re.search(_CONTAINERS, event.name)
    }
    made = []
    for line in plane.lines:
        for event in line.events:
            if event.metadata_id in kinds:
                start = line.timestamp_ns * 1e-9 + event.offset_ps * 1e-12
                made.append((start, start + event.duration_ps * 1e-12, kinds[event.metadata_id]))
    return made


if __name__ == "__main__":
    main()
