"""A run's time with an engine: checks it before the first job, shows the jobs, cancels them on an interrupt."""

import contextlib
import dataclasses
import logging
import signal
import tempfile
import threading
import time
import uuid
from typing import Any, Iterator, Mapping, Optional, Sequence

import requests

from core import progress
from core.beam_config import BeamConfig
from core.errors import UserError, first_line
from pipeline.engine import checks, flags, package
from pipeline.engine.flink import Flink, Job, last_line

_POLL_S = 2.0
# The probe imports TensorFlow on a worker: 40 s on a busy machine.
_PROBE_TIMEOUT_S = 300.0
# Beam's runner for Spark 3.
_SPARK_VERSION = "3"


class JobFailed(RuntimeError):
    """A job of the engine failed; the text is the worker's last line and where to find more."""


# Flags of Beam's own start of a job server.
_REPLACED = ("flink_job_server_jar", "spark_job_server_jar", "spark_master_url")


def check(engine_flags: Sequence[str]) -> None:
    """Checks what takes no time: Java, the jar, whether the engine answers and has free slots, credentials.

    Args:
      engine_flags: Beam's, as `flags.make_flags` writes them.

    Raises:
      UserError: a job could not run there.
    """
    _prepare(flags.parse(engine_flags))


def has_engine(engine_flags: Sequence[str]) -> bool:
    """Whether jobs with these flags run on workers of Flink or Spark."""
    return flags.parse(engine_flags).get("runner") in ("FlinkRunner", "SparkRunner")


@contextlib.contextmanager
def open_session(
    engine_flags: Sequence[str], folder: str = "", beam: Optional[BeamConfig] = None
) -> Iterator[Sequence[str]]:
    """Prepares an engine, and cancels what is left of its jobs at the end.

    Args:
      engine_flags: as for `check`.
      folder: where the components write.
      beam: the section that they come from, whose `args` are checked; None if they were checked before.

    Yields:
      The flags for the jobs.

    Raises:
      UserError: a job could not run there.
      JobFailed: a job failed inside the context.
      KeyboardInterrupt: Ctrl-C or SIGTERM; the jobs have been cancelled.
    """
    values = flags.parse(engine_flags)
    if beam is not None:
        flags.check_args(beam)
    engine = _prepare(values)
    if engine is None:
        yield engine_flags
        return
    from pipeline.engine import job_server  # Slow: imports Beam.

    name = f"reviews-{uuid.uuid4().hex[:8]}"
    # The job server ends before the jobs are cancelled, so that it submits no other meanwhile.
    with (
        _interrupt_on_sigterm(),
        tempfile.TemporaryDirectory(prefix="beam-package-") as temporary,
        _cancel_on_exit(engine.flink, name, values),
        job_server.run(engine.java, engine.jar, engine.arguments) as address,
    ):
        if beam is not None:
            flags.check_args(beam, job_server.list_flags(address))
        job_flags = _job_flags(engine_flags, engine, address, name, temporary)
        _probe(engine.flink, job_flags, name, folder)
        with _watch(engine.flink, name):
            yield job_flags


@dataclasses.dataclass(frozen=True)
class _Engine:
    """What a job server needs.

    Attributes:
      java: path of the program.
      jar: path of the job server.
      arguments: of the job server.
      parallelism: of the jobs; None for the engine's default.
      flink: None for Spark, whose jobs end with the job server.
    """

    java: str
    jar: str
    arguments: Sequence[str]
    parallelism: Optional[int] = None
    flink: Optional[Flink] = None


def _prepare(values: Mapping[str, str]) -> Optional[_Engine]:
    """Checks what a job needs; returns None for a runner without a job server."""
    runner, master = values.get("runner"), values.get("flink_master", "")
    if runner == "DataflowRunner":
        checks.check_google_credentials()
    if runner == "SparkRunner" and "spark_master_url" in values:
        java = checks.find_java()
        own_jar = values.get("spark_job_server_jar")
        if own_jar is not None:
            checks.check_jar(own_jar)
        jar = own_jar or checks.download_jar("spark", _SPARK_VERSION)
        return _Engine(java, jar, [f"--spark-master-url={values['spark_master_url']}"])
    if runner == "FlinkRunner" and "://" in master:
        java, flink = checks.find_java(), Flink(master)
        own_jar = values.get("flink_job_server_jar")
        if own_jar is not None:
            checks.check_jar(own_jar)
        version, slots = flink.check(int(values["parallelism"]) if "parallelism" in values else None)
        jar = own_jar or checks.download_jar("flink", version)
        return _Engine(java, jar, [f"--flink-master={master}"], slots, flink)
    return None


