"""What and how `serve` serves; the parser of the command line reads the defaults here."""

import dataclasses
import math
import os
from typing import Optional

from core.errors import UserError
from local import engines


@dataclasses.dataclass(frozen=True)
class Settings:
    """What and how to serve.

    Attributes:
      model: a serving folder, or the folder of a version; None for the newest model under the run root.
      root: the run root.
      name: name of the model; None for that of its pipeline.
      engine: what computes the answers, as in `served_model.load`.
      log: file to append requests to.
      log_texts: whether with their texts.
      workers: number of processes that compute.
      max_batch: largest number of texts that are computed together.
      max_rows: largest number of texts of unfinished requests, and of one request.
      max_request_bytes: largest body of a request.
      timeout_s: longest time of a request.
    """

    model: Optional[str]
    root: str
    name: Optional[str] = None
    engine: str = engines.TENSORFLOW
    log: Optional[str] = None
    log_texts: bool = False
    # The second answers while one that died is replaced.
    workers: int = 2
    max_batch: int = 64
    max_rows: int = 4096
    max_request_bytes: int = 4 << 20
    timeout_s: float = 30.0

    def check(self) -> None:
        """Checks the values.

        Raises:
          UserError: one is wrong.
        """
        for name in ("workers", "max_batch", "max_rows", "max_request_bytes", "timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: should be a number more than 0")
        if self.name is not None and (not self.name or set("/:") & set(self.name)):
            raise UserError(f"--name {self.name}: should be a name for addresses, without / and :")

    @property
    def threads(self) -> int:
        """Threads of a worker, so that all workers together have as many as there are cores."""
        return max(1, len(os.sched_getaffinity(0)) // self.workers)
