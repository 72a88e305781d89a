"""What Beam's flags say of the engine: whether it is this process, and how many workers it has."""

import dataclasses
import os
from typing import Sequence

from apache_beam.options import pipeline_options

# Workers of an engine whose flags do not say how many: more than it has costs little.
_UNKNOWN_WORKERS = 8


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine.

    Attributes:
      is_direct: whether it is the direct runner, which holds in memory whatever crosses a shuffle.
      workers: how many bundles it processes at once, 1 or more.
    """

    is_direct: bool
    workers: int


def read_engine(flags: Sequence[str]) -> Engine:
    """Reads Beam's flags; without any, the engine is the direct runner with one worker."""
    options = pipeline_options.PipelineOptions(list(flags))
    runner = (options.view_as(pipeline_options.StandardOptions).runner or "").rpartition(".")[2].lower()
    if not runner or "direct" in runner or runner == "fnapirunner":
        # 0 stands for all processors.
        workers = options.view_as(pipeline_options.DirectOptions).direct_num_workers
        return Engine(True, workers or os.cpu_count() or 1)
    sizes = options.view_as(pipeline_options.WorkerOptions)
    stated = (
        options.view_as(pipeline_options.FlinkRunnerOptions).parallelism,
        sizes.max_num_workers,
        sizes.num_workers,
    )
    return Engine(False, next((workers for workers in stated if workers and workers > 0), _UNKNOWN_WORKERS))
