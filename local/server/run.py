"""The process of the server: puts the parts together and serves until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import json
import shlex
import signal
import socket
import urllib.parse
from typing import AsyncIterator, Callable, Sequence

import rich.console
import rich.text
import uvicorn

from core import escape, streams
from local.server import app, listener, pool, request_log, rest, versions
from local.server.batcher import Batcher, Outputs
from local.server.methods import Service
from local.server.metrics import Metrics
from local.server.pool import Pool
from local.server.settings import Settings
from local.server.worker import Batch

# Idle connections of clients that reuse them are kept for this long; balancers and browsers open a new one.
_KEEP_ALIVE_S = 65
# After a request's own time limit, to send its response.
_DRAIN_S = 5


def serve(settings: Settings, server_socket: socket.socket, console: rich.console.Console) -> int:
    """Serves until SIGTERM or Ctrl-C, then answers the requests that have arrived; returns the exit status.

    Raises:
      UserError: no version can be loaded, or a setting is wrong.
    """

    def report(text: str) -> None:
        # A terminal that is gone (of a pipe, rich exits) must not stop the answers.
        with contextlib.suppress(OSError, SystemExit):
            console.print(rich.text.Text(escape.line(text)), soft_wrap=True)

    async def run() -> None:
        spinner = streams.show_spinner(console, "loading the model")
        async with contextlib.AsyncExitStack() as stack:
            with spinner:
                service = await stack.enter_async_context(open_service(settings, report))
            _greet(service, listener.address(server_socket), console)
            # Uvicorn drains, then raises the signal once more for these, which were there before.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            await make_server(service).serve(sockets=[server_socket])

    asyncio.run(run())
    report("stopped")
    return 0


@contextlib.asynccontextmanager
async def open_service(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Service]:
    """Loads the model; ends its workers at the end of the context.

    Args:
      settings: what and how to serve.
      report: called with a sentence about each change and error.

    Raises:
      UserError: no version can be loaded, or a setting is wrong.
    """
    settings.check()
    source = versions.find_source(settings.model, settings.root, settings.name)
    log = request_log.open_log(settings.log, settings.log_texts, report)
    metrics = Metrics()

    def make_pool(folder: str) -> Pool:
        restarts = metrics.worker_restarts
        return Pool(
            folder, settings.workers, settings.threads, settings.timeout_s, report, restarts.inc, settings.engine
        )

    pool.start_fork_server()
    loaded = versions.Versions(source, make_pool, report)
    batcher = Batcher(_compute, settings.workers, settings.max_batch, settings.max_rows, metrics.batch_rows.observe)
    try:
        await loaded.load_first()
        yield Service(loaded, batcher, metrics, log, settings.max_request_bytes, settings.timeout_s, report)
    finally:
        loaded.close()


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


async def _compute(key: tuple[versions.Version, str, bool], rows: Sequence[rest.Row]) -> Outputs:
    version, signature, with_tokens = key
    return await version.pool.compute(Batch(signature, rows, with_tokens))


def _greet(service: Service, address: str, console: rich.console.Console) -> None:
    """Shows the address, the model and how to call it."""
    version = service.versions.current
    assert version is not None
    task = version.loaded.card.task
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
