"""The job server: a Java process that translates Beam's jobs and hands them to Flink or Spark.

Beam would start one for each component, with a handler of Ctrl-C that fails; this one serves a whole run.
"""

import contextlib
import subprocess
import tempfile
import time
from typing import Iterator, Sequence

import grpc
import portpicker
from apache_beam.portability.api.org.apache.beam.model.job_management.v1 import (
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
)

from core.errors import UserError

# Spark's and Flink's clients use what Java 17 hides.
_OPENED = (
    *(
        "java.lang",
        "java.lang.invoke",
        "java.lang.reflect",
        "java.io",
        "java.net",
        "java.nio",
        "java.text",
        "java.time",
    ),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar", "sun.net.util"),
)
# On a busy machine it took 20 s.
_START_TIMEOUT_S = 120.0


@contextlib.contextmanager
def run(java: str, jar: str, arguments: Sequence[str]) -> Iterator[str]:
    """Runs a job server inside the context; its output goes to this process's.

    Args:
      java: path of the program.
      jar: path of the job server.
      arguments: of the job server, such as `--flink-master=http://localhost:8081`.

    Yields:
      Its address.

    Raises:
      UserError: it ends, or does not answer.
    """
    port = portpicker.pick_unused_port()
    address = f"localhost:{port}"
    with tempfile.TemporaryDirectory(prefix="beam-artifacts-") as artifacts:
        command = [
            java,
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
            *("-jar", jar, f"--job-port={port}", "--artifact-port=0", "--expansion-port=0"),
            *(f"--artifacts-dir={artifacts}", *arguments),
        ]
        # In a session of its own, so that Ctrl-C on the terminal does not end it before its jobs.
        process = subprocess.Popen(command, start_new_session=True)
        try:
            _wait(process, address, jar)
            yield address
        finally:
            process.kill()
            process.wait()


def list_flags(address: str) -> list[str]:
    """Returns the names of the flags that a job server has besides those of Beam's Python SDK."""
    with grpc.insecure_channel(address) as channel:
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        answer = stub.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest())
    return [option.name for option in answer.options]


def _wait(process: subprocess.Popen, address: str, jar: str) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    with grpc.insecure_channel(address) as channel:
        while time.monotonic() < end:
            with contextlib.suppress(grpc.FutureTimeoutError):
                grpc.channel_ready_future(channel).result(timeout=0.5)
                return
            if process.poll() is not None:
                raise UserError(
                    f"beam.job_server_jar = {jar}: ended with exit status {process.returncode}; see the log"
                )
    raise UserError(f"beam.job_server_jar = {jar}: no answer in {_START_TIMEOUT_S:.0f} s; its output is in the log")
