"""Sends the same requests to a real TensorFlow Serving, over REST and gRPC, if this machine has one.

The server is a `tensorflow_model_server` on PATH, or else the configured image in Docker; nothing is downloaded.
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
from components.serving_validator.answers import Output, Response, Transcript, as_values
from components.serving_validator.request_set import Request
from core import progress
from core.config import ServingGateConfig

BINARY = "tensorflow_model_server"
REST = "REST"
GRPC = "gRPC"

_MODEL = "candidate"
# Ports inside the container.
_GRPC_PORT, _REST_PORT = 8500, 8501
_POLL_S = 0.3
_STATUS_TIMEOUT_S = 5.0
_DOCKER_TIMEOUT_S = 20.0
# How long to wait for a server to exit after a broken connection.
_EXIT_S = 3.0
_LONGEST_ERROR = 300
# A timeout must be positive.
_LEAST_S = 0.1

# Sends inputs, with a timeout in seconds, and returns the outputs.
Predict = Callable[[Mapping[str, Any], float], Mapping[str, Output]]


@dataclasses.dataclass(frozen=True)
class NotRun:
    """No model server was queried.

    Attributes:
      reason: why not.
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class Served:
    """The responses of a model server.

    Attributes:
      server: name of its executable.
      transcripts: by transport; `loaded` is false if the server did not serve the model.
    """

    server: str
    transcripts: Mapping[str, Transcript]


class ServerError(Exception):
    """An error response of the server, with its message."""


def query_model_server(
    model_path: str, requests: Sequence[Request], bounds: ServingGateConfig
) -> Union[NotRun, Served]:
    """Starts a model server on a copy of the model and sends it each request over REST and over gRPC.

    Args:
      model_path: folder of the SavedModel.
      requests: the requests; those that differ in timing only are sent once.
      bounds: whether to query a server at all, the image, and time limits (`answer_timeout_s` for each transport).

    Returns:
      All responses received; a server that fails, crashes or hangs raises no error.
    """
    if bounds.model_server == "off":
        return NotRun("gates.serving.model_server is off")
    with tempfile.TemporaryDirectory(prefix="serving-validator-") as folder:
        base, log = os.path.join(folder, "models"), os.path.join(folder, "log.txt")
        grpc_port, rest_port = portpicker.pick_unused_port(), portpicker.pick_unused_port()
        command = _command(base, grpc_port, rest_port, bounds)
        if isinstance(command, NotRun):
            return command
        io_utils.copy_dir(model_path, os.path.join(base, "1"))
        with process.guarded(command, log) as server:
            transcripts = _query(server, grpc_port, rest_port, request_set.distinct(requests), bounds)
        with_log = {
            transport: dataclasses.replace(each, fault=f"{each.fault}; last log lines: {process.last_lines(log)}")
            for transport, each in transcripts.items()
            if each.fault
        }
        return Served(os.path.basename(command[0]), {**transcripts, **with_log})


def _command(base: str, grpc_port: int, rest_port: int, bounds: ServingGateConfig) -> Union[list[str], NotRun]:
    """Returns the command that serves the models in a folder on two ports of this machine, or why it can't."""
    flags = [
        f"--model_name={_MODEL}",
        # Report a model that can't be loaded at once, not after five retries of a minute each.
        "--max_num_load_retries=0",
        # Its default is 30 s; the client enforces our limit.
        f"--rest_api_timeout_in_ms={round(bounds.answer_timeout_s * 1000)}",
    ]
    binary = shutil.which(BINARY)
    if binary:
        return [binary, f"--port={grpc_port}", f"--rest_api_port={rest_port}", f"--model_base_path={base}", *flags]
    missing = _missing_image(bounds.model_server_image)
    if missing:
        return NotRun(f"{BINARY} is not on PATH, and {missing}")
    inside = f"/models/{_MODEL}"
    return [
        # Without `--init`, the first process of a container ignores SIGTERM.
        *("docker", "run", "--rm", "--init", "--pull=never", "--entrypoint", BINARY),
        *("-p", f"127.0.0.1:{grpc_port}:{_GRPC_PORT}", "-p", f"127.0.0.1:{rest_port}:{_REST_PORT}"),
        *("-v", f"{base}:{inside}:ro", bounds.model_server_image),
        *(f"--port={_GRPC_PORT}", f"--rest_api_port={_REST_PORT}", f"--model_base_path={inside}", *flags),
    ]


def _missing_image(image: str) -> Optional[str]:
    """Returns why Docker can't run the image, or None if it can."""
    try:
        command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return "neither is docker"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker failed: {_brief(error)}"
    return f"docker can't find {image}: {' '.join(done.stderr.split())[:_LONGEST_ERROR]}" if done.returncode else None


