"""`serve` as a process: what the terminal shows, how it stops, and usage errors."""

import concurrent.futures
import pathlib
import signal
import socket

import psutil
import pytest
import requests

import local_runner
from tests import servers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_arrived_is_answered_before_it_stops(tmp_path, number):
    serving = tmp_path / "tiny" / "serving"
    servers.save(serving / "7")
    process, lines, address = servers.start("--root", tmp_path, "--port", 0)
    try:
        assert lines == [
            f"tiny, version 7 (newer ones are loaded from {serving})",
            "answers with 부정, 긍정",
            f"page:    {address}/",
            f'call it: curl -d \'{{"instances": ["..."]}}\' {address}/v1/models/tiny:predict',
            "Ctrl-C stops it",
        ]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            path = f"{address}/v1/models/tiny:predict"
            slow = pool.submit(requests.post, path, json={"instances": [servers.SLOW]}, timeout=60)
            servers.wait_until(lambda: "reviews_waiting_rows 1.0" in requests.get(f"{address}/metrics").text)
            others = psutil.Process(process.pid).children(recursive=True)
            # As a terminal and service managers do, to all processes.
            for each in (process, *others):
                each.send_signal(number)
            assert slow.result().status_code == 200
        assert process.wait(30) == 0 and process.stdout.read() == "stopped\n"
        assert not psutil.wait_procs(others, 10)[1]
    finally:
        process.kill()


def test_the_workers_end_with_a_server_that_is_killed(tmp_path):
    process, _, address = servers.start("--model", servers.save(tmp_path / "tiny" / "7"), "--port", 0)
    try:
        servers.wait_until(lambda: "reviews_workers 2.0" in requests.get(f"{address}/metrics").text)
        others = psutil.Process(process.pid).children(recursive=True)
        path = f"{address}/v1/models/tiny:predict"
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            slow = threads.submit(requests.post, path, json={"instances": [servers.SLOW] * 60}, timeout=60)
            servers.wait_until(lambda: "reviews_waiting_rows 60.0" in requests.get(f"{address}/metrics").text)
            process.kill()
            assert isinstance(slow.exception(), requests.ConnectionError)
        # Two workers, the fork server, and what multiprocessing needs.
        assert len(others) >= 3 and not psutil.wait_procs(others, 20)[1]
    finally:
        process.kill()


def error(capfd, *words):
    assert local_runner.main(["serve", *map(str, words)]) == 2
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_a_port_in_use_is_one_sentence(capfd):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"error: --port {port}: another program listens on it; set --port to another" in error(
            capfd, "--port", port
        )


@pytest.mark.parametrize(
    "words, message",
    [
        (["--port", 70000], "--port 70000: should be from 1 to 65535, or 0 for any free port"),
        (["--host", "192.0.2.1", "--port", 0], "--host 192.0.2.1: should be a name or an address of this machine"),
        (["--log-texts"], "--log-texts: has no effect without --log FILE"),
        (["--port", 0, "--root", "nowhere"], "--root nowhere: no model was pushed there yet"),
        (["--port", 0, "--model", "nowhere"], "nowhere/assets.extra/reviews.json: No such file or directory"),
        (["--port", 0, "--workers", 0], "--workers 0: should be a number more than 0"),
        (["--port", 0, "--max-rows", 0], "--max-rows 0: should be a number more than 0"),
        (["--port", 0, "--timeout-s", "inf"], "--timeout-s inf: should be a number more than 0"),
        (["--port", 0, "--name", "a/b"], "--name a/b: should be a name for addresses, without / and :"),
        (["--port", 0, "--model", "nowhere", "--log", "nowhere/log"], "--log nowhere/log: can't be written"),
    ],
)
def test_usage_errors_are_one_sentence(words, message, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error(capfd, *words)


def test_the_page_is_installed_with_the_package():
    setup = pathlib.Path(local_runner.__file__).with_name("setup.py").read_text()
    assert '"local.server": ["page.html.j2"]' in setup
