"""`serve` under load while a version is pushed and a worker is killed: throughput, latency, lost requests.

    python -m benchmarks.serving_load --model runs/nsmc/serving/1763827200 --kill-worker-after 15

Clients send one text at a time, each over its own connection, for `--seconds`. At half of the time the same model is
pushed again as another version, by one rename, as a push does. A request is lost if it has no answer, or any status but
200. The clients run on the same cores as the server, so a server alone is faster.
"""

import argparse
import collections
import dataclasses
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Mapping, Optional, Sequence

import psutil
import rich.console
import rich.table

from local.server.settings import Settings

DEFAULT_TEXTS = os.path.join("..", "shared", "nsmc", "ratings_test.txt")
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# To load TensorFlow and the model on a busy machine.
_START_S = 300
# After the push and the kill, whose effects on the latency are shown.
_AFTER_S = 5.0
_ROWS, _BATCHES, _WORKERS, _RESTARTS = _METRICS = (
    "reviews_batch_rows_sum",
    "reviews_batch_rows_count",
    "reviews_workers",
    "reviews_worker_restarts_total",
)


@dataclasses.dataclass
class Calls:
    """What the clients have measured.

    Attributes:
      finished: time and duration of each answered request, in seconds.
      lost: reason -> number of requests.
    """

    finished: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    lost: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class Used:
    """What the server has used since its start.

    Attributes:
      metrics: values of `_METRICS`.
      cpu_s: processor time of all its processes.
    """

    metrics: dict[str, float]
    cpu_s: float

    def __sub__(self, before: "Used") -> "Used":
        metrics = {name: value - before.metrics[name] for name, value in self.metrics.items()}
        return Used(metrics, self.cpu_s - before.cpu_s)


def main(words: Optional[Sequence[str]] = None) -> int:
    """Prints the table; returns 1 if a request was lost or the version was not loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument("--texts", default=DEFAULT_TEXTS, help="NSMC's form: id, text, label (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill-worker-after", type=float, metavar="SECONDS", help="kill a worker with SIGKILL")
    parser.add_argument("--workers", type=int, default=Settings.workers, help="of serve (default: %(default)s)")
    options = parser.parse_args(words)
    bodies = [_body(text) for text in read_texts(options.texts)]
    with tempfile.TemporaryDirectory() as folder:
        serving = os.path.join(folder, "load", "serving")
        push(options.model, serving, 1)
        server, port = start_server(serving, options.workers)
        try:
            before = read_used(server, port)
            calls, version, events = _run(server, port, bodies, options, serving)
            used = read_used(server, port) - before
        finally:
            server.terminate()
            status = server.wait()
    _show(calls, options, events, version, used, status)
    return int(bool(calls.lost) or version != "2" or status != 0)


def read_texts(path: str) -> list[str]:
    """Returns the texts of a file in NSMC's form."""
    with open(path, encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream][1:]
    return [row[1] for row in rows if len(row) == 3 and row[1].strip()]


def push(model: str, serving: str, version: int) -> None:
    """Copies a model, then makes it a version in one step."""
    hidden = os.path.join(serving, f".push-{version}")
    shutil.copytree(model, hidden)
    os.rename(hidden, os.path.join(serving, str(version)))


def start_server(serving: str, workers: int) -> tuple[subprocess.Popen, int]:
    """Starts `serve` on a free port; returns the process and the port once all its workers can compute."""
    command = [sys.executable, os.path.join(_ROOT, "local_runner.py"), "serve", "--model", serving, "--port", "0"]
    server = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    timer = threading.Timer(_START_S, server.kill)
    timer.start()
    for line in server.stdout:
        if found := re.search(r"page: +http://127\.0\.0\.1:(\d+)/", line):
            # What it prints later must not fill the pipe.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            while read_metrics(int(found[1]))[_WORKERS] < workers:
                time.sleep(0.1)
            timer.cancel()
            return server, int(found[1])
    raise RuntimeError(f"serve ended with exit status {server.wait()}")


def call(connection: http.client.HTTPConnection, method: str, path: str, body: Optional[bytes] = None) -> bytes:
    """Sends a request; returns the body of the response.

    Raises:
      RuntimeError: the status is not 200.
    """
    connection.request(method, path, body)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content.decode()[:100]}")
    return content


