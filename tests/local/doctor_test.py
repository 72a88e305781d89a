"""`doctor`: each finding about a good and a bad machine, with real sockets, folders and files."""

import http.server
import json
import socket
import threading
import time

import pytest

import local_runner
from core import installation, versions
from local import doctor


def test_a_run_can_work_on_a_machine_that_runs_the_tests(tmp_path, capfd):
    status = local_runner.main(["doctor", "--json", "--root", str(tmp_path / "new" / "runs")])
    findings = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [finding["check"] for finding in findings][:5] == ["versions", "memory", "cpu", "disk", "gpu"]
    assert {finding["check"] for finding in findings[5:]} == {"network"}
    assert all(finding["text"] for finding in findings)
    assert all(bool(finding["advice"]) == (finding["status"] != "ok") for finding in findings)
    assert status == (2 if "error" in {finding["status"] for finding in findings} else 0)
    assert not (tmp_path / "new").exists()


def test_an_unusable_run_root_is_an_error_with_advice(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert local_runner.main(["doctor", "--root", str(tmp_path / "file" / "runs")]) == 2
    lines = capfd.readouterr().out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("✗ disk"))
    assert "Not a directory" in lines[place] and "set --root to a folder" in lines[place + 1]


INSTALLED = {"python": "3.12.1", "tensorflow": "2.21.0", "tfx": "1.21.0"}


def test_versions_are_compared_with_the_lock_file():
    assert doctor.check_versions(INSTALLED, {"tensorflow": "2.21.0"}).status == "ok"
    assert doctor.check_versions(INSTALLED, {}).status == "ok"
    other = doctor.check_versions(INSTALLED, {"tensorflow": "2.21.1", "tfx": "1.21.0"})
    assert other.status == "warning" and "the lock file has tensorflow 2.21.1; run sh scripts/setup.sh" in other.advice
    missing = doctor.check_versions({**INSTALLED, "tfx": None}, {})
    assert missing.status == "error" and "not installed: tfx" in missing.text


def test_the_lock_file_has_the_packages_of_a_run(tmp_path):
    assert set(versions.PACKAGES) <= set(doctor.locked_versions(installation.ROOT))
    assert doctor.locked_versions(str(tmp_path)) == {}


@pytest.mark.parametrize("gigabytes, status", [(1.0, "error"), (5.0, "warning"), (32.0, "ok")])
def test_memory_is_judged(gigabytes, status):
    finding = doctor.check_memory(gigabytes)
    assert finding.status == status and bool(finding.advice) == (status != "ok")


def test_memory_is_what_a_container_has_left(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n")
    assert doctor.memory_gb(str(tmp_path)) == pytest.approx(8.192)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert doctor.memory_gb(str(tmp_path)) == pytest.approx(8.192)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("4000000000\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("1000000000\n")
    assert doctor.memory_gb(str(tmp_path)) == pytest.approx(3.0)


def test_silent_hosts_are_asked_at_the_same_time(monkeypatch):
    """Hosts that accept a connection and never answer, and one that refuses it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    hosts = [f"127.0.0.1:{server.getsockname()[1]}" for server in silent]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        hosts.append(f"127.0.0.1:{closed.getsockname()[1]}")
    started = time.monotonic()
    findings = doctor.check_network(hosts, timeout_s=1.0)
    assert time.monotonic() - started < 3.0
    for server in silent:
        server.close()
    assert [finding.status for finding in findings] == ["warning"] * 5
    assert all(host in finding.text for host, finding in zip(hosts, findings, strict=True))
    assert "Connection refused" in findings[4].text


def test_a_host_that_answers_with_any_status_is_reached(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answers = {}
    doctor._ask(f"127.0.0.1:{server.server_port}", 5.0, answers, scheme="http")
    server.shutdown()
    assert list(answers.values()) == [""]
