"""The model server's part of the gate, against a small real server that is driven through the same client."""

import os
import time

import pytest

from artifacts.model_run import GoldenAnswers
from components.serving_validator import judge, model_server, process, request_set
from components.serving_validator.model_server import GRPC, REST, NotRun
from core.config import ServingGateConfig
from tests import model_server as small_server
from tests import saved_models
from tests.saved_models import TASK

ROWS = ["정말 좋은 영화였다".encode(), b"bad"]
IMAGE = "example/serving:1"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_models.save(str(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def requests():
    rows = [(row,) for row in ROWS]
    return request_set.build_requests(rows, rows)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """An empty folder that is the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return str(folder)


@pytest.fixture
def served(on_path, model, requests, monkeypatch):
    """Queries the small server, on PATH, with a fault."""

    def serve(fault, **bounds):
        small_server.install(on_path)
        monkeypatch.setenv(small_server.FAULT_VARIABLE, fault)
        return model_server.query_model_server(model, requests, ServingGateConfig(**bounds))

    return serve


@pytest.fixture(scope="module")
def server_check(model, requests):
    """Checks a server's responses for the good model; the fresh process runs once."""
    transcript = process.query_in_fresh_process(model, requests, ServingGateConfig())
    outputs = {name: values.tolist() for name, values in saved_models.predict(model, ROWS).items()}
    golden = GoldenAnswers([row.decode() for row in ROWS], outputs)

    def run_checks(served, **bounds):
        *others, check = judge.judge(transcript, [], served, golden, ServingGateConfig(**bounds), TASK)
        assert [other.check for other in others if not other.passed] == []
        return check

    return run_checks


def test_server_with_the_same_answers_over_both_transports(served, server_check, requests):
    result = served("")
    assert result.server == "tensorflow_model_server"
    assert list(result.transcripts) == [REST, GRPC]
    for transcript in result.transcripts.values():
        assert transcript.fault is None
        assert [r.name for r in transcript.requests] == [r.name for r in request_set.distinct(requests)]
        refused = [r.name for r, a in zip(transcript.requests, transcript.responses, strict=True) if a.error]
        assert {"a number instead of a text", "no input", "an unknown input"} <= set(refused)
        assert not {"batch of 0", "batch of 1,000", "NUL", "invalid UTF-8"} & set(refused)
    check = server_check(result)
    assert (check.check, check.passed, check.severity) == ("model_server", True, "fail")
    assert check.value <= 1e-5
    assert "over REST and gRPC and those of the fresh process differ by at most" in check.reason


def test_server_with_other_answers_over_one_transport(served, server_check):
    check = server_check(served("wrong"))
    assert (check.passed, check.value) == (False, pytest.approx(0.25, rel=1e-3))
    assert "over gRPC); over the limit of 1e-05" in check.reason


def test_server_that_crashes(served, server_check):
    check = server_check(served("crashes"))
    assert check.blocks
    assert "tensorflow_model_server over REST: the server was killed by SIGSEGV; last log lines: none" in check.reason
    assert "review 1 alone: ConnectionError" in check.reason


@pytest.mark.parametrize(
    "fault, bounds, words",
    [
        ("exits", {}, "the server exited with status 3"),
        ("deaf", {"startup_timeout_s": 1.0}, "did not serve the model within 1 s (gates.serving.startup_timeout_s)"),
        ("no_model", {}, "the server could not load the model: Op type not registered"),
    ],
)
def test_server_that_never_serves_the_model(served, server_check, fault, bounds, words):
    started_s = time.monotonic()
    check = server_check(served(fault, **bounds))
    assert check.blocks
    assert words in check.reason
    assert time.monotonic() - started_s < 30.0


def test_hanging_server_is_reported_with_the_request(served, server_check):
    check = server_check(served("hangs", answer_timeout_s=1.0))
    assert check.blocks
    assert (
        "not answer all requests within 1 s (gates.serving.answer_timeout_s); still waiting for 'review 1 alone'"
        in check.reason
    )


def test_no_server_is_installed(on_path, model, requests):
    result = model_server.query_model_server(model, requests, ServingGateConfig())
    assert result == NotRun("tensorflow_model_server is not on PATH, and neither is docker")


def test_docker_without_the_image(on_path, model, requests):
    small_server.install_docker(on_path, IMAGE)
    result = model_server.query_model_server(model, requests, ServingGateConfig(model_server_image="other:2"))
    assert result.reason.endswith("and docker can't find other:2: Error: No such image: other:2")


def test_image_in_docker_is_queried(on_path, model, requests, monkeypatch, server_check):
    small_server.install_docker(on_path, IMAGE)
    monkeypatch.setenv(small_server.FAULT_VARIABLE, "no_model")
    result = model_server.query_model_server(model, requests, ServingGateConfig(model_server_image=IMAGE))
    assert (
        "docker over REST: the server could not load the model: Op type not registered" in server_check(result).reason
    )


def test_switched_off(on_path, model, requests, monkeypatch, server_check):
    small_server.install(on_path)
    monkeypatch.setenv(small_server.FAULT_VARIABLE, "exits")
    result = model_server.query_model_server(model, requests, ServingGateConfig(model_server="off"))
    check = server_check(result)
    assert (check.passed, check.value, check.reason) == (True, "not run", "not run: gates.serving.model_server is off")


def test_off_in_yaml_is_off():
    assert ServingGateConfig(model_server=False).model_server == "off"


def test_no_files_are_left_of_a_server(served, tmp_path, monkeypatch):
    monkeypatch.setattr(model_server.tempfile, "tempdir", str(tmp_path))
    served("exits")
    assert os.listdir(tmp_path) == ["bin"]
