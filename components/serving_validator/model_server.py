"""Has a real TensorFlow Serving answer the same requests, over REST and gRPC, where this machine has one.

A server is a `tensorflow_model_server` on PATH, or else the configured image in a Docker daemon; nothing is downloaded.
"""

import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from typing import Any, Callable, Mapping, Optional, Sequence, Union

import grpc
import numpy as np
import portpicker
import requests as http
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tfx.utils import io_utils

from components.serving_validator import process, request_set
from components.serving_validator.answers import Answer, Output, Response
from components.serving_validator.request_set import Request
from core import progress
from core.config import ServingGateConfig

BINARY = "tensorflow_model_server"
REST = "REST"
GRPC = "gRPC"

_MODEL = "candidate"
# Ports inside a container, where nobody else wants them.
_GRPC_PORT, _REST_PORT = 8500, 8501
_POLL_S = 0.3
_STATUS_TIMEOUT_S = 5.0
_DOCKER_TIMEOUT_S = 20.0
# How long after its last words a dead server is seen to be dead.
_ENDING_S = 3.0
_LONGEST_ERROR = 300
# A time-out has to be more than nothing.
_LEAST_S = 0.1

# Sends inputs, waits so many seconds at most, returns the outputs; any exception is the answer.
Ask = Callable[[Mapping[str, Any], float], Mapping[str, Output]]


@dataclasses.dataclass(frozen=True)
class NotRun:
    """No model server was asked.

    Attributes:
      reason: why, a sentence without its full stop.
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class Served:
    """What a model server said.

    Attributes:
      server: which one, for a person.
      answers: by transport; `loaded` is false where it never served the model.
    """

    server: str
    answers: Mapping[str, Answer]


class ServerRefused(Exception):
    """The server answered with an error; its text is the server's."""


def ask_model_server(model_path: str, requests: Sequence[Request], bounds: ServingGateConfig) -> Union[NotRun, Served]:
    """Starts a model server on a copy of the model and asks it, each request over REST and over gRPC.

    Args:
      model_path: folder of the SavedModel.
      requests: what to ask; those that differ in timing only are asked once.
      bounds: whether to ask at all, the image, and the time limits: `answer_timeout_s` for each transport.

    Returns:
      Whatever answers there are; a server that fails, crashes or hangs raises nothing.
    """
    if bounds.model_server == "off":
        return NotRun("gates.serving.model_server is off")
    with tempfile.TemporaryDirectory(prefix="serving-validator-") as folder:
        base, log = os.path.join(folder, "models"), os.path.join(folder, "log.txt")
        grpc_port, rest_port = portpicker.pick_unused_port(), portpicker.pick_unused_port()
        command = _command(base, grpc_port, rest_port, bounds)
        if isinstance(command, NotRun):
            return command
        # A server watches a folder of versions.
        io_utils.copy_dir(model_path, os.path.join(base, "1"))
        with process.guarded(command, log) as server:
            answers = _answers(server, grpc_port, rest_port, request_set.distinct(requests), bounds)
        told = {
            transport: dataclasses.replace(answer, fault=f"{answer.fault}; its last words: {process.last_words(log)}")
            for transport, answer in answers.items()
            if answer.fault
        }
        return Served(os.path.basename(command[0]), {**answers, **told})


def _command(base: str, grpc_port: int, rest_port: int, bounds: ServingGateConfig) -> Union[list[str], NotRun]:
    """The command that serves the models in a folder on two ports of this machine, or why there is none."""
    flags = [
        f"--model_name={_MODEL}",
        # A model that can't be loaded is told at once, not after five more tries of a minute each.
        "--max_num_load_retries=0",
        # Its own limit is 30 s; ours is kept here.
        f"--rest_api_timeout_in_ms={round(bounds.answer_timeout_s * 1000)}",
    ]
    binary = shutil.which(BINARY)
    if binary:
        return [binary, f"--port={grpc_port}", f"--rest_api_port={rest_port}", f"--model_base_path={base}", *flags]
    missing = _missing_image(bounds.model_server_image)
    if missing:
        return NotRun(f"there is no {BINARY} on PATH, and {missing}")
    inside = f"/models/{_MODEL}"
    return [
        # `init`: the first process of a container ignores SIGTERM unless one is there that does not.
        *("docker", "run", "--rm", "--init", "--pull=never", "--entrypoint", BINARY),
        *("-p", f"127.0.0.1:{grpc_port}:{_GRPC_PORT}", "-p", f"127.0.0.1:{rest_port}:{_REST_PORT}"),
        *("-v", f"{base}:{inside}:ro", bounds.model_server_image),
        *(f"--port={_GRPC_PORT}", f"--rest_api_port={_REST_PORT}", f"--model_base_path={inside}", *flags),
    ]


def _missing_image(image: str) -> Optional[str]:
    """Why Docker can't run the image, or None where it can."""
    try:
        command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return "no docker either"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker can't be asked: {_brief(error)}"
    return f"docker has no {image}: {' '.join(done.stderr.split())[:_LONGEST_ERROR]}" if done.returncode else None


