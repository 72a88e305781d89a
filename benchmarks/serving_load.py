"""`serve` under load while a version is pushed: throughput, latency, lost requests.

    python -m benchmarks.serving_load --model runs/nsmc/serving/1763827200

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

import rich.console
import rich.table

DEFAULT_TEXTS = os.path.join("..", "shared", "nsmc", "ratings_test.txt")
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# To load TensorFlow and the model on a busy machine.
_START_S = 300
# Around the push, whose effect on the latency is shown.
_PUSH_S = 5.0
_ROWS, _BATCHES, _CPU_S = _METRICS = ("reviews_batch_rows_sum", "reviews_batch_rows_count", "process_cpu_seconds_total")


@dataclasses.dataclass
class Calls:
    """What the clients have measured.

    Attributes:
      finished: time and duration of each answered request, in seconds.
      lost: reason -> number of requests.
    """

    finished: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    lost: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def main(words: Optional[Sequence[str]] = None) -> int:
    """Prints the table; returns 1 if a request was lost or the version was not loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument("--texts", default=DEFAULT_TEXTS, help="NSMC's form: id, text, label (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(words)
    bodies = [_body(text) for text in read_texts(options.texts)]
    with tempfile.TemporaryDirectory() as folder:
        serving = os.path.join(folder, "load", "serving")
        push(options.model, serving, 1)
        server, port = start_server(serving)
        try:
            before = read_metrics(port)
            calls, version, pushed_s = _run(port, bodies, options, serving)
            used = {name: value - before[name] for name, value in read_metrics(port).items()}
        finally:
            server.terminate()
            status = server.wait()
    _show(calls, options, pushed_s, version, used, status)
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


def start_server(serving: str) -> tuple[subprocess.Popen, int]:
    """Starts `serve` on a free port; returns the process and the port once it answers."""
    command = [sys.executable, os.path.join(_ROOT, "local_runner.py"), "serve", "--model", serving, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    timer = threading.Timer(_START_S, server.kill)
    timer.start()
    for line in server.stdout:
        if found := re.search(r"page: +http://127\.0\.0\.1:(\d+)/", line):
            timer.cancel()
            # What it prints later must not fill the pipe.
            threading.Thread(target=server.stdout.read, daemon=True).start()
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


def _body(text: str) -> bytes:
    return json.dumps({"instances": [text]}).encode()


def _run(port: int, bodies: Sequence[bytes], options: argparse.Namespace, serving: str) -> tuple[Calls, str, float]:
    """Lets the clients call; returns what they measured, the version at the end, and when it was pushed."""
    calls = Calls()
    end = time.monotonic() + options.seconds
    threads = [
        threading.Thread(target=_call_repeatedly, args=(port, bodies[index :: options.clients], end, calls))
        for index in range(options.clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(options.seconds / 2)
    push(options.model, serving, 2)
    pushed_s = time.monotonic()
    for thread in threads:
        thread.join()
    content = json.loads(call(http.client.HTTPConnection("127.0.0.1", port), "GET", "/v1/models/load"))
    (used,) = [each["version"] for each in content["model_version_status"] if each["state"] == "AVAILABLE"]
    return calls, used, pushed_s


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
    calls: Calls, options: argparse.Namespace, pushed_s: float, version: str, used: Mapping[str, float], status: int
) -> None:
    table = rich.table.Table("requests", "a second", "p50 ms", "p99 ms", "max ms", "lost", box=None, pad_edge=False)
    near = [took for started, took in calls.finished if abs(started - pushed_s) < _PUSH_S]
    for durations, seconds in (([took for _, took in calls.finished], options.seconds), (near, 2 * _PUSH_S)):
        cuts = [1000 * cut for cut in statistics.quantiles(durations, n=100)]
        figures = (len(durations) / seconds, cuts[49], cuts[98], 1000 * max(durations))
        table.add_row(str(len(durations)), *(f"{figure:.1f}" for figure in figures), str(calls.lost.total()))
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    console.print(
        f"{options.clients} clients for {options.seconds:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    console.print(table)
    console.print(
        f"second row: requests within {_PUSH_S:g} s of the push; version at the end: {version}, exit status {status}"
    )
    console.print(
        f"{used[_ROWS] / used[_BATCHES]:.1f} texts a batch, {1000 * used[_CPU_S] / used[_ROWS]:.2f} ms of the server's "
        "processor time a text, loading the version included"
    )
    for reason, count in calls.lost.most_common():
        console.print(f"lost {count}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
