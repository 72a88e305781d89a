"""The workers of a version: processes that compute, of which one that dies is replaced.

They are forked by the fork server of `multiprocessing`, which has imported TensorFlow but never used it. So a worker
starts in a second instead of six, and shares the memory of the libraries.
"""

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import forkserver, resource_tracker
from typing import Any, Callable, Iterator, Optional

from core.errors import UserError, first_line
from local import engines
from local.server import worker
from local.server.worker import Batch, Loaded, Outputs

_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["local.served_model", "local.server.metadata"]

# Of a batch, so that one that kills its worker can't do so forever.
_TRIES = 2
# After a batch's requests were given up, so that a machine that paused does not lose its workers.
_GRACE_S = 10.0
# Between a worker's death and the next, from the second in a row on: doubles up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# A worker that lived as long was not one of a row.
_STABLE_S = 10.0
# For the exit status of a dead process, which the fork server reports at once.
_EXIT_S = 1.0

# `multiprocessing` keeps a list of processes, without a lock.
_PROCESSES = threading.Lock()


class WorkerError(Exception):
    """No worker survived a batch, or it did not end."""


def start_fork_server() -> None:
    """Lets the fork server import what workers need; returns before it has done so."""
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    with _prepared():
        forkserver.ensure_running()


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Prepares what a fork server that is started inside the context, and so each worker, inherits."""
    # Python before 3.12.8 does not tell it `sys.path`. Threads of OpenBLAS, which nothing here uses, should not be
    # there when it forks.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in variables}
    # Ctrl-C, and a service manager's SIGTERM, reach all processes; the server first lets the workers finish. The start
    # of `multiprocessing`'s tracker would unblock them.
    resource_tracker.ensure_running()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


class _Worker:
    """A worker's process, and the ends of its connections.

    Attributes:
      pid: its id.
      died: set once it has died.
    """

    def __init__(self, folder: str, threads: int, engine: str) -> None:
        """Starts it; takes a moment, or seconds if the fork server has to start too.

        Raises:
          OSError: the system has no resources for a process.
        """
        self._channel, channel = _CONTEXT.Pipe()
        self._alive, alive = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=worker.run, args=(channel, alive, folder, threads, engine), daemon=True)
        with _PROCESSES, _prepared():
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        # Only the process has these ends, so that the others show when it dies. (That of `multiprocessing` itself would
        # also show the end of the fork server.)
        channel.close()
        alive.close()
        self.died = asyncio.Event()

    def watch(self) -> None:
        """Sets `died` when it dies."""
        loop = asyncio.get_running_loop()

        def note() -> None:
            loop.remove_reader(self._alive.fileno())
            self.died.set()

        loop.add_reader(self._alive.fileno(), note)

    def read(self) -> Any:
        """Waits for what it sends.

        Raises:
          EOFError or OSError: it has died.
        """
        return self._channel.recv()

    def ask(self, batch: Batch) -> worker.Answer:
        """Waits for its answer; raises as `read`."""
        self._channel.send(batch)
        return self.read()

    def kill(self) -> None:
        """Kills it, which ends `read`; it has nothing to lose."""
        # `Process.kill` does nothing after the fork server has ended.
        if not self.died.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def describe_end(self) -> str:
        """Waits for the exit status of the dead process; returns such as `worker 4711 was killed by SIGKILL`."""
        with _PROCESSES:
            self._process.join(_EXIT_S)
            status = self._process.exitcode
        name = f"worker {self.pid}"
        if status is None or status >= 0:
            return f"{name} ended" if status is None else f"{name} exited with status {status}"
        return f"{name} was killed by {signal.Signals(-status).name}"


class Pool:
    """The workers of one version."""

    def __init__(
        self,
        folder: str,
        workers: int,
        threads: int,
        timeout_s: float,
        report: Callable[[str], None],
        count_restart: Callable[[], None],
        engine: str = engines.TENSORFLOW,
    ) -> None:
        """Initialises without starting a process; see `load`.

        Args:
          folder: the version's folder.
          workers: number of workers.
          threads: of each.
          timeout_s: after which nobody waits for a batch any more.
          report: called with a sentence about each worker that has died.
          count_restart: called each time that one takes the place of a dead one.
          engine: what computes the answers, as in `served_model.load`.
        """
        self._folder, self._workers, self._threads, self._engine = folder, workers, threads, engine
        self._limit_s = timeout_s + _GRACE_S
        self._report, self._count_restart = report, count_restart
        # One thread waits for each worker, and one more where the next of a killed one is started.
        self._executor = concurrent.futures.ThreadPoolExecutor(2 * workers, "worker")
        # The one that was used last has its caches warm.
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._started: set[_Worker] = set()
        self._keepers: list[asyncio.Task] = []
        self._closed = False
        # Number of workers that are ready or busy.
        self.live = 0

    async def load(self) -> Loaded:
        """Starts the workers; returns once the first can compute, and the others follow.

        Raises:
          UserError: the version can't be loaded.
        """
        first, loaded = await self._start()
        others = [None] * (self._workers - 1)
        self._keepers = [asyncio.create_task(self._keep(running)) for running in (first, *others)]
        return loaded

    async def compute(self, batch: Batch) -> Outputs:
        """Computes a batch, once more if its worker dies.

        Raises:
          ModelError: the model failed.
          WorkerError: no worker survived it, or it did not end.
        """
        for _ in range(_TRIES):
            answer = await self._ask(await self._take_idle(), batch)
            if isinstance(answer, worker.ModelError):
                raise answer
            if answer is not None:
                return answer
        raise WorkerError(f"{_TRIES} workers died of this request")

    def close(self) -> None:
        """Kills the workers, whose memory is free then."""
        self._closed = True
        for keeper in self._keepers:
            keeper.cancel()
        for each in list(self._started):
            each.kill()
        self._executor.shutdown(wait=False)

    async def _take_idle(self) -> _Worker:
        while (taken := await self._idle.get()).died.is_set():
            pass
        return taken

    async def _ask(self, asked: _Worker, batch: Batch) -> Optional[worker.Answer]:
        """Returns the worker's answer; None if it has died."""
        answering = asyncio.get_running_loop().run_in_executor(self._executor, asked.ask, batch)
        done, _ = await asyncio.wait([answering], timeout=self._limit_s)
        if not done:
            asked.kill()
            raise WorkerError(f"no answer within {self._limit_s:g} s")
        try:
            answer = answering.result()
        except (EOFError, OSError):
            return None
        self._idle.put_nowait(asked)
        return answer

    async def _keep(self, running: Optional[_Worker]) -> None:
        """Starts a worker, and another each time that it dies."""
        pause_s = 0.0
        while True:
            if running is None:
                await asyncio.sleep(pause_s)
                try:
                    running, _ = await self._start()
                except UserError as error:
                    self._report(str(error))
                    pause_s = _next_pause(pause_s)
                    continue
            ready_at = time.monotonic()
            self._idle.put_nowait(running)
            self.live += 1
            await running.died.wait()
            self.live -= 1
            self._started.discard(running)
            end = await asyncio.get_running_loop().run_in_executor(self._executor, running.describe_end)
            self._report(f"{end}; another takes its place")
            self._count_restart()
            pause_s = 0.0 if time.monotonic() - ready_at > _STABLE_S else _next_pause(pause_s)
            running = None

    async def _start(self) -> tuple[_Worker, Loaded]:
        """Starts a worker and lets it load the version.

        Raises:
          UserError: it can't.
        """
        loop = asyncio.get_running_loop()
        try:
            started = await loop.run_in_executor(self._executor, self._start_process)
        except (EOFError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"--model {self._folder}: no process could be started for it ({reason})") from error
        started.watch()
        try:
            loaded = await loop.run_in_executor(self._executor, started.read)
        except (EOFError, OSError):
            end = await loop.run_in_executor(self._executor, started.describe_end)
            loaded = UserError(f"--model {self._folder}: can't be loaded, {end} while it did so")
        if isinstance(loaded, UserError):
            self._started.discard(started)
            raise loaded
        return started, loaded

    def _start_process(self) -> _Worker:
        started = _Worker(self._folder, self._threads, self._engine)
        self._started.add(started)
        if self._closed:
            started.kill()
        return started


def _next_pause(pause_s: float) -> float:
    return min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
