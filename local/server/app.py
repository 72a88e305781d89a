"""The routes of the server: TensorFlow Serving's REST form, explanations, health, metrics and the page."""

import asyncio
import contextlib
import functools
import json
import time
from typing import Any, AsyncIterator, Awaitable, Callable, Mapping, Optional

from starlette import applications, background, exceptions, requests, responses, routing

from core.errors import first_line
from local.predictions import read_outputs
from local.server import methods, page, request_log, rest
from local.server.batcher import OverloadedError
from local.server.methods import Service
from local.server.metrics import CONTENT_TYPE
from local.server.rest import RequestError

# Requests that are read or computed at the same time: with the limit of their size, it bounds the memory.
_MAX_REQUESTS = 512
# An overloaded server is worth another try after its longest batches.
_RETRY_AFTER_S = 1
# For metrics and log: nobody reads the response. nginx uses it for the same.
_CLIENT_LEFT = 499
_MODEL_PATH = "/v1/models/{name}"


_Method = Callable[[Service, requests.Request], Awaitable[methods.Answer]]


def make_app(service: Service) -> applications.Starlette:
    """Makes the ASGI application, which loads new versions and computes batches while it runs."""
    routes = [
        routing.Route("/", functools.partial(_show_page, service)),
        routing.Route("/healthz/live", _show_live),
        routing.Route("/healthz", functools.partial(_show_ready, service)),
        routing.Route("/healthz/ready", functools.partial(_show_ready, service)),
        routing.Route("/metrics", functools.partial(_show_metrics, service)),
    ]
    for path in (f"{_MODEL_PATH}/versions/{{version}}", _MODEL_PATH):
        for name, method in (("predict", methods.predict), ("explain", methods.explain)):
            endpoint = functools.partial(_answer, service, name, method)
            routes.append(routing.Route(f"{path}:{name}", endpoint, methods=["POST"]))
        routes.append(routing.Route(f"{path}/metadata", functools.partial(_show_metadata, service)))
        routes.append(routing.Route(path, functools.partial(_show_status, service)))
    handlers: Any = {exceptions.HTTPException: _handle_unknown_path, RequestError: _handle_error}
    return applications.Starlette(routes=routes, exception_handlers=handlers, lifespan=_run_parts(service))


def _run_parts(service: Service) -> Any:
    @contextlib.asynccontextmanager
    async def run(app: applications.Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part) for part in (service.batcher.run(), service.versions.watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run


async def _answer(service: Service, name: str, method: _Method, request: requests.Request) -> responses.Response:
    """Answers a request to the model within the limits, counts and logs it."""
    arrived, started = request_log.now(), time.monotonic()
    answered, status, content = None, 200, None
    service.requests += 1
    try:
        if service.requests > _MAX_REQUESTS:
            raise OverloadedError
        answered = await asyncio.wait_for(method(service, request), service.timeout_s)
        content = answered.content
    except Exception as error:
        status, text = _explain_error(service, error)
        content = {"error": text}
    finally:
        service.requests -= 1
    seconds = time.monotonic() - started
    service.metrics.observe(name, status, seconds)
    log = None
    if service.log is not None:
        facts = {
            "time": arrived,
            "model": service.name,
            "version": None,
            "method": name,
            "status": status,
            "latency_ms": round(1000 * seconds, 3),
        }
        log = background.BackgroundTask(_log, service.log, facts, answered)
    return _respond(content, status, {"Retry-After": str(_RETRY_AFTER_S)} if status == 503 else None, log)


def _explain_error(service: Service, error: Exception) -> tuple[int, str]:
    """Returns the status and the text of a response."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, OverloadedError):
        return 503, "overloaded: too many texts are waiting; send the request again later"
    if isinstance(error, asyncio.TimeoutError):
        return 504, f"not answered within {service.timeout_s:g} s (--timeout-s)"
    if isinstance(error, requests.ClientDisconnect):
        return _CLIENT_LEFT, "the client has closed the connection"
    service.report(f"a request failed: {first_line(error)}")
    return 500, f"the model failed: {first_line(error)}"


async def _show_page(service: Service, request: requests.Request) -> responses.Response:
    if service.versions.current is None:
        return _respond({"error": "no version is loaded"}, 503)
    content, policy = page.render(service.name, service.versions.current)
    return responses.HTMLResponse(content, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})


async def _show_live(request: requests.Request) -> responses.Response:
    return _respond({"status": "live"})


async def _show_ready(service: Service, request: requests.Request) -> responses.Response:
    version = service.versions.current
    if version is None:
        return _respond({"status": "no version is loaded"}, 503)
    if not version.pool.live:
        return _respond({"status": "no worker is running; requests wait for the next"}, 503)
    return _respond({"status": "ready", "model": service.name, "version": str(version.number)})


async def _show_metrics(service: Service, request: requests.Request) -> responses.Response:
    metrics, version = service.metrics, service.versions.current
    if version is not None:
        metrics.version.labels(service.name).set(version.number)
        metrics.workers.set(version.pool.live)
    metrics.waiting_rows.set(service.batcher.rows)
    metrics.load_failures.set(service.versions.failures)
    return responses.Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})


async def _show_status(service: Service, request: requests.Request) -> responses.Response:
    methods.check_name(service, request)
    asked, states = request.path_params.get("version"), service.versions.states
    shown = [
        {
            "version": str(number),
            "state": state,
            "status": {"error_code": "UNKNOWN" if error else "OK", "error_message": error},
        }
        for number, (state, error) in sorted(states.items(), reverse=True)
        if asked in (None, str(number))
    ]
    if not shown:
        raise RequestError(404, f"version = {rest.show(asked)}: not found; the versions are {_list(states)}")
    return _respond({"model_version_status": shown})


async def _show_metadata(service: Service, request: requests.Request) -> responses.Response:
    methods.check_name(service, request)
    version = methods.find_version(service, request)
    return _respond(rest.describe_model(service.name, version.number, version.loaded.described))


async def _log(log: request_log.RequestLog, facts: Mapping[str, Any], answered: Optional[methods.Answer]) -> None:
    """Writes the log after the response was sent; an error's text may quote the request, so it is left out."""
    if answered is None:
        log.write(facts)
        return
    task, texts, tokens = answered.version.loaded.card.task, answered.texts, answered.tokens
    rows = []
    for index, prediction in enumerate(read_outputs(task, answered.outputs)):
        row = {**prediction.values, "tokens": None if tokens is None else tokens[index]}
        if log.with_texts and texts:
            shown = [value.decode("utf-8", "replace") for value in texts[index]]
            row.update(zip(task.text_inputs, shown, strict=True))
        rows.append(row)
    log.write({**facts, "version": answered.version.number}, rows)


def _list(states: Mapping[int, Any]) -> str:
    return ", ".join(map(str, sorted(states)))


async def _handle_error(request: requests.Request, error: RequestError) -> responses.Response:
    return _respond({"error": str(error)}, error.status)


async def _handle_unknown_path(request: requests.Request, error: exceptions.HTTPException) -> responses.Response:
    asked = f"{request.method} {rest.show(request.url.path)}"
    text = f"{asked}: {error.detail.lower()}; POST /v1/models/MODEL:predict asks a model, / is a page to try it"
    return _respond({"error": text}, error.status_code, error.headers)


def _respond(
    content: Any,
    status: int = 200,
    headers: Optional[Mapping[str, str]] = None,
    log: Optional[background.BackgroundTask] = None,
) -> responses.Response:
    """Makes a response of JSON values, among which NaN is possible, as in TensorFlow Serving."""
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return responses.Response(body, status, headers, "application/json", log)