def _job_flags(flags_: Sequence[str], engine: _Engine, address: str, name: str, folder: str) -> list[str]:
    """Returns the flags of a job that a job server takes; writes the package for its workers into the folder."""
    own = {"runner": "PortableRunner", "job_endpoint": address, "job_name": name}
    if engine.parallelism is not None:
        own["parallelism"] = str(engine.parallelism)
    if flags.parse(flags_).get("environment_type") == "PROCESS":
        own["extra_package"] = package.write(folder)
    else:
        # The package is there already; without this flag TFX would stage a copy of itself.
        own["sdk_container_image"] = "unused"
    kept = [flag for flag in flags_ if flag[2:].partition("=")[0] not in (*own, *_REPLACED)]
    return [*kept, *(f"--{key}={value}" for key, value in own.items())]


@contextlib.contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Treats SIGTERM as Ctrl-C, so that the jobs are cancelled then too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _cancel_on_exit(engine: Optional[Flink], name: str, values: Mapping[str, str]) -> Iterator[None]:
    """Cancels the session's jobs when the context is left early, and describes the failure of one."""
    try:
        yield
    except BaseException as error:
        if engine is None:
            raise  # Spark's jobs run in the job server, or end with it.
        failed = None
        if isinstance(error, Exception) and not isinstance(error, UserError):
            failed = _describe_failure(engine, name)
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # A second Ctrl-C would leave the job behind.
        try:
            engine.cancel(name)
            if not isinstance(error, Exception):
                # Until then a worker may finish what it was writing.
                time.sleep(int(values.get("environment_cache_millis", 0)) / 1000 + _POLL_S)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)
        if failed is not None:
            raise JobFailed(failed) from error
        raise


def _describe_failure(engine: Flink, name: str) -> Optional[str]:
    """Returns the worker's last line if a job of this session has failed; None for any other error."""
    with contextlib.suppress(requests.RequestException):
        for job in engine.jobs(name):
            if job.state == "FAILED" and (failures := engine.failures(job)):
                return f"{last_line(failures[-1])}; more: {engine.link(job)}"
    return None


def _probe(engine: Optional[Flink], job_flags: Sequence[str], name: str, folder: str) -> None:
    """Runs the probe; its first failure ends it, because the engine would try again for minutes."""
    from pipeline.engine import probe  # Slow: imports Beam.

    progress.report("checking a worker", 0, 0)
    result = probe.run(job_flags, folder)
    end = time.monotonic() + _PROBE_TIMEOUT_S
    while str(result.state) not in ("DONE", "FAILED", "CANCELLED"):
        if engine is not None and (failure := _first_failure(engine, name)):
            raise UserError(f"beam: a worker can't run the components: {last_line(failure)}")
        if time.monotonic() > end:
            raise UserError(f"beam: no worker has finished the probe in {_PROBE_TIMEOUT_S:.0f} s; see the engine's log")
        time.sleep(_POLL_S)
    try:
        result.wait_until_finish()
    except Exception as error:
        raise UserError(f"beam: a worker can't run the components: {last_line(str(error))}") from error


def _first_failure(engine: Flink, name: str) -> Optional[str]:
    """Returns the first failure of a job; None if there is none, or if Flink is too busy to say."""
    with contextlib.suppress(requests.RequestException):
        for job in engine.jobs(name):
            if failures := engine.failures(job):
                return failures[0]
    return None


@contextlib.contextmanager
def _watch(engine: Optional[Flink], name: str) -> Iterator[None]:
    """Reports the progress and the retries of the jobs inside the context."""
    if engine is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_report, args=(engine, name, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _report(engine: Flink, name: str, stop: threading.Event) -> None:
    seen: dict[str, int] = {}
    while not stop.wait(_POLL_S):
        try:
            for job in engine.jobs(name):
                if job.has_ended:
                    continue
                progress.report("tasks on Flink", job.finished, job.tasks)
                _report_retries(engine, job, seen)
        except (requests.RequestException, ValueError, KeyError) as error:
            logging.info("Flink: %s", first_line(error))


def _report_retries(engine: Flink, job: Job, seen: dict[str, int]) -> None:
    failures = engine.failures(job)
    for number in range(seen.get(job.id, 0), len(failures)):
        progress.report(f"retry {number + 1}: {last_line(failures[number])}", number + 1, 0, keep=True)
    seen[job.id] = max(seen.get(job.id, 0), len(failures))
