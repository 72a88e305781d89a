"""A small model server with TensorFlow Serving's interfaces, for tests: run as a script, or installed on PATH.

It accepts the flags that the gate passes, serves `<model_base_path>/1` over REST and gRPC with the real messages, and
fails on demand: see `FAULTS`.
"""

import argparse
import base64
import http.server
import json
import os
import signal
import sys
import threading
import time
from concurrent import futures

# How the server fails, from the environment variable `MODEL_SERVER_FAULT`.
FAULTS = {
    "exits": "at the start, with status 3",
    "deaf": "never listens",
    "no_model": "reports that the model can't be loaded",
    "crashes": "dies of SIGSEGV at the first prediction",
    "hangs": "never answers a prediction",
    "wrong": "returns wrong numbers over gRPC",
}
FAULT_VARIABLE = "MODEL_SERVER_FAULT"

_DOCKER = """#!{python}
# A fake docker: has the image below, and runs it as a local process.
import os, sys
words = sys.argv[1:]
if words[:2] == ["image", "inspect"]:
    sys.exit(None if words[-1] == {image!r} else "Error: No such image: " + words[-1])
ports = dict(reversed(words[i + 1].split(":")[1:]) for i, word in enumerate(words) if word == "-p")
(volume,) = [words[i + 1].split(":") for i, word in enumerate(words) if word == "-v"]
flags = dict(word.split("=") for word in words[words.index({image!r}) + 1:])
assert volume[2] == "ro" and flags["--model_base_path"] == volume[1], words
flags.update({{"--port": ports[flags["--port"]], "--rest_api_port": ports[flags["--rest_api_port"]]}})
flags["--model_base_path"] = volume[0]
os.execv({python!r}, [{python!r}, {script!r}, *("=".join(flag) for flag in flags.items())])
"""


def install(folder: str) -> None:
    """Writes a `tensorflow_model_server` into a folder."""
    _write_script(
        os.path.join(folder, "tensorflow_model_server"), f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n'
    )


def install_docker(folder: str, image: str) -> None:
    """Writes a `docker` into a folder whose only image is this server."""
    _write_script(os.path.join(folder, "docker"), _DOCKER.format(python=sys.executable, script=__file__, image=image))


def main(fault: str) -> None:
    """Serves until the process is ended."""
    parser = argparse.ArgumentParser()
    for flag in ("port", "rest_api_port", "max_num_load_retries", "rest_api_timeout_in_ms"):
        parser.add_argument(f"--{flag}", type=int, required=True)
    for flag in ("model_name", "model_base_path"):
        parser.add_argument(f"--{flag}", required=True)
    flags = parser.parse_args()
    if fault == "exits":
        sys.exit(3)
    if fault == "deaf":
        time.sleep(600)
    model = _Model(os.path.join(flags.model_base_path, "1"), fault)
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", flags.rest_api_port), _rest_handler(model, flags.model_name))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    if fault in ("", "wrong"):
        model.load()
        _serve_grpc(model, flags.port, flags.model_name)
    model.state = "END" if fault == "no_model" else "AVAILABLE"
    threading.Event().wait()


class _Model:
    def __init__(self, path, fault):
        if not os.path.exists(os.path.join(path, "saved_model.pb")):
            sys.exit(f"No versions of servable found under base path {path}")
        self.path, self.fault, self.state = path, fault, "LOADING"

    def load(self):
        """Loads the model; imports TensorFlow here, because most faults don't need it."""
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        self._tf, self._model = tf, tf.saved_model.load(self.path)

    def rest(self, inputs):
        """Arrays, by output name, for the inputs of a REST request."""
        self._fail()
        texts = [base64.b64decode(value["b64"]) for value in inputs["text"]]
        return self._answer({"text": self._tf.constant(texts, self._tf.string)})

    def grpc(self, inputs):
        """Tensor messages, by output name, for those of a gRPC request."""
        self._fail()
        tensors = {name: self._tf.constant(self._tf.make_ndarray(tensor)) for name, tensor in inputs.items()}
        if not tensors["text"].shape[0]:
            tensors["text"] = self._tf.constant([], self._tf.string)
        arrays = self._answer(tensors)
        if self.fault == "wrong":
            arrays["logit"] = arrays["logit"] + 0.25
        return {name: self._tf.make_tensor_proto(array) for name, array in arrays.items()}

    def _fail(self):
        if self.fault == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault in ("crashes", "hangs"):
            # The signal may be delivered to another thread; don't continue in this one.
            time.sleep(600)

    def _answer(self, inputs):
        return {name: t.numpy() for name, t in self._model.signatures["serving_default"](**inputs).items()}


def _rest_handler(model, name):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            assert self.path == f"/v1/models/{name}", self.path
            status = {"error_code": "OK", "error_message": "Op type not registered" if model.state == "END" else ""}
            self._send(200, {"model_version_status": [{"version": "1", "state": model.state, "status": status}]})

        def do_POST(self):
            assert self.path == f"/v1/models/{name}:predict", self.path
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                arrays = model.rest(request["inputs"])
            except Exception as error:  # As in TensorFlow Serving: errors become responses.
                self._send(400, {"error": str(error)})
            else:
                self._send(200, {"outputs": {name: _as_json(array) for name, array in arrays.items()}})

        def _send(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    return Handler


def _as_json(array):
    """As TensorFlow Serving: strings are UTF-8."""
    return [word.decode() for word in array] if array.dtype == object else array.tolist()


def _serve_grpc(model, port, name):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != name:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
            response = predict_pb2.PredictResponse()
            try:
                outputs = model.grpc(request.inputs)
            except Exception as error:  # As above.
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            for output, tensor in outputs.items():
                response.outputs[output].CopyFrom(tensor)
            return response

    unlimited = [("grpc.max_receive_message_length", -1)]
    model.server = grpc.server(futures.ThreadPoolExecutor(4), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), model.server)
    model.server.add_insecure_port(f"127.0.0.1:{port}")
    model.server.start()


def _write_script(path, content):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(content)
    os.chmod(path, 0o755)


if __name__ == "__main__":
    main(os.environ.get(FAULT_VARIABLE, ""))
