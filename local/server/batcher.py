"""Computes waiting requests together: a model answers 32 short texts in little more time than one.

No request waits for others to arrive. While each worker computes a batch, new requests wait, and together they are the
next one; so batches grow with the load.
"""

import asyncio
import dataclasses
from typing import Any, Awaitable, Callable, Hashable, Mapping, Optional, Sequence

import numpy as np

Outputs = Mapping[str, np.ndarray]
Compute = Callable[[Any, Sequence[Any]], Awaitable[Outputs]]


class OverloadedError(Exception):
    """More rows are waiting than the server accepts."""


@dataclasses.dataclass(eq=False)
class _Part:
    """Rows of one request that are computed together.

    Attributes:
      key: what computes them.
      rows: the rows.
      done: the outputs; cancelled if nobody waits for them any more.
    """

    key: Hashable
    rows: Sequence[Any]
    done: "asyncio.Future[Outputs]"


class Batcher:
    """Runs a function on batches of the rows of concurrent requests."""

    def __init__(
        self,
        compute: Compute,
        batches: int,
        max_batch_rows: int,
        max_rows: int,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """Initialises without starting the work; see `run`.

        Args:
          compute: (key, rows) -> outputs by name, [rows, ...] each.
          batches: number of batches that are computed at the same time.
          max_batch_rows: largest number of rows of a call.
          max_rows: largest number of rows of unfinished requests.
          observe: called with the number of rows of each batch.
        """
        self._compute, self._observe = compute, observe
        self._max_batch_rows, self.max_rows = max_batch_rows, max_rows
        self._parts: list[_Part] = []
        self._arrived = asyncio.Event()
        self._free = asyncio.Semaphore(batches)
        self._running: set[asyncio.Task] = set()
        # Number of rows of unfinished requests.
        self.rows = 0

    async def compute(self, key: Hashable, rows: Sequence[Any]) -> Outputs:
        """Returns the outputs for the rows of a request.

        The parts of a large request wait one after the other, so that small ones get their turn in between.

        Args:
          key: rows with an equal key may be computed together.
          rows: at least one.

        Raises:
          OverloadedError: too many rows are waiting.
          Exception: whatever `compute` raises for these rows alone.
        """
        if self.rows + len(rows) > self.max_rows:
            raise OverloadedError
        self.rows += len(rows)
        try:
            size = self._max_batch_rows
            parts = [await self._wait(key, rows[start : start + size]) for start in range(0, len(rows), size)]
        finally:
            self.rows -= len(rows)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def run(self) -> None:
        """Computes until cancelled."""
        while True:
            await self._arrived.wait()
            await self._free.acquire()
            if batch := self._take():
                task = asyncio.create_task(self._compute_batch(batch))
                self._running.add(task)
                task.add_done_callback(self._finish_batch)
            else:
                self._free.release()

    def _finish_batch(self, task: asyncio.Task) -> None:
        self._running.discard(task)
        self._free.release()

    async def _wait(self, key: Hashable, rows: Sequence[Any]) -> Outputs:
        part = _Part(key, rows, asyncio.get_running_loop().create_future())
        self._parts.append(part)
        self._arrived.set()
        return await part.done

    def _take(self) -> list[_Part]:
        """Removes the oldest part, and later ones with its key as long as they fit."""
        waiting = [part for part in self._parts if not part.done.done()]
        batch: list[_Part] = []
        count = 0
        for part in waiting:
            if part.key == waiting[0].key and count + len(part.rows) <= self._max_batch_rows:
                batch.append(part)
                count += len(part.rows)
        taken = set(batch)
        self._parts = [part for part in waiting if part not in taken]
        if not self._parts:
            self._arrived.clear()
        return batch

    async def _compute_batch(self, batch: Sequence[_Part]) -> None:
        rows = [row for part in batch for row in part.rows]
        self._observe(len(rows))
        try:
            outputs = await self._compute(batch[0].key, rows)
        except Exception as error:
            if len(batch) == 1:
                _finish(batch[0], None, error)
            else:  # The rows of one request must not fail those of others.
                for part in batch:
                    if not part.done.done():
                        await self._compute_batch([part])
            return
        start = 0
        for part in batch:
            end = start + len(part.rows)
            _finish(part, {name: values[start:end] for name, values in outputs.items()})
            start = end


def _finish(part: _Part, outputs: Optional[Outputs], error: Optional[Exception] = None) -> None:
    if part.done.done():  # Cancelled: its time was over.
        return
    if error is not None:
        part.done.set_exception(error)
    else:
        part.done.set_result(outputs or {})
