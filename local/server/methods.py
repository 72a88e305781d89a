"""What a request to a model does: it is read within the limits, computed and answered."""

import dataclasses
from typing import Any, Callable, Optional

import numpy as np
from starlette import requests

from local.predictions import read_outputs
from local.server import explanation, request_log, rest
from local.server.batcher import Batcher, Outputs
from local.server.metrics import Metrics
from local.server.rest import RequestError
from local.server.versions import Version, Versions
from local.server.worker import TOKENS, RefusedError


@dataclasses.dataclass
class Service:
    """The parts of the server.

    Attributes:
      versions: the versions of the model.
      batcher: computes (version, signature, whether to count tokens) on rows.
      metrics: counts requests.
      log: the log of requests, if there is one.
      max_request_bytes: largest body of a request.
      timeout_s: longest time of a request, from its head to its response.
      report: called with a sentence about an error of the server.
    """

    versions: Versions
    batcher: Batcher
    metrics: Metrics
    log: Optional[request_log.RequestLog]
    max_request_bytes: int
    timeout_s: float
    report: Callable[[str], None]
    requests: int = 0

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.versions.source.name


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response's content, and what the log needs.

    Attributes:
      content: JSON values.
      version: the version that answered.
      outputs: of the rows.
      tokens: number of tokens of each row, if it was counted.
      texts: the rows' texts, if they were texts.
    """

    content: Any
    version: Version
    outputs: Outputs
    tokens: Optional[list[int]]
    texts: Optional[list[rest.Row]]


async def predict(service: Service, request: requests.Request) -> Answer:
    """Answers `:predict`: the outputs of a signature."""
    version, query = await _read_query(service, request)
    texts = query.rows if query.signature == rest.DEFAULT_SIGNATURE else None
    with_tokens = service.log is not None and texts is not None
    outputs, tokens = await _compute(service, version, query.signature, query.rows, with_tokens)
    return Answer(rest.respond(query, outputs), version, outputs, tokens, texts)


async def explain(service: Service, request: requests.Request) -> Answer:
    """Answers `:explain`: each row's answer, and the effect of each of its words on it."""
    version, query = await _read_query(service, request)
    if query.signature != rest.DEFAULT_SIGNATURE:
        raise RequestError(400, f"signature_name = {query.signature}: only {rest.DEFAULT_SIGNATURE} can be explained")
    # All rows are scored together, each followed by its variants.
    texts = [tuple(value.decode("utf-8", "replace") for value in row) for row in query.rows]
    words = [explanation.find_words(row) for row in texts]
    variants = [explanation.make_rows(row, found) for row, found in zip(texts, words, strict=True)]
    rows = [_encode(row) for each in variants for row in each]
    outputs, counts = await _compute(service, version, query.signature, rows, with_tokens=True)
    starts = np.cumsum([0, *map(len, variants)])
    tokens = None if counts is None else [counts[start] for start in starts[:-1]]
    explained = []
    for index, (row, found) in enumerate(zip(texts, words, strict=True)):
        part = {name: values[starts[index] : starts[index + 1]] for name, values in outputs.items()}
        content = _describe_answer(version, row, found, part)
        count = None if tokens is None else tokens[index]
        explained.append({**content, "tokens": count, "max_tokens": version.loaded.card.max_length})
    firsts = {name: values[starts[:-1]] for name, values in outputs.items()}
    return Answer({"version": str(version.number), "explanations": explained}, version, firsts, tokens, query.rows)


def _describe_answer(version: Version, row: Any, words: list[explanation.Word], outputs: Outputs) -> dict[str, Any]:
    task = version.loaded.card.task
    prediction = read_outputs(task, {name: values[:1] for name, values in outputs.items()})[0]
    strengths = task.answer_strengths(outputs, 0)
    return {
        **prediction.values,
        "answer": [part.strip() for part in task.describe_answer(prediction.values)],
        "class_probabilities": dict(zip(task.label_names, prediction.class_probabilities, strict=True)),
        "words": explanation.describe(row, task.text_inputs, words, strengths),
    }


async def _read_query(service: Service, request: requests.Request) -> tuple[Version, rest.Query]:
    check_name(service, request)
    body = await _read_body(request, service.max_request_bytes)
    version = find_version(service, request)
    query = rest.parse(body, version.loaded.signatures)
    _check_rows(service, len(query.rows))
    return version, query


async def _read_body(request: requests.Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not declared.isdecimal() or int(declared) <= max_bytes:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    size = declared or f"more than {max_bytes}"
    raise RequestError(413, f"request: {size} bytes; at most {max_bytes} are accepted (--max-request-bytes)")


async def _compute(
    service: Service, version: Version, signature: str, rows: list[rest.Row], with_tokens: bool
) -> tuple[Outputs, Optional[list[int]]]:
    """Returns the outputs, and the number of tokens of each row if it is wanted and known."""
    _check_rows(service, len(rows))
    try:
        with version.use():
            outputs = dict(await service.batcher.compute((version, signature, with_tokens), rows))
    except RefusedError as error:
        raise RequestError(400, f"the model refused the request: {error}") from error
    tokens = outputs.pop(TOKENS, None)
    return outputs, None if tokens is None else tokens.tolist()


def _check_rows(service: Service, rows: int) -> None:
    limit = service.batcher.max_rows
    if rows > limit:
        raise RequestError(413, f"request: {rows} texts to score; at most {limit} are accepted (--max-rows)")


def check_name(service: Service, request: requests.Request) -> None:
    """Checks the model's name in the path.

    Raises:
      RequestError: it is another model's.
    """
    name = request.path_params["name"]
    if name != service.name:
        raise RequestError(404, f"model = {rest.show(name)}: not found; the model here is {rest.show(service.name)}")


def find_version(service: Service, request: requests.Request) -> Version:
    """Returns the version that the path asks for.

    Raises:
      RequestError: it is not loaded.
    """
    version, asked = service.versions.current, request.path_params.get("version")
    if version is None:
        raise RequestError(503, f"model {rest.show(service.name)}: no version is loaded")
    if asked not in (None, str(version.number)):
        raise RequestError(404, f"version = {rest.show(asked)}: not loaded; the version in use is {version.number}")
    return version


def _encode(row: tuple[str, ...]) -> rest.Row:
    return tuple(text.encode() for text in row)
