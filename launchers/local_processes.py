"""Starts the workers of a job and follows them to their end: here as processes of this machine."""

import abc
import contextlib
import dataclasses
import io
import itertools
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Mapping, Optional, Sequence

from core import progress
from core.errors import UserError
from launchers import worker as worker_process

JOB_FILE = "job.json"

# Below the range that Linux takes ports of outgoing connections from (32768 and up) and below Kubernetes' node ports
# (30000): nobody else is given a worker's port while the worker still imports its libraries.
_PORTS = range(20000, 30000)

# How often the workers' processes are looked at; what they say is read at once.
_TICK_S = 0.1

# More than this between two looks says that this process, or the whole machine, stood still.
_LONGEST_TICK_S = 0.5

# How long a collective error waits for the failure that caused it, and after how many missed heartbeats the worker that
# missed them is taken for the cause. TensorFlow gives a peer up after 10 s, so that it has missed more by then.
_GATHER_S = 2.0
_MISSED_HEARTBEATS = 5

# A worker that has done its work may take this long to exit; a library that hangs in its tear-down costs no more.
_EXIT_S = 10.0

# TensorFlow's own handler of SIGTERM, which announces a preemption, lets the process live on. Twice the time in which a
# worker finds its channel closed; after that it is killed.
_TERMINATION_S = 2 * worker_process.HEARTBEAT_S

