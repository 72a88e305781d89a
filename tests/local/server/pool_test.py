"""Workers that die are replaced, and lose no request; one that kills them is given up."""

import concurrent.futures
import os
import signal
import threading
import time

import psutil
import pytest
import requests

from local.server import pool
from tests import servers


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory):
    return servers.save(tmp_path_factory.mktemp("model") / "7")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(pool, "_FIRST_PAUSE_S", 0.01)


def processes(server):
    """The ids of the workers' processes that have started."""
    return [each.pid for each in server.service.versions.current.pool._started]


def live(server):
    return server.service.versions.current.pool.live


def metric(server, name):
    (line,) = (line for line in server.get("/metrics").text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def test_killed_workers_lose_no_request_and_are_replaced(model):
    answers, stop = [], threading.Event()

    def call():
        with requests.Session() as session:
            while not stop.is_set():
                response = session.post(f"{server.address}/v1/models/tiny:predict", json={"instances": ["good"]})
                answers.append((response.status_code, response.json()))

    with servers.running(model, workers=2) as server, concurrent.futures.ThreadPoolExecutor(8) as threads:
        servers.wait_until(lambda: live(server) == 2)
        callers = [threads.submit(call) for _ in range(8)]
        killed = []
        try:
            for _ in range(2):
                before = len(answers)
                servers.wait_until(lambda before=before: len(answers) > before + 20)
                killed.append(processes(server)[0])
                os.kill(killed[-1], signal.SIGKILL)
                servers.wait_until(lambda: killed[-1] not in processes(server) and live(server) == 2)
        finally:
            stop.set()
        for caller in callers:
            caller.result()
        assert metric(server, "reviews_worker_restarts_total") == 2 and metric(server, "reviews_workers") == 2
        assert not set(killed) & set(processes(server))
    assert {status for status, _ in answers} == {200}
    assert {content["predictions"][0]["label"] for _, content in answers} == {1}
    assert server.reports == [f"worker {pid} was killed by SIGKILL; another takes its place" for pid in killed]


def test_a_request_that_kills_workers_is_given_up_and_those_beside_it_are_answered(model):
    with servers.running(model) as server, concurrent.futures.ThreadPoolExecutor(3) as threads:
        with servers.held(server):
            texts = ("good", servers.DEADLY, "bad")
            calls = [threads.submit(server.post, "predict", {"instances": [text]}) for text in texts]
            servers.wait_until(lambda: server.service.batcher.rows == 3)
        good, deadly, bad = (call.result() for call in calls)
        assert good.json()["predictions"][0]["label"] == 1 and bad.json()["predictions"][0]["label"] == 0
        assert deadly.status_code == 500
        assert deadly.json() == {"error": "the model failed: 2 workers died of this request"}
        # Twice in its batch (unless it was computed before the others came), twice alone.
        servers.wait_until(lambda: metric(server, "reviews_worker_restarts_total") in (2, 4))
        assert "was killed by SIGABRT; another takes its place" in server.reports[0]


def test_without_a_worker_it_is_not_ready_and_requests_wait(model, monkeypatch):
    monkeypatch.setattr(pool, "_FIRST_PAUSE_S", 4.0)
    with servers.running(model) as server, concurrent.futures.ThreadPoolExecutor(1) as threads:
        servers.wait_until(lambda: live(server))
        os.kill(processes(server)[0], signal.SIGKILL)
        servers.wait_until(lambda: not live(server))
        waiting = threads.submit(server.post, "predict", {"instances": ["good"]})
        response = server.get("/healthz/ready")
        assert response.status_code == 503
        assert response.json() == {"status": "no worker is running; requests wait for the next"}
        assert server.get("/healthz/live").status_code == 200
        assert waiting.result().status_code == 200 and server.get("/healthz/ready").status_code == 200


def test_a_worker_that_hangs_is_killed(model, monkeypatch):
    monkeypatch.setattr(pool, "_GRACE_S", 0.0)
    with servers.running(model, timeout_s=0.5) as server:
        (stopped,) = processes(server)
        os.kill(stopped, signal.SIGSTOP)
        assert server.post("predict", {"instances": ["good"]}).status_code == 504
        servers.wait_until(lambda: live(server) and stopped not in processes(server))
        assert not psutil.pid_exists(stopped)
        servers.wait_until(lambda: server.post("predict", {"instances": ["good"]}).status_code == 200)


def test_a_worker_is_replaced_after_the_fork_server_died_too(model):
    with servers.running(model) as server:
        (first,) = processes(server)
        os.kill(psutil.Process(first).ppid(), signal.SIGKILL)
        assert server.post("predict", {"instances": ["good"]}).status_code == 200 and processes(server) == [first]
        os.kill(first, signal.SIGKILL)
        servers.wait_until(lambda: live(server) and processes(server) != [first])
        assert server.post("predict", {"instances": ["good"]}).status_code == 200


def test_the_workers_of_a_replaced_version_end_after_the_last_request(model, tmp_path):
    serving = tmp_path / "tiny" / "serving"
    servers.push(model, serving, 1)
    with servers.running(serving) as server, concurrent.futures.ThreadPoolExecutor(1) as threads:
        (first,) = processes(server)
        with servers.held(server):
            waiting = threads.submit(server.post, "predict", {"instances": ["good"]})
            servers.wait_until(lambda: server.service.batcher.rows == 1)
            servers.push(model, serving, 2)
            servers.wait_until(lambda: server.service.versions.current.number == 2)
            time.sleep(0.1)
            assert psutil.pid_exists(first)
        assert waiting.result().status_code == 200
        servers.wait_until(lambda: not psutil.pid_exists(first))
        assert server.reports[0].startswith("version 2 loaded in ") and len(server.reports) == 1
