"""The process of the server: puts the parts together and serves until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import dataclasses
import gc
import json
import math
import shlex
import signal
import socket
import urllib.parse
from typing import Callable, Optional, Sequence

import rich.console
import rich.text
import uvicorn

from core import escape, streams
from core.errors import UserError
from local import engines
from local.server import app, listener, request_log, rest, versions
from local.server.batcher import Batcher, Outputs
from local.server.methods import Service
from local.server.metrics import Metrics

# Idle connections of clients that reuse them are kept for this long; balancers and browsers open a new one.
_KEEP_ALIVE_S = 65
# After a request's own time limit, to send its response.
_DRAIN_S = 5


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
    max_batch: int = 64
    max_rows: int = 4096
    max_request_bytes: int = 4 << 20
    timeout_s: float = 30.0


def serve(settings: Settings, server_socket: socket.socket, console: rich.console.Console) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers the requests that have arrived; returns the exit status.

    Raises:
      UserError: no version can be loaded, or a setting is wrong.
    """

    def report(text: str) -> None:
        # A terminal that is gone (of a pipe, rich exits) must not stop the answers.
        with contextlib.suppress(OSError, SystemExit):
            console.print(rich.text.Text(escape.line(text)), soft_wrap=True)

    # What is there now stays: it need not be looked through when a replaced model is collected.
    gc.freeze()
    with streams.show_spinner(console, "loading the model"):
        service = make_service(settings, report)
    _greet(service, listener.address(server_socket), console)
    # Uvicorn drains, then raises the signal once more for these, which were there before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    asyncio.run(make_server(service).serve(sockets=[server_socket]))
    report("stopped")
    return 0


def make_service(settings: Settings, report: Callable[[str], None]) -> Service:
    """Loads the model.

    Args:
      settings: what and how to serve.
      report: called with a sentence about each change and error.

    Raises:
      UserError: no version can be loaded, or a setting is wrong.
    """
    _check(settings)
    source = versions.find_source(settings.model, settings.root, settings.name)
    log = request_log.open_log(settings.log, settings.log_texts, report)
    loaded = versions.Versions(source, report, settings.engine)
    loaded.load_first()
    metrics = Metrics()
    batcher = Batcher(_compute, settings.max_batch, settings.max_rows, metrics.batch_rows.observe)
    return Service(loaded, batcher, metrics, log, settings.max_request_bytes, settings.timeout_s, report)


def make_server(service: Service) -> uvicorn.Server:
    """Makes the HTTP server."""
    config = uvicorn.Config(
        app.make_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(service.timeout_s) + _DRAIN_S,
    )
    return uvicorn.Server(config)


def _check(settings: Settings) -> None:
    for name in ("max_batch", "max_rows", "max_request_bytes", "timeout_s"):
        if not 0 < getattr(settings, name) < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {getattr(settings, name)}: should be a number more than 0")
    if settings.name is not None and (not settings.name or set("/:") & set(settings.name)):
        raise UserError(f"--name {settings.name}: should be a name for addresses, without / and :")


def _compute(key: tuple[versions.Version, str], rows: Sequence[rest.Row]) -> Outputs:
    version, signature = key
    return version.model.compute(rows, signature)


def _greet(service: Service, address: str, console: rich.console.Console) -> None:
    """Shows the address, the model and how to call it."""
    version = service.versions.current
    assert version is not None
    task = version.model.card.task
    row = dict.fromkeys(task.text_inputs, "...") if len(task.text_inputs) > 1 else "..."
    body = shlex.quote(json.dumps({"instances": [row]}))
    path = f"{address}/v1/models/{urllib.parse.quote(service.name)}"
    source = service.versions.source
    watched = "stays in use" if source.fixed else f"newer ones are loaded from {source.folder}"
    for text, style in (
        (f"{service.name}, version {version.number} ({watched})", "bold"),
        (f"answers with {task.describe_labels()}", ""),
        (f"page:    {address}/", ""),
        (f"call it: curl -d {body} {path}:predict", ""),
        ("Ctrl-C stops it", "dim"),
    ):
        console.print(rich.text.Text(escape.line(text), style), soft_wrap=True)
