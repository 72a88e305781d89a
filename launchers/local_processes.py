"""Workers as processes of this machine."""

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
from typing import Mapping, Optional, Sequence

from core.errors import UserError
from launchers import worker as worker_process
from launchers.base import JOB_FILE, Launcher, WorkerFailed, WorkerJob
from launchers.messages import Done, Error, Message, Progress, decode

# Below the ports that Linux assigns to outgoing connections (32768 and up) and below Kubernetes' node ports (30000), so
# that nothing else is assigned a worker's port while the worker is still importing its libraries.
_PORTS = range(20000, 30000)

# How often the workers' processes are checked; their messages are read immediately.
_TICK_S = 0.1

# A longer time between two checks means that this process, or the whole machine, was suspended.
_LONGEST_TICK_S = 0.5

# How long to wait, after a collective error, for the failure that caused it, and after how many missed heartbeats a
# worker counts as the cause. TensorFlow gives up on a peer after 10 s, by which time it has missed more than these.
_GATHER_S = 2.0
_MISSED_HEARTBEATS = 5

# How long a finished worker may take to exit, so that a library that hangs in its teardown delays the job no further.
_EXIT_S = 10.0

# How long a worker may take to exit before it is killed (TensorFlow's SIGTERM handler only announces a preemption):
# twice the time in which a worker notices that its pipe is closed.
_TERMINATION_S = 2 * worker_process.HEARTBEAT_S

# How long to wait for a killed process.
_KILL_S = 10.0


class LocalProcesses(Launcher):
    """Workers as processes of this machine, which they share evenly.

    Attributes:
      gpus: GPUs to divide among the workers, as `CUDA_VISIBLE_DEVICES` names them; if empty, every worker sees the
        GPUs that this process sees.
      silence_timeout_s: how long a worker may go without sending a heartbeat.
      stall_timeout_s: how long all workers may go without reporting progress. Loading a large encoder, compiling its
        first step and writing the model take minutes without a report.
    """

    def __init__(self, gpus: Sequence[str] = (), silence_timeout_s: float = 60.0, stall_timeout_s: float = 1800.0):
        self.gpus = tuple(gpus)
        self.silence_timeout_s = silence_timeout_s
        self.stall_timeout_s = stall_timeout_s

    def launch(self, job: WorkerJob, workers: int) -> None:
        environments = _environments(workers, self.gpus)
        os.makedirs(job.log_dir, exist_ok=True)
        job.write(job.log_dir, job.arguments)
        running: list[_Worker] = []
        try:
            for index, environment in enumerate(environments):
                running.append(_start(index, workers, job.log_dir, environment))
            self._follow(running)
            _wait(running, _EXIT_S)
        finally:
            _stop(running)

    def _follow(self, workers: "Sequence[_Worker]") -> None:
        """Reads the workers' messages until all are done."""
        clock = _Clock()
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.channel, selectors.EVENT_READ, worker)
            while not all(worker.done for worker in workers):
                ready = selector.select(_TICK_S)
                now = clock.read()
                for key, _ in ready:
                    if not key.data.read(now):
                        selector.unregister(key.fileobj)
                for worker in workers:
                    worker.check_process(now)
                self._raise_failure(workers, now)

    def _raise_failure(self, workers: "Sequence[_Worker]", now: float) -> None:
        """Raises the error that failed the job, once the cause is certain."""
        failures = [worker.failure for worker in workers if worker.failure]
        if failures:
            cause = min(failures, key=lambda failure: (failure.is_collective, failure.at))
            if not cause.is_collective:
                raise cause.error
            if now - cause.at >= _GATHER_S:
                raise _silence(workers, now, _MISSED_HEARTBEATS * worker_process.HEARTBEAT_S) or cause.error
        timeout = _silence(workers, now, self.silence_timeout_s) or _stall(workers, now, self.stall_timeout_s)
        if timeout:
            raise timeout


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A worker's failure.

    Attributes:
      at: when, on the launcher's clock.
      error: the exception to raise.
      is_collective: whether it looks like the consequence of another worker's failure.
    """

    at: float
    error: Exception
    is_collective: bool = False


class _Worker:
    """A worker's process, and its state according to its messages.

    Attributes:
      channel: the reading end of its pipe, non-blocking.
      done: whether its target has returned.
      failure: how it failed, if it did.
      heard_at: when it sent its last message, on the launcher's clock, which starts at 0.
      progress_at: when it sent its last progress.
      stage: its last progress, in words.
    """

    def __init__(self, index: int, workers: int, process: subprocess.Popen, channel: io.FileIO, log: str):
        self.index, self.channel = index, channel
        self.done = False
        self.failure: Optional[_Failure] = None
        self.heard_at = self.progress_at = 0.0
        self.stage = "none"
        self._workers, self._process, self._log = workers, process, log
        self._partial_line = b""

    @property
    def is_running(self) -> bool:
        """Whether it has neither succeeded nor failed."""
        return not self.done and self.failure is None

    def error(self, reason: str) -> WorkerFailed:
        """Returns the exception for a failure of this worker."""
        return WorkerFailed(self.index, self._workers, reason, self._log)

    def read(self, now: float) -> bool:
        """Handles the messages that have arrived; returns whether the pipe is still open."""
        while chunk := self.channel.read(65536):
            *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
            for line in lines:
                self._handle(decode(line), now)
        return chunk is None

    def check_process(self, now: float) -> None:
        """Records a failure if the process has ended before its target returned."""
        status = _exit_status(self._process.pid)
        if status is None:
            return
        self.read(now)
        if self.is_running:
            self.failure = _Failure(now, self.error(_describe_exit(status)))

    def close(self) -> None:
        """Closes the pipe, which ends the worker."""
        self.channel.close()

    def has_ended(self) -> bool:
        """Returns whether the process has ended; its id is not reused before it is reaped."""
        return _exit_status(self._process.pid) is not None

    def signal(self, number: int) -> None:
        """Signals the process and those that it started; must not be called after `reap`."""
        os.killpg(self._process.pid, number)

    def reap(self) -> None:
        """Waits for the killed process."""
        # Only a process that is stuck in the kernel survives SIGKILL this long; waiting longer would hang this one.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)

    def _handle(self, message: Message, now: float) -> None:
        self.heard_at = now
        if isinstance(message, Progress):
            self.progress_at, self.stage = now, str(message)
            if self.index == 0:
                message.report()
        elif isinstance(message, Error):
            error = UserError(message.message) if message.user_error else self.error(str(message))
            self.failure = _Failure(now, error, message.is_collective)
        elif isinstance(message, Done):
            self.done = True


class _Clock:
    """Counts the seconds during which this process was running.

    After a suspension (Ctrl-Z, a virtual machine that is migrated) every worker has been silent for a long time, but
    none has failed.
    """

    def __init__(self) -> None:
        self._seconds, self._read_at = 0.0, time.monotonic()

    def read(self) -> float:
        """Returns the seconds since the clock was created; has to be called often."""
        before, self._read_at = self._read_at, time.monotonic()
        self._seconds += min(self._read_at - before, _LONGEST_TICK_S)
        return self._seconds


def _environments(workers: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Returns each worker's environment: its place in the cluster, and its share of this machine."""
    if len(gpus) % workers:
        raise UserError(
            f"trainer.workers = {workers}: can't share {len(gpus)} GPUs evenly; should be a divisor of {len(gpus)}"
        )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # So that the log of a killed worker is complete.
        "PYTHONUNBUFFERED": "1",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        # If a proxy is set, gRPC would look for the other workers through it, and wait forever.
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
    # Not Python's random numbers: training seeds them, and two runs with one seed would choose the same ports.
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
    # Only the worker keeps the sending end open, so that the pipe closes when the worker ends.
    with os.fdopen(sending, "wb"), open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", worker_process.__name__, os.path.join(log_dir, JOB_FILE)],
            env={**environment, worker_process.CHANNEL_VARIABLE: str(sending)},
            pass_fds=[sending],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C on a terminal should reach only this process, which then stops the workers.
            start_new_session=True,
        )
    return _Worker(index, workers, process, channel, log)