# How long a killed process may take to end.
_KILL_S = 10.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What each worker runs.

    Attributes:
      target: import path `package.module.function` of what is called with the arguments.
      arguments: JSON values by name.
      log_dir: folder of `worker-0.log`, ...: each has all that its worker writes to its outputs; made if need be, and
        earlier logs in it are continued.
      inputs: names of the arguments that are paths to read, one or a list: of a file, a folder, or a pattern of them.
      outputs: names of the arguments that are folders which worker 0 writes.
    """

    target: str
    arguments: Mapping[str, Any]
    log_dir: str
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()

    def write(self, folder: str, arguments: Mapping[str, Any]) -> str:
        """Writes what `launchers.worker` runs, and returns the file.

        Args:
          folder: where to.
          arguments: those of the job, or what they are called where the workers are.
        """
        file = os.path.join(folder, JOB_FILE)
        with open(file, "w", encoding="utf-8") as stream:
            json.dump({"target": self.target, "arguments": arguments}, stream, ensure_ascii=False, indent=2)
        return file


class WorkerFailed(Exception):
    """A worker came to a bad end, and the job with it.

    Attributes:
      worker: its number, from 0.
      reason: what became of it, in a few words.
    """

    def __init__(self, worker: int, workers: int, reason: str, log: str):
        super().__init__(f"worker {worker} of {workers}: {reason}; its log: {log}")
        self.worker, self.reason = worker, reason


class Launcher(abc.ABC):
    """Runs jobs on workers that train together.

    An implementation puts the job's file where its workers read it, starts them, each with a `TF_CONFIG` that names
    all of them, and follows them: worker 0's progress goes to `core.progress`, and however the job ends, no worker
    is left.
    """

    @abc.abstractmethod
    def launch(self, job: Job, workers: int) -> None:
        """Runs a job; returns when it has ended well.

        Args:
          job: what to run.
          workers: how many workers, at least 1. Worker 0 is the one that writes.

        Raises:
          UserError: a worker raised it, with this text; or the job can't be shared among so many workers.
          WorkerFailed: a worker failed otherwise, died or stopped answering: the one that drew the others with it.
        """


class LocalProcesses(Launcher):
    """Workers as processes of this machine, which they share evenly.

    Attributes:
      gpus: GPUs to divide among the workers, as `CUDA_VISIBLE_DEVICES` names them; with none, a worker sees what this
        process sees.
      silence_timeout_s: how long a worker may send no heartbeat.
      stall_timeout_s: how long no worker may report progress. A large encoder is loaded, its first step compiled and
        the model written without a report, which takes minutes.
    """

    def __init__(self, gpus: Sequence[str] = (), silence_timeout_s: float = 60.0, stall_timeout_s: float = 1800.0):
        self.gpus = tuple(gpus)
        self.silence_timeout_s = silence_timeout_s
        self.stall_timeout_s = stall_timeout_s

    def launch(self, job: Job, workers: int) -> None:
        environments = _environments(workers, self.gpus)
        os.makedirs(job.log_dir, exist_ok=True)
        job.write(job.log_dir, job.arguments)
        started: list[_Worker] = []
        try:
            for index, environment in enumerate(environments):
                started.append(_start(index, workers, job.log_dir, environment))
            self._follow(started)
            _wait(started, _EXIT_S)
        finally:
            _end(started)

    def _follow(self, workers: "Sequence[_Worker]") -> None:
        """Listens to the workers until all are done."""
        clock = _Clock()
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.channel, selectors.EVENT_READ, worker)
            while not all(worker.done for worker in workers):
                ready = selector.select(_TICK_S)
                now = clock.read()
                for key, _ in ready:
                    if not key.data.listen(now):
                        selector.unregister(key.fileobj)
                for worker in workers:
                    worker.look(now)
                self._judge(workers, now)

    def _judge(self, workers: "Sequence[_Worker]", now: float) -> None:
        """Raises what the job has failed of, once that is certain."""
        failures = [worker.failure for worker in workers if worker.failure]
        if failures:
            cause = min(failures, key=lambda failure: (failure.is_collective, failure.at))
            if not cause.is_collective:
                raise cause.error
            if now - cause.at >= _GATHER_S:
                raise _silence(workers, now, _MISSED_HEARTBEATS * worker_process.HEARTBEAT_S) or cause.error
        silent = _silence(workers, now, self.silence_timeout_s)
        if silent:
            raise silent
        stalled = _stall(workers, now, self.stall_timeout_s)
        if stalled:
            raise stalled


@dataclasses.dataclass(frozen=True)
class _Failure:
    """How a worker failed.

    Attributes:
      at: when, on the launcher's clock.
      error: what to raise for it.
      is_collective: whether it looks like the consequence of another worker's failure.
    """

    at: float
    error: Exception
    is_collective: bool = False


class _Worker:
    """A worker's process and what it has said.

    Attributes:
      channel: where its messages are read, without blocking.
      done: whether its target has returned.
      failure: how it failed, if it did.
      heard_at: when it sent its last message, on the launcher's clock, which starts at 0.
      progress_at: when it sent its last progress.
      stage: what it said it was doing, in words.
    """

    def __init__(self, index: int, workers: int, process: subprocess.Popen, channel: io.FileIO, log: str):
        self.index, self.channel = index, channel
        self.done = False
        self.failure: Optional[_Failure] = None
        self.heard_at = self.progress_at = 0.0
        self.stage = "nothing yet"
        self._workers, self._process, self._log = workers, process, log
        self._partial_line = b""

    @property
    def at_work(self) -> bool:
        """Whether more is to be heard from it."""
        return not self.done and self.failure is None

    def failed(self, reason: str) -> WorkerFailed:
        """Returns the error that says so of this worker."""
        return WorkerFailed(self.index, self._workers, reason, self._log)

    def listen(self, now: float) -> bool:
        """Takes in what the worker has sent; returns whether it may send more."""
        while chunk := self.channel.read(65536):
            *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line), now)
        return chunk is None

    def look(self, now: float) -> None:
        """Notes it if the process has ended with its work undone."""
        if not self.has_ended():
            return
        self.listen(now)
        if self.at_work:
            self.failure = _Failure(now, self.failed(_ending(self._process.pid)))

    def close(self) -> None:
        """Listens no longer, which a worker takes as the order to end."""
        self.channel.close()

    def has_ended(self) -> bool:
        """Returns whether the process has ended; until it is reaped, its number is not given to another one."""
        return _exit(self._process.pid) is not None

    def signal(self, number: int) -> None:
        """Signals the process and those that it started; not to be called once it is reaped."""
        os.killpg(self._process.pid, number)

    def reap(self) -> None:
        """Takes the ended process from the system's table."""
        # Only one that is stuck in the kernel outlives SIGKILL by that long, and to wait on would be a hang of our own.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)

    def _take(self, message: Mapping[str, Any], now: float) -> None:
        self.heard_at = now
        kind = message["kind"]
        if kind == "progress":
            self._take_progress(message["stage"], message["done"], message["total"], message["figures"], now)
        elif kind == "error":
            self.failure = self._failure(message, now)
        elif kind == "done":
            self.done = True

    def _take_progress(self, stage: str, done: int, total: int, figures: Mapping[str, Any], now: float) -> None:
        self.progress_at = now
        self.stage = f"{stage} ({done} of {total or 'an unknown number'})"
        if self.index == 0:
            progress.report(stage, done, total, **figures)

    def _failure(self, message: Mapping[str, Any], now: float) -> _Failure:
        if message["user_error"]:
            return _Failure(now, UserError(message["message"]))
        # The rest, which TensorFlow fills with the graph's nodes, is in the log.
        first_line = (message["message"].strip() or "no message").splitlines()[0]
        error = self.failed(f"{message['type']}: {first_line}")
        return _Failure(now, error, is_collective=message["type"] in worker_process.COLLECTIVE_ERRORS)


