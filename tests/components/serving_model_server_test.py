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
    return request_set.build_requests(ROWS, ROWS)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """An empty folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return str(folder)


@pytest.fixture
def served(on_path, model, requests, monkeypatch):
    """Asks the small server, on PATH, that has a fault."""

    def serve(fault, **bounds):
        small_server.install(on_path)
        monkeypatch.setenv(small_server.FAULT_VARIABLE, fault)
        return model_server.ask_model_server(model, requests, ServingGateConfig(**bounds))

    return serve


@pytest.fixture(scope="module")
def verdict(model, requests):
    """Judges what a server said of the good model; the fresh process is asked once."""
    answer = process.ask_in_fresh_process(model, requests, ServingGateConfig())
    outputs = {name: values.tolist() for name, values in saved_models.ask(model, ROWS).items()}
    golden = GoldenAnswers([row.decode() for row in ROWS], outputs)

    def judged(served, **bounds):
        *others, check = judge.judge(answer, [], served, golden, ServingGateConfig(**bounds), TASK)
        assert [other.check for other in others if not other.passed] == []
        return check

    return judged


def test_server_that_answers_alike_over_both_transports(served, verdict, requests):
    answered = served("")
    assert answered.server == "tensorflow_model_server"
    assert list(answered.answers) == [REST, GRPC]
    for answer in answered.answers.values():
        assert answer.fault is None
        assert [r.name for r in answer.requests] == [r.name for r in request_set.distinct(requests)]
        refused = [r.name for r, a in zip(answer.requests, answer.responses, strict=True) if a.error]
        assert {"a number for a text", "no input", "an input of another name"} <= set(refused)
        assert not {"batch of 0", "batch of 1,000", "NUL", "invalid UTF-8"} & set(refused)
    check = verdict(answered)
    assert (check.check, check.passed, check.severity) == ("model_server", True, "fail")
    assert check.value <= 1e-5
    assert "answers over REST and gRPC and the fresh process's differ by" in check.reason


def test_server_that_answers_otherwise_over_one_transport(served, verdict):
    check = verdict(served("wrong"))
    assert (check.passed, check.value) == (False, pytest.approx(0.25, rel=1e-3))
    assert "over gRPC); more than 1e-05 allows" in check.reason


def test_server_that_crashes(served, verdict):
    check = verdict(served("crashes"))
    assert check.blocks
    assert "tensorflow_model_server over REST: the server was ended by SIGSEGV; its last words: none" in check.reason
    assert "review 1 alone: ConnectionError" in check.reason


@pytest.mark.parametrize(
    "fault, bounds, told",
    [
        ("exits", {}, "the server ended with exit status 3"),
        ("deaf", {"startup_timeout_s": 1.0}, "did not serve the model after 1 s (gates.serving.startup_timeout_s)"),
        ("no_model", {}, "the server could not load the model: Op type not registered"),
    ],
)
def test_server_that_never_serves_the_model(served, verdict, fault, bounds, told):
    started_s = time.monotonic()
    check = verdict(served(fault, **bounds))
    assert check.blocks
    assert told in check.reason
    assert time.monotonic() - started_s < 30.0


def test_server_that_hangs_is_named_with_the_request(served, verdict):
    check = verdict(served("hangs", answer_timeout_s=1.0))
    assert check.blocks
    assert (
        "answered all requests after 1 s (gates.serving.answer_timeout_s), but was at 'review 1 alone'" in check.reason
    )


def test_no_server_here(on_path, model, requests):
    answered = model_server.ask_model_server(model, requests, ServingGateConfig())
    assert answered == NotRun("there is no tensorflow_model_server on PATH, and no docker either")


def test_docker_without_the_image(on_path, model, requests):
    small_server.install_docker(on_path, IMAGE)
    answered = model_server.ask_model_server(model, requests, ServingGateConfig(model_server_image="other:2"))
    assert answered.reason.endswith("and docker has no other:2: Error: No such image: other:2")


def test_image_in_docker_is_asked(on_path, model, requests, monkeypatch, verdict):
    small_server.install_docker(on_path, IMAGE)
    monkeypatch.setenv(small_server.FAULT_VARIABLE, "no_model")
    answered = model_server.ask_model_server(model, requests, ServingGateConfig(model_server_image=IMAGE))
    assert "docker over REST: the server could not load the model: Op type not registered" in verdict(answered).reason


def test_switched_off(on_path, model, requests, monkeypatch, verdict):
    small_server.install(on_path)
    monkeypatch.setenv(small_server.FAULT_VARIABLE, "exits")
    answered = model_server.ask_model_server(model, requests, ServingGateConfig(model_server="off"))
    check = verdict(answered)
    assert (check.passed, check.value, check.reason) == (True, "not run", "not run: gates.serving.model_server is off")


def test_off_in_yaml_is_off():
    assert ServingGateConfig(model_server=False).model_server == "off"


def test_nothing_is_left_of_a_server(served, tmp_path, monkeypatch):
    monkeypatch.setattr(model_server.tempfile, "tempdir", str(tmp_path))
    served("exits")
    assert os.listdir(tmp_path) == ["bin"]