def read_metrics(port: int) -> dict[str, float]:
    """Returns the values of `_METRICS`."""
    text = call(http.client.HTTPConnection("127.0.0.1", port), "GET", "/metrics").decode()
    return {name: float(re.findall(rf"^{name} (\S+)$", text, re.M)[0]) for name in _METRICS}


def read_used(server: subprocess.Popen, port: int) -> Used:
    """Returns what the server has used."""
    process = psutil.Process(server.pid)
    # Those of the fork server's children that have ended are among its own.
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    cpu_s = sum(each.user + each.system + each.children_user + each.children_system for each in times)
    return Used(read_metrics(port), cpu_s)


def find_workers(server: subprocess.Popen) -> list[psutil.Process]:
    """Returns the workers, which are children of the server's fork server."""
    return [worker for child in psutil.Process(server.pid).children() for worker in child.children()]


def _body(text: str) -> bytes:
    return json.dumps({"instances": [text]}).encode()


def _run(
    server: subprocess.Popen, port: int, bodies: Sequence[bytes], options: argparse.Namespace, serving: str
) -> tuple[Calls, str, dict[str, float]]:
    """Lets the clients call; returns what they measured, the version at the end, and when the events were."""
    calls, start, events = Calls(), time.monotonic(), {}
    end = start + options.seconds
    planned = {"push": (options.seconds / 2, lambda: push(options.model, serving, 2))}
    if options.kill_worker_after is not None:
        planned["kill"] = (options.kill_worker_after, lambda: find_workers(server)[0].kill())
    threads = [
        threading.Thread(target=_call_repeatedly, args=(port, bodies[index :: options.clients], end, calls))
        for index in range(options.clients)
    ]
    for thread in threads:
        thread.start()
    for name, (after_s, act) in sorted(planned.items(), key=lambda item: item[1][0]):
        time.sleep(max(0.0, start + after_s - time.monotonic()))
        act()
        events[name] = time.monotonic()
    for thread in threads:
        thread.join()
    content = json.loads(call(http.client.HTTPConnection("127.0.0.1", port), "GET", "/v1/models/load"))
    (used,) = [each["version"] for each in content["model_version_status"] if each["state"] == "AVAILABLE"]
    return calls, used, events


def _call_repeatedly(port: int, bodies: Sequence[bytes], end: float, calls: Calls) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = 0
    while (started := time.monotonic()) < end:
        try:
            call(connection, "POST", "/v1/models/load:predict", bodies[number % len(bodies)])
            calls.finished.append((started, time.monotonic() - started))
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            calls.lost[str(error) or type(error).__name__] += 1
            connection.close()
        number += 1


def _show(
    calls: Calls, options: argparse.Namespace, events: Mapping[str, float], version: str, used: Used, status: int
) -> None:
    table = rich.table.Table("", "requests", "a second", "p50 ms", "p99 ms", "max ms", box=None, pad_edge=False)
    rows = {"all": ([took for _, took in calls.finished], options.seconds)}
    for name, at in events.items():
        # Those that were waiting then, too.
        near = [took for started, took in calls.finished if started < at + _AFTER_S and started + took > at]
        rows[f"{_AFTER_S:g} s after the {name}"] = (near, _AFTER_S)
    for name, (durations, seconds) in rows.items():
        cuts = [1000 * cut for cut in statistics.quantiles(durations, n=100)]
        figures = (len(durations) / seconds, cuts[49], cuts[98], 1000 * max(durations))
        table.add_row(name, str(len(durations)), *(f"{figure:.1f}" for figure in figures))
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    console.print(
        f"{options.clients} clients for {options.seconds:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    console.print(table)
    metrics = used.metrics
    console.print(
        f"lost: {calls.lost.total()}, restarts of workers: {metrics[_RESTARTS]:g}, version at the end: {version}, "
        f"exit status {status}"
    )
    console.print(
        f"{metrics[_ROWS] / metrics[_BATCHES]:.1f} texts a batch, {1000 * used.cpu_s / metrics[_ROWS]:.2f} ms of the "
        "server's processor time a text, loading the version included"
    )
    for reason, count in calls.lost.most_common():
        console.print(f"lost {count}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