class _Clock:
    """The seconds for which this process was there to listen.

    After a stop (Ctrl-Z, a virtual machine that is moved) all have been silent for long, and nobody has failed.
    """

    def __init__(self) -> None:
        self._seconds, self._read_at = 0.0, time.monotonic()

    def read(self) -> float:
        """Returns the seconds since the clock was made; to be called often."""
        before, self._read_at = self._read_at, time.monotonic()
        self._seconds += min(self._read_at - before, _LONGEST_TICK_S)
        return self._seconds


def _environments(workers: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Makes each worker's environment: its place in the cluster, and its share of this machine."""
    if len(gpus) % workers:
        raise UserError(
            f"trainer.workers = {workers}: can't share {len(gpus)} GPUs evenly; give a divisor of {len(gpus)}"
        )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # What a worker has said is in its log even if it is killed in the next moment.
        "PYTHONUNBUFFERED": "1",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        # gRPC would ask a proxy, where one is set, for the other workers, and wait for them for ever.
        "no_grpc_proxy": "localhost",
    }
    cluster = {"worker": [f"localhost:{port}" for port in _free_ports(workers)]}
    environments = []
    for index in range(workers):
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environments.append({**common, "TF_CONFIG": json.dumps(tf_config), **_gpu_share(index, workers, gpus)})
    return environments


def _gpu_share(index: int, workers: int, gpus: Sequence[str]) -> dict[str, str]:
    share = len(gpus) // workers
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * share : (index + 1) * share])} if gpus else {}


def _free_ports(count: int) -> list[int]:
    # The system's random numbers: training seeds Python's, and two runs of one seed would want the same ports.
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _start(index: int, workers: int, log_dir: str, environment: Mapping[str, str]) -> _Worker:
    receiving, sending = os.pipe()
    os.set_blocking(receiving, False)
    channel, log = io.FileIO(receiving), os.path.join(log_dir, f"worker-{index}.log")
    # The sending end is the worker's alone: that it is closed then says that the worker has ended.
    with os.fdopen(sending, "wb"), open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", worker_process.__name__, os.path.join(log_dir, JOB_FILE)],
            env={**environment, worker_process.CHANNEL_VARIABLE: str(sending)},
            pass_fds=[sending],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C on a terminal is for this process, which then ends the workers.
            start_new_session=True,
        )
    return _Worker(index, workers, process, channel, log)


def _exit(pid: int) -> "Optional[os.waitid_result]":
    """Returns how a child ended, None while it runs; leaves it unreaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def _ending(pid: int) -> str:
    """Returns what became of an unreaped child, in words."""
    result = _exit(pid)
    number = result.si_status
    if result.si_code == os.CLD_EXITED:
        return f"ended with exit status {number} before its work was done"
    name = signal.Signals(number).name if number in set(signal.Signals) else "no name"
    return f"killed by signal {number} ({name})"


def _silence(workers: Sequence[_Worker], now: float, timeout_s: float) -> Optional[WorkerFailed]:
    """Returns the failure of the worker that has been silent for longest, if that is too long."""
    worker = min((worker for worker in workers if worker.at_work), key=lambda worker: worker.heard_at, default=None)
    if worker is None or now - worker.heard_at < timeout_s:
        return None
    silent_s = now - worker.heard_at
    return worker.failed(f"stopped answering, nothing heard for {silent_s:.0f} s; its last report: {worker.stage}")


def _stall(workers: Sequence[_Worker], now: float, timeout_s: float) -> Optional[WorkerFailed]:
    """Returns the failure of the worker that the others wait for, if there was no progress for too long."""
    worker = min((worker for worker in workers if worker.at_work), key=lambda worker: worker.progress_at, default=None)
    if worker is None or now - max(worker.progress_at for worker in workers) < timeout_s:
        return None
    reports = ", ".join(f"worker {worker.index}: {worker.stage}" for worker in workers)
    return worker.failed(f"no worker has made progress for {timeout_s:g} s; last reports: {reports}")


def _wait(workers: Sequence[_Worker], timeout_s: float) -> None:
    """Waits until all processes have ended, or the time is up."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not all(worker.has_ended() for worker in workers):
        time.sleep(_TICK_S / 10)


def _end(workers: Sequence[_Worker]) -> None:
    """Leaves no process: asks those that are left to end, then kills them; at once where this is interrupted."""
    try:
        for worker in workers:
            worker.close()
            worker.signal(signal.SIGTERM)
        _wait(workers, _TERMINATION_S)
    finally:
        # Also where a worker has ended: it may have left processes that it started.
        for worker in workers:
            worker.signal(signal.SIGKILL)
        for worker in workers:
            worker.reap()