def _query(
    server: subprocess.Popen, grpc_port: int, rest_port: int, requests: Sequence[Request], bounds: ServingGateConfig
) -> dict[str, Transcript]:
    url = f"http://127.0.0.1:{rest_port}/v1/models/{_MODEL}"
    # Both ends are on this machine; ignore the environment's proxies.
    options = [("grpc.enable_http_proxy", 0)]
    with http.Session() as session, grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options) as channel:
        session.trust_env = False
        fault = _await_ready(server, session, url, bounds.startup_timeout_s)
        if fault:
            return {transport: Transcript([], [], loaded=False, fault=fault) for transport in (REST, GRPC)}
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        clients = {REST: _rest(session, url), GRPC: _grpc(stub)}
        return {
            transport: _predict_all(
                server, predict, requests, bounds.answer_timeout_s, f"querying the model server over {transport}"
            )
            for transport, predict in clients.items()
        }


def _await_ready(server: subprocess.Popen, session: http.Session, url: str, timeout_s: float) -> Optional[str]:
    """Waits until the model is served; returns what went wrong, or None."""
    deadline_s = time.monotonic() + timeout_s
    while server.poll() is None:
        state, message = _state(session, url)
        if state == "AVAILABLE":
            return None
        if state == "END":
            return f"the server could not load the model: {message}"
        if time.monotonic() > deadline_s:
            return f"the server did not serve the model within {timeout_s:g} s (gates.serving.startup_timeout_s)"
        time.sleep(_POLL_S)
    return _describe_end(server)


def _state(session: http.Session, url: str) -> tuple[Optional[str], str]:
    """Returns the version's state as TensorFlow Serving names it, and its error message."""
    try:
        (version,) = session.get(url, timeout=_STATUS_TIMEOUT_S).json()["model_version_status"]
        return version["state"], version["status"]["error_message"]
    except (http.RequestException, KeyError, ValueError):
        return None, ""


def _predict_all(
    server: subprocess.Popen, predict: Predict, requests: Sequence[Request], timeout_s: float, stage: str
) -> Transcript:
    deadline_s = time.monotonic() + timeout_s
    responses: list[Optional[Response]] = []
    fault = None
    for request in requests:
        progress.report(stage, len(responses), len(requests))
        response = _response(predict, request, max(deadline_s - time.monotonic(), _LEAST_S))
        responses.append(response)
        if response.fatal:
            fault = _describe_broken_connection(server)
        elif time.monotonic() > deadline_s:
            limit = f"{timeout_s:g} s (gates.serving.answer_timeout_s)"
            fault = f"the server did not answer all requests within {limit}; still waiting for {request.name!r}"
        if fault:
            break
    return Transcript(requests, [*responses, *[None] * (len(requests) - len(responses))], fault=fault)


def _response(predict: Predict, request: Request, timeout_s: float) -> Response:
    try:
        return Response(predict(request.inputs, timeout_s))
    except http.ConnectionError as error:
        return Response(error=_brief(error), fatal=True)
    except grpc.RpcError as error:
        return Response(error=_brief(error), fatal=error.code() == grpc.StatusCode.UNAVAILABLE)
    except (ServerError, http.RequestException, KeyError, ValueError) as error:
        return Response(error=_brief(error))


def _describe_broken_connection(server: subprocess.Popen) -> str:
    """Describes why the connection to the server broke."""
    try:
        server.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        return "the server closed the connection"
    return _describe_end(server)


def _rest(session: http.Session, url: str) -> Predict:
    def predict(inputs: Mapping[str, Any], timeout_s: float) -> Mapping[str, Output]:
        answer = session.post(f"{url}:predict", json={"inputs": request_set.as_json(inputs)}, timeout=timeout_s)
        content = answer.json()
        if "error" in content:
            raise ServerError(content["error"])
        # JSON has no types, and the shape of any empty array is [0].
        return {name: Output("", as_values(values)) for name, values in content["outputs"].items()}

    return predict


def _grpc(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> Predict:
    def predict(inputs: Mapping[str, Any], timeout_s: float) -> Mapping[str, Output]:
        message = predict_pb2.PredictRequest()
        message.model_spec.name = _MODEL
        for name, value in inputs.items():
            message.inputs[name].CopyFrom(_tensor_proto(value))
        outputs = stub.Predict(message, timeout=timeout_s).outputs
        return {
            name: Output(tf.as_dtype(tensor.dtype).name, as_values(tf.make_ndarray(tensor)))
            for name, tensor in outputs.items()
        }

    return predict


def _tensor_proto(value: Any) -> Any:
    """Converts numbers to float32, anything else, including an empty list, to string."""
    array = np.array(value, object)
    numbers = any(isinstance(item, float) for item in array.ravel())
    return tf.make_tensor_proto(value, tf.float32 if numbers else tf.string, array.shape)


def _describe_end(server: subprocess.Popen) -> str:
    return f"the server {process.describe_exit(server.returncode) or 'exited'}"


def _brief(error: Exception) -> str:
    # `str` of a gRPC error is a page of debugging information.
    text = error.details() if isinstance(error, grpc.Call) else str(error)
    return f"{type(error).__name__}: {' '.join((text or '').split())[:_LONGEST_ERROR]}"
