"""Waiting rows are computed together, within bounds, and requests do not disturb each other."""

import asyncio

import numpy as np
import pytest

from local.server.batcher import Batcher, OverloadedError


class Doubler:
    """Returns twice each row; waits for `go`, and records the batches."""

    def __init__(self):
        self.go, self.batches = asyncio.Event(), []

    async def __call__(self, key, rows):
        self.batches.append((key, list(rows)))
        await self.go.wait()
        if None in rows:
            raise ValueError("a row is None")
        return {"twice": np.array([2 * row for row in rows])}


def run(scenario, batches=1, max_batch=4, max_rows=100):
    """Runs `scenario(batcher, doubler)` while the batcher works; returns the doubler."""
    doubler = Doubler()

    async def main():
        batcher = Batcher(doubler, batches, max_batch, max_rows)
        working = asyncio.create_task(batcher.run())
        await scenario(batcher, doubler)
        assert batcher.rows == 0
        working.cancel()

    asyncio.run(asyncio.wait_for(main(), 20))
    return doubler


async def ask(batcher, *rows, key="model"):
    return (await batcher.compute(key, rows))["twice"].tolist()


async def started(doubler, batches=1):
    while len(doubler.batches) < batches:
        await asyncio.sleep(0.001)


def test_what_waits_while_a_batch_runs_is_the_next_batch():
    async def scenario(batcher, doubler):
        first = asyncio.create_task(ask(batcher, 1))
        await started(doubler)
        others = [asyncio.create_task(ask(batcher, row, row + 10)) for row in (2, 3, 4)]
        await asyncio.sleep(0)
        doubler.go.set()
        assert await first == [2]
        assert [await other for other in others] == [[4, 24], [6, 26], [8, 28]]

    assert [rows for _, rows in run(scenario).batches] == [[1], [2, 12, 3, 13], [4, 14]]


def test_as_many_batches_as_there_are_workers_run_at_the_same_time():
    async def scenario(batcher, doubler):
        tasks = [asyncio.create_task(ask(batcher, 1))]
        await started(doubler)
        tasks.append(asyncio.create_task(ask(batcher, 2)))
        await started(doubler, 2)
        tasks += [asyncio.create_task(ask(batcher, row)) for row in (3, 4)]
        await asyncio.sleep(0.01)
        assert len(doubler.batches) == 2
        doubler.go.set()
        assert [await task for task in tasks] == [[2], [4], [6], [8]]

    assert [rows for _, rows in run(scenario, batches=2).batches] == [[1], [2], [3, 4]]


def test_rows_with_different_keys_are_not_computed_together():
    async def scenario(batcher, doubler):
        tasks = [asyncio.create_task(ask(batcher, row, key=key)) for row, key in enumerate("abab")]
        await asyncio.sleep(0)
        doubler.go.set()
        assert [await task for task in tasks] == [[0], [2], [4], [6]]

    assert sorted(run(scenario).batches) == [("a", [0, 2]), ("b", [1, 3])]


def test_a_request_that_fails_does_not_fail_those_in_its_batch():
    async def scenario(batcher, doubler):
        tasks = [asyncio.create_task(ask(batcher, row)) for row in (1, None, 3)]
        await asyncio.sleep(0)
        doubler.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == [2] and results[2] == [6] and str(results[1]) == "a row is None"

    run(scenario)


def test_small_requests_are_answered_between_the_parts_of_a_large_one():
    async def scenario(batcher, doubler):
        large = asyncio.create_task(ask(batcher, *range(12)))
        await started(doubler)
        small = asyncio.create_task(ask(batcher, 100))
        await asyncio.sleep(0)
        doubler.go.set()
        assert await small == [200] and not large.done()
        assert await large == [2 * row for row in range(12)]

    assert [rows for _, rows in run(scenario).batches][:2] == [[0, 1, 2, 3], [100]]


def test_more_rows_than_the_limit_are_refused():
    async def scenario(batcher, doubler):
        accepted = asyncio.create_task(ask(batcher, 1, 2, 3))
        await started(doubler)
        with pytest.raises(OverloadedError):
            await ask(batcher, 4, 5, 6)
        fitting = asyncio.create_task(ask(batcher, 4, 5))
        doubler.go.set()
        assert await accepted == [2, 4, 6] and await fitting == [8, 10]

    run(scenario, max_rows=5)


def test_rows_that_nobody_waits_for_any_more_are_not_computed():
    async def scenario(batcher, doubler):
        first = asyncio.create_task(ask(batcher, 1))
        await started(doubler)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ask(batcher, 2), 0.01)
        last = asyncio.create_task(ask(batcher, 3))
        doubler.go.set()
        assert await first == [2] and await last == [6]

    assert [rows for _, rows in run(scenario).batches] == [[1], [3]]
