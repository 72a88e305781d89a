#!/usr/bin/env python3
"""Starts a Python worker on a host of Flink or Spark, without a container of Beam's SDK.

It fetches what was staged with the job, unpacks this package, and becomes Beam's Python worker. Its arguments are those
of the SDK container's entry (`--id`, `--provision_endpoint`, ...).
"""

import argparse
import functools
import glob
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import types
import zipfile

# As a script, Python finds the modules beside this file first; and the package comes with the job.
sys.path = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]

# Before the first TensorFlow import: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

_PREFIX = "beam-worker-"
# Beam stages it with the names of the packages in their order.
_PACKAGES = "extra_packages.txt"


def main() -> None:
    """Serves one runner until it ends or stops this process."""
    options, _ = _parser().parse_known_args()
    _remove_leftovers()
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    # Flink ends its workers by this signal, and soon after by SIGKILL.
    signal.signal(signal.SIGTERM, lambda *_: _end(folder))
    try:
        _run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # Without waiting for the threads, as `sys.exit` would.
    os._exit(0)


def _run(options: argparse.Namespace, folder: str) -> None:
    import grpc
    from apache_beam.portability.api.org.apache.beam.model.fn_execution.v1 import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
    )
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(options.provision_endpoint, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = stub.GetProvisionInfo(request, metadata=[("worker_id", options.id)]).info
    sys.path[:0] = _unpack(_fetch(info, options, folder), folder)
    endpoints = {
        "CONTROL": (info.control_endpoint, options.control_endpoint),
        "LOGGING": (info.logging_endpoint, options.logging_endpoint),
    }
    for name, (endpoint, url) in endpoints.items():
        endpoint.url = endpoint.url or url
        os.environ[f"{name}_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(endpoint)
    os.environ.update(
        WORKER_ID=options.id,
        PIPELINE_OPTIONS=json_format.MessageToJson(info.pipeline_options),
        RUNNER_CAPABILITIES=" ".join(info.runner_capabilities),
        SEMI_PERSISTENT_DIRECTORY=folder,
    )
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])


def _fetch(info, options: argparse.Namespace, folder: str) -> "dict[str, str]":
    """Downloads the staged files; returns the path of each by its name."""
    import grpc
    from apache_beam.portability.api.org.apache.beam.model.job_management.v1 import beam_artifact_api_pb2_grpc
    from apache_beam.portability.api.org.apache.beam.model.pipeline.v1 import beam_runner_api_pb2
    from apache_beam.runners.portability import artifact_service

    staged = os.path.join(folder, "staged")
    os.makedirs(staged)
    address = info.artifact_endpoint.url or options.artifact_endpoint
    paths = {}
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel)
        caller = {"metadata": [("worker_id", options.id)]}
        service = types.SimpleNamespace(
            ResolveArtifacts=functools.partial(stub.ResolveArtifacts, **caller),
            GetArtifact=functools.partial(stub.GetArtifact, **caller),
        )
        for artifact in artifact_service.resolve_artifacts(info.dependencies, service, staged):
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
            file = beam_runner_api_pb2.ArtifactFilePayload.FromString(artifact.type_payload)
            paths[role.staged_name] = file.path
    return paths


def _unpack(files: "dict[str, str]", folder: str) -> "list[str]":
    """Unpacks the staged packages; returns their folders."""
    if _PACKAGES not in files:
        return []
    with open(files[_PACKAGES], encoding="utf-8") as stream:
        names = stream.read().split()
    folders = []
    for number, name in enumerate(names):
        target = os.path.join(folder, "packages", str(number))
        os.makedirs(target)
        if zipfile.is_zipfile(files[name]):
            with zipfile.ZipFile(files[name]) as archive:
                archive.extractall(target)
        else:
            with tarfile.open(files[name]) as archive:
                archive.extractall(target)
        folders.append(target)
    return folders


def _remove_leftovers() -> None:
    """Removes the folders of workers that were killed."""
    for folder in glob.glob(os.path.join(tempfile.gettempdir(), f"{_PREFIX}*-*")):
        pid = os.path.basename(folder).removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--id", required=True, help="id of the worker")
    parser.add_argument("--provision_endpoint", required=True, help="where to ask what to do")
    for name in ("control", "logging", "artifact"):
        parser.add_argument(f"--{name}_endpoint", default="", help="used if the provision service names none")
    return parser


if __name__ == "__main__":
    main()