def _exit_status(pid: int) -> "Optional[os.waitid_result]":
    """Returns how a child ended, None while it runs; leaves it unreaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def _describe_exit(result: "os.waitid_result") -> str:
    """Describes how a child ended, such as 'killed by signal 9 (SIGKILL)'."""
    number = result.si_status
    if result.si_code == os.CLD_EXITED:
        return f"ended with exit status {number} before its work was done"
    name = signal.Signals(number).name if number in set(signal.Signals) else "no name"
    return f"killed by signal {number} ({name})"


def _silence(workers: Sequence[_Worker], now: float, timeout_s: float) -> Optional[WorkerFailed]:
    """Returns the failure of the worker that has been silent for longest, if that exceeds the timeout."""
    running = (worker for worker in workers if worker.is_running)
    worker = min(running, key=lambda worker: worker.heard_at, default=None)
    if worker is None or now - worker.heard_at < timeout_s:
        return None
    silent_s = now - worker.heard_at
    return worker.error(f"stopped responding: no message for {silent_s:.0f} s; its last progress: {worker.stage}")


def _stall(workers: Sequence[_Worker], now: float, timeout_s: float) -> Optional[WorkerFailed]:
    """Returns the failure of the worker that the others wait for, if none has reported progress within the timeout."""
    running = (worker for worker in workers if worker.is_running)
    worker = min(running, key=lambda worker: worker.progress_at, default=None)
    if worker is None or now - max(worker.progress_at for worker in workers) < timeout_s:
        return None
    reports = ", ".join(f"worker {worker.index}: {worker.stage}" for worker in workers)
    return worker.error(f"timed out: no worker has made progress for {timeout_s:g} s; last progress: {reports}")


def _wait(workers: Sequence[_Worker], timeout_s: float) -> None:
    """Waits until all processes have ended, or until the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not all(worker.has_ended() for worker in workers):
        time.sleep(_TICK_S / 10)


def _stop(workers: Sequence[_Worker]) -> None:
    """Terminates the processes that are still running, then kills them; immediately if this is interrupted."""
    try:
        for worker in workers:
            worker.close()
            worker.signal(signal.SIGTERM)
        _wait(workers, _TERMINATION_S)
    finally:
        # Those of finished workers too: they may have left child processes.
        for worker in workers:
            worker.signal(signal.SIGKILL)
        for worker in workers:
            worker.reap()
