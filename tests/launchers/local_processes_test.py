"""Real worker processes without TensorFlow: their environment, their failures and their termination."""

import contextlib
import glob
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from core import progress
from core.errors import UserError
from launchers import local_processes
from launchers.base import WorkerFailed, WorkerJob
from tests.launchers import launched_jobs


def launch(folder, *acts, **settings):
    """Launches a job in which worker i calls `acts[i]`."""
    job = WorkerJob(launched_jobs.ACT, {"folder": str(folder), "acts": acts}, str(folder))
    local_processes.LocalProcesses(**settings).launch(job, len(acts))


def notes(folder):
    """Returns the process id, the folder and the environment that each worker wrote."""
    result = []
    while os.path.exists(path := launched_jobs.note_file(folder, len(result))):
        with open(path, encoding="utf-8") as stream:
            result.append(json.load(stream))
    return result


def running(folder):
    """Returns the ids of running workers and their children, except zombies, which pid 1 may not have reaped."""
    sessions, pids = {note["pid"] for note in notes(folder)}, []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path, encoding="utf-8") as stream:
            pid, (state, _, _, session) = path.split("/")[2], stream.read().rpartition(")")[2].split()[:4]
            if int(session) in sessions and state != "Z":
                pids.append(int(pid))
    return pids


def wait_until(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def failure(folder, *acts, **settings):
    """Returns the error with which the acts fail; checks that no worker is left running."""
    with pytest.raises(WorkerFailed) as caught:
        launch(folder, *acts, **settings)
    assert len(notes(folder)) == len(acts)
    assert running(folder) == []
    return caught.value


@pytest.fixture
def parent(tmp_path):
    """Starts processes that launch a job, and waits until its workers are running."""
    started = []

    def start(*acts):
        command = [sys.executable, "-m", launched_jobs.__name__, str(tmp_path), *acts]
        root = os.path.dirname(os.path.dirname(os.path.abspath(local_processes.__file__)))
        environment = {**os.environ, "PYTHONPATH": root}
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        wait_until(lambda: len(notes(tmp_path)) == len(acts))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_workers_see_one_cluster_and_their_own_index(tmp_path):
    launch(tmp_path, "finish", "finish", "finish")
    configs = [json.loads(note["environment"]["TF_CONFIG"]) for note in notes(tmp_path)]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = configs[0]["cluster"]["worker"]
    assert all(config["cluster"] == {"worker": addresses} for config in configs)
    assert len(set(addresses)) == 3 and all(address.startswith("localhost:") for address in addresses)


def test_workers_share_cores_and_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(9)))
    launch(tmp_path, "finish", "finish", gpus=("0", "2", "5", "7"))
    environments = [note["environment"] for note in notes(tmp_path)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0,2", "5,7"]
    assert {environment["TF_NUM_INTRAOP_THREADS"] for environment in environments} == {"4"}
    assert {environment["TF_NUM_INTEROP_THREADS"] for environment in environments} == {"4"}
    assert {environment["TF_USE_LEGACY_KERAS"] for environment in environments} == {"1"}


def test_workers_connect_to_each_other_without_a_proxy(tmp_path, monkeypatch):
    # gRPC uses the proxy even for this machine's addresses, and waits forever.
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    launch(tmp_path, "finish")
    (note,) = notes(tmp_path)
    assert note["environment"]["no_grpc_proxy"] == "localhost"
    assert note["environment"]["http_proxy"] == "http://proxy.example:3128"


def test_gpus_that_cannot_be_shared_evenly_are_a_user_error(tmp_path):
    with pytest.raises(UserError, match="trainer.workers = 2: can't share 3 GPUs evenly; should be a divisor of 3"):
        launch(tmp_path, "finish", "finish", gpus=("0", "1", "2"))


def test_workers_run_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    launch(tmp_path, "finish")
    assert [note["folder"] for note in notes(tmp_path)] == [str(tmp_path)]


def test_progress_of_worker_0_is_reported_here(tmp_path, caplog):
    caplog.set_level(logging.INFO, progress.LOGGER.name)
    launch(tmp_path, "report_as_first", "report_as_second")
    reported = [(r.stage, r.done, r.total, r.figures) for r in caplog.records if r.name == progress.LOGGER.name]
    assert reported == [("epoch 1/2", 1, 4, {"loss": 0.5, "kind": "slow"}), ("epoch 2/2", 4, 4, {})]


def test_logs_contain_the_output_of_workers_and_their_children(tmp_path):
    launch(tmp_path, "finish", "write")
    assert (tmp_path / "worker-0.log").read_text() == ""
    log = (tmp_path / "worker-1.log").read_text(encoding="utf-8")
    assert {"printed 영화", "an error", "from another program"} <= set(log.splitlines())


def test_log_of_a_killed_worker_is_complete(tmp_path):
    failure(tmp_path, "sleep", "write_and_be_killed")
    assert "the last line" in (tmp_path / "worker-1.log").read_text()


def test_log_is_appended_to_that_of_an_earlier_job(tmp_path):
    failure(tmp_path, "write_and_be_killed")
    launch(tmp_path, "write")
    assert (tmp_path / "worker-0.log").read_text(encoding="utf-8").startswith("the last line\nprinted")


def test_error_of_one_worker_ends_the_others(tmp_path):
    error = failure(tmp_path, "sleep", "raise_value_error")
    log = tmp_path / "worker-1.log"
    assert str(error) == f"worker 1 of 2: ValueError: the learning rate is -1; its log: {log}"
    assert (error.worker, error.reason) == (1, "ValueError: the learning rate is -1")
    assert "Traceback" in log.read_text() and "and this is a second line" in log.read_text()


def test_worker_that_ignores_sigterm_is_killed(tmp_path):
    failure(tmp_path, "sleep_ignoring_sigterm", "raise_value_error_later")


def test_user_error_is_passed_on_in_full(tmp_path):
    with pytest.raises(UserError) as caught:
        launch(tmp_path, "sleep", "raise_user_error")
    assert str(caught.value) == "trainer.epochs = 학습: should be a number\n" + "x" * 200_000
    assert running(tmp_path) == []


def test_missing_target_is_reported(tmp_path):
    job = WorkerJob("trainer.no_such_module.train", {}, str(tmp_path))
    with pytest.raises(WorkerFailed, match="ModuleNotFoundError: .*no_such_module"):
        local_processes.LocalProcesses().launch(job, 1)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("kill_self", "killed by signal 9 (SIGKILL)"),
        ("exit_immediately", "ended with exit status 3 before its work was done"),
        ("exit_early", "SystemExit: 0"),
    ],
)
def test_worker_that_ends_early_is_named(tmp_path, act, reason):
    error = failure(tmp_path, "sleep", act)
    assert (error.worker, error.reason) == (1, reason)