def _answers(
    server: subprocess.Popen, grpc_port: int, rest_port: int, requests: Sequence[Request], bounds: ServingGateConfig
) -> dict[str, Answer]:
    url = f"http://127.0.0.1:{rest_port}/v1/models/{_MODEL}"
    # No proxy of the environment's stands between two processes of one machine.
    options = [("grpc.enable_http_proxy", 0)]
    with http.Session() as session, grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options) as channel:
        session.trust_env = False
        fault = _await_ready(server, session, url, bounds.startup_timeout_s)
        if fault:
            return {transport: Answer([], [], loaded=False, fault=fault) for transport in (REST, GRPC)}
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        asks = {REST: _rest(session, url), GRPC: _grpc(stub)}
        return {
            transport: _ask_all(
                server, ask, requests, bounds.answer_timeout_s, f"asking the model server by {transport}"
            )
            for transport, ask in asks.items()
        }


def _await_ready(server: subprocess.Popen, session: http.Session, url: str, timeout_s: float) -> Optional[str]:
    """Waits until the model is served; returns what happened instead, or None."""
    deadline_s = time.monotonic() + timeout_s
    while server.poll() is None:
        state, message = _state(session, url)
        if state == "AVAILABLE":
            return None
        if state == "END":
            return f"the server could not load the model: {message}"
        if time.monotonic() > deadline_s:
            return f"the server did not serve the model after {timeout_s:g} s (gates.serving.startup_timeout_s)"
        time.sleep(_POLL_S)
    return _ending(server)


def _state(session: http.Session, url: str) -> tuple[Optional[str], str]:
    """The state of the one version, as TensorFlow Serving names it, and the message with it."""
    try:
        (version,) = session.get(url, timeout=_STATUS_TIMEOUT_S).json()["model_version_status"]
        return version["state"], version["status"]["error_message"]
    except (http.RequestException, KeyError, ValueError):
        return None, ""


def _ask_all(server: subprocess.Popen, ask: Ask, requests: Sequence[Request], timeout_s: float, stage: str) -> Answer:
    deadline_s = time.monotonic() + timeout_s
    responses: list[Response] = []
    fault = None
    for request in requests:
        progress.report(stage, len(responses), len(requests))
        responses.append(_response(ask, request, max(deadline_s - time.monotonic(), _LEAST_S)))
        if responses[-1].fatal:
            fault = _loss(server)
        elif time.monotonic() > deadline_s:
            limit = f"{timeout_s:g} s (gates.serving.answer_timeout_s)"
            fault = f"the server had not answered all requests after {limit}, but was at {request.name!r}"
        if fault:
            break
    return Answer(requests, [*responses, *[None] * (len(requests) - len(responses))], fault=fault)


def _response(ask: Ask, request: Request, timeout_s: float) -> Response:
    try:
        return Response(ask(request.inputs, timeout_s))
    except http.ConnectionError as error:
        return Response(error=_brief(error), fatal=True)
    except grpc.RpcError as error:
        return Response(error=_brief(error), fatal=error.code() == grpc.StatusCode.UNAVAILABLE)
    except (ServerRefused, http.RequestException, KeyError, ValueError) as error:
        return Response(error=_brief(error))


def _loss(server: subprocess.Popen) -> str:
    """What became of a server that broke the connection."""
    try:
        server.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        return "the server broke the connection"
    return _ending(server)


def _rest(session: http.Session, url: str) -> Ask:
    def ask(inputs: Mapping[str, Any], timeout_s: float) -> Mapping[str, Output]:
        answer = session.post(f"{url}:predict", json={"inputs": request_set.as_json(inputs)}, timeout=timeout_s)
        content = answer.json()
        if "error" in content:
            raise ServerRefused(content["error"])
        # JSON tells no type, and no shape of what is empty but that.
        return {name: Output("", np.array(values, np.float64)) for name, values in content["outputs"].items()}

    return ask


def _grpc(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> Ask:
    def ask(inputs: Mapping[str, Any], timeout_s: float) -> Mapping[str, Output]:
        message = predict_pb2.PredictRequest()
        message.model_spec.name = _MODEL
        for name, value in inputs.items():
            message.inputs[name].CopyFrom(_tensor_proto(value))
        outputs = stub.Predict(message, timeout=timeout_s).outputs
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}
        return {name: Output(array.dtype.name, array.astype(np.float64)) for name, array in arrays.items()}

    return ask


def _tensor_proto(value: Any) -> Any:
    """float32 for numbers, string for all else, an empty list among it."""
    array = np.array(value, object)
    numbers = any(isinstance(item, float) for item in array.ravel())
    return tf.make_tensor_proto(value, tf.float32 if numbers else tf.string, array.shape)


def _ending(server: subprocess.Popen) -> str:
    return f"the server {process.describe_exit(server.returncode) or 'ended'}"


def _brief(error: Exception) -> str:
    # The whole of an error of gRPC's is a page of debugging.
    text = error.details() if isinstance(error, grpc.Call) else str(error)
    return f"{type(error).__name__}: {' '.join((text or '').split())[:_LONGEST_ERROR]}"