def test_death_is_detected_while_a_child_holds_the_pipe_and_the_child_is_killed(tmp_path):
    with pytest.raises(WorkerFailed, match="killed by signal 9"):
        launch(tmp_path, "fork_and_be_killed")
    wait_until(lambda: running(tmp_path) == [], timeout_s=5)


def test_children_of_workers_end_with_the_job(tmp_path):
    launch(tmp_path, "fork_and_finish")
    wait_until(lambda: running(tmp_path) == [], timeout_s=5)


@pytest.mark.parametrize("cause", ["raise_value_error_later", "kill_self"])
def test_error_of_a_survivor_does_not_hide_the_cause(tmp_path, cause):
    error = failure(tmp_path, "raise_collective_error", cause)
    assert error.worker == 1
    assert "Unavailable" not in error.reason


def test_error_of_a_survivor_does_not_hide_a_stopped_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(local_processes, "_GATHER_S", 0.2)
    monkeypatch.setattr(local_processes, "_MISSED_HEARTBEATS", 2)
    monkeypatch.setattr(local_processes, "_TERMINATION_S", 0.2)
    error = failure(tmp_path, "raise_collective_error_later", "stop_self")
    assert error.worker == 1
    assert error.reason.startswith("stopped responding")


def test_collective_error_without_another_failure_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(local_processes, "_GATHER_S", 0.2)
    error = failure(tmp_path, "sleep", "raise_collective_error")
    assert (error.worker, error.reason) == (1, "UnavailableError: Socket closed")


def test_stopped_worker_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(local_processes, "_TERMINATION_S", 0.2)
    error = failure(tmp_path, "sleep", "stop_self", silence_timeout_s=1.5)
    assert error.worker == 1
    assert error.reason == "stopped responding: no message for 2 s; its last progress: none"


def test_job_without_progress_fails_with_the_last_progress_of_each_worker(tmp_path):
    error = failure(tmp_path, "report_and_sleep", "sleep", stall_timeout_s=1.0)
    assert error.worker == 1
    assert error.reason == (
        "timed out: no worker has made progress for 1 s; last progress: worker 0: epoch 1/2 (3 of 10), worker 1: none"
    )


def test_job_with_progress_outlasts_the_stall_timeout(tmp_path):
    launch(tmp_path, "finish", "report_for_two_seconds", stall_timeout_s=1.5)


def test_worker_that_hangs_after_its_work_does_not_delay_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(local_processes, "_EXIT_S", 0.2)
    launch(tmp_path, "finish", "finish_but_linger")
    assert running(tmp_path) == []


def test_workers_do_not_survive_a_killed_parent(tmp_path, parent):
    process = parent("sleep_ignoring_sigterm", "fork_and_sleep")
    wait_until(lambda: len(running(tmp_path)) == 3)
    process.kill()
    wait_until(lambda: running(tmp_path) == [], timeout_s=5)


def test_interrupted_parent_stops_its_workers_first(tmp_path, parent):
    process = parent("sleep", "sleep_ignoring_sigterm")
    assert len(running(tmp_path)) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert running(tmp_path) == []


def test_suspension_of_the_machine_fails_no_worker(tmp_path, parent):
    process = parent("sleep", "report_for_two_seconds")
    workers = [note["pid"] for note in notes(tmp_path)]
    for pid in [process.pid, *workers]:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3.5)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.3)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    assert process.poll() is None
    assert sorted(running(tmp_path)) == sorted(workers)
