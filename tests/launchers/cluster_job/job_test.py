"""Real workers of a job, through the real Kubernetes client; no process, job or folder is left."""

import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import kubernetes
import pytest
import urllib3

from core import progress
from core.errors import UserError
from launchers import worker
from launchers.base import WorkerFailed, WorkerJob, import_path
from launchers.cluster_job import ClusterJob, ClusterJobConfig, tfjob
from launchers.cluster_job import cluster as cluster_module
from launchers.cluster_job import job as job_module
from tests.launchers import launched_jobs
from tests.launchers.cluster_job import fake_cluster, launching, targets

REPOSITORY = pathlib.Path(worker.__file__).parent.parent


BOTH_KINDS = pytest.mark.parametrize("kind", ["tfjob", "trainjob"])
# Of what the kinds share, where each test takes seconds.
SLOW_TRAINJOB = pytest.mark.parametrize("kind", ["tfjob", pytest.param("trainjob", marks=pytest.mark.slow)])


@pytest.fixture
def kind():
    return "tfjob"


@pytest.fixture
def cluster(tmp_path, monkeypatch, kind):
    (tmp_path / "cluster").mkdir()
    fake = fake_cluster.Cluster(tmp_path / "cluster", kind)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", fake.kubeconfig())
    yield fake
    fake.close()


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def settings(volume, **changes):
    return {
        "namespace": "kubeflow",
        "pod": {"image": "registry.example.com/reviews:1"},
        "image_dir": str(REPOSITORY),
        "volumes": [{"claim": "reviews", "path": str(volume)}],
        "timeout_s": 60,
        "restarts": 3,
        "shared_dir": str(volume / "checkpoints"),
        **changes,
    }


def job_of(target, volume, arguments, **names):
    return WorkerJob(import_path(target), arguments, str(volume / "logs"), **names)


def launch(volume, job, **changes):
    ClusterJob(ClusterJobConfig(**settings(volume, **changes)), poll_s=0.05).launch(job, 2)


def act(volume, *acts, **changes):
    """Launches a job in which worker i calls `acts[i]`."""
    job = WorkerJob(launched_jobs.ACT, {"folder": str(volume), "acts": acts}, str(volume / "logs"))
    launch(volume, job, **changes)


def assert_nothing_is_left(cluster, volume):
    assert cluster.jobs == {} and cluster.runtimes == {} and cluster.pods == {}
    assert os.listdir(volume / "checkpoints" / "jobs") == []


def wait_until(condition, timeout_s=90):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


@BOTH_KINDS
def test_two_workers_read_staged_inputs_and_worker_0s_output_is_delivered(cluster, volume, tmp_path, kind):
    for name in ("train/a.gz", "train/b.gz", "dev/a.gz", "encoder/encoder/1.pb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    out = tmp_path / "out"
    out.mkdir()
    (out / "of an earlier attempt").touch()
    arguments = {
        "patterns": [str(tmp_path / "train" / "*"), str(tmp_path / "dev" / "*")],
        "folder": str(tmp_path / "encoder"),
        "out": str(out),
        "rate": 0.5,
    }
    launch(volume, job_of(targets.join, volume, arguments, inputs=("patterns", "folder"), outputs=("out",)), kind=kind)
    assert sorted(os.listdir(out)) == ["arguments.json", "deep"]
    assert json.loads((out / "deep" / "texts.json").read_text()) == {
        "a.gz": "content of dev/a.gz",
        "b.gz": "content of train/b.gz",
        "encoder/1.pb": "content of encoder/encoder/1.pb",
    }
    received = json.loads((out / "arguments.json").read_text())
    assert received.pop("rate") == 0.5
    assert all(path.startswith(str(volume)) for path in [*received.pop("patterns"), *received.values()])
    assert sorted(os.listdir(tmp_path)) == ["cluster", "dev", "encoder", "out", "train", "volume"]
    assert_nothing_is_left(cluster, volume)


def test_missing_output_of_worker_0_is_a_failure_and_changes_nothing(cluster, volume, tmp_path):
    (tmp_path / "out").mkdir()
    arguments = {"folder": str(volume), "acts": ["finish", "finish"], "out": str(tmp_path / "out")}
    job = WorkerJob(launched_jobs.ACT, arguments, str(volume / "logs"), outputs=("out",))
    with pytest.raises(WorkerFailed, match="worker 0 of 2: finished without writing its output out"):
        launch(volume, job)
    assert os.listdir(tmp_path / "out") == []
    assert_nothing_is_left(cluster, volume)


def test_progress_of_worker_0_is_reported_and_logs_are_kept(cluster, volume, caplog):
    caplog.set_level(logging.INFO, progress.LOGGER.name)
    act(volume, "report_as_first", "report_as_second")
    reported = [(r.stage, r.done, r.total, r.figures) for r in caplog.records if r.name == progress.LOGGER.name]
    assert reported[-2:] == [("epoch 1/2", 1, 4, {"loss": 0.5, "kind": "slow"}), ("epoch 2/2", 4, 4, {})]
    act(volume, "write", "finish")
    log = (volume / "logs" / "worker-0.log").read_text(encoding="utf-8")
    assert {"printed 영화", "an error", "from another program"} <= set(log.splitlines())


@BOTH_KINDS
def test_a_killed_worker_and_its_peer_are_restarted_and_continue(cluster, volume, kind):
    saved = volume / "saved"

    def kill():
        wait_until(lambda: saved.exists() and int(saved.read_text()) >= 10)
        os.kill(int((volume / "pid-1").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    launch(volume, job_of(targets.count, volume, {"folder": str(volume)}), kind=kind)
    killer.join()
    for i in (0, 1):
        first, second = map(int, (volume / f"starts-{i}").read_text().split())
        assert first == 0 and second >= 10
    assert saved.read_text() == "60"
    assert_nothing_is_left(cluster, volume)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tfjob", "lost more often than kubeflow.workers.restarts = 1 allows"),
        ("trainjob", "ended with exit status 137 .*reaching max number of restarts"),
    ],
)
def test_a_worker_that_is_lost_too_often_fails_the_job(cluster, volume, kind, message):
    with pytest.raises(WorkerFailed, match=message) as caught:
        launch(volume, job_of(targets.die, volume, {}), restarts=1, kind=kind)
    assert caught.value.worker == 1
    assert_nothing_is_left(cluster, volume)


@SLOW_TRAINJOB
def test_without_restarts_the_first_loss_fails_the_job(cluster, volume, kind):
    with pytest.raises(WorkerFailed, match=r"worker 1 of 2: ended with exit status 137 \(Error\); job"):
        launch(volume, job_of(targets.die, volume, {}), restarts=0, kind=kind)
    assert_nothing_is_left(cluster, volume)


def test_user_error_is_passed_on_in_full(cluster, volume):
    with pytest.raises(UserError) as caught:
        act(volume, "sleep", "raise_user_error")
    assert str(caught.value) == "trainer.epochs = 학습: should be a number\n" + "x" * 200_000
    assert_nothing_is_left(cluster, volume)


def test_another_error_ends_the_others_and_is_in_the_log(cluster, volume):
    with pytest.raises(WorkerFailed) as caught:
        act(volume, "sleep", "raise_value_error")
    log = volume / "logs" / "worker-1.log"
    assert str(caught.value) == f"worker 1 of 2: ValueError: the learning rate is -1; its log: {log}"
    assert "Traceback" in log.read_text() and "and this is a second line" in log.read_text()
    assert_nothing_is_left(cluster, volume)


@SLOW_TRAINJOB
def test_worker_that_exits_without_a_message_is_reported_with_its_status(cluster, volume, kind):
    with pytest.raises(WorkerFailed, match=r"worker 1 of 2: ended with exit status 3 \(Error\); job"):
        act(volume, "sleep", "exit_immediately", kind=kind)
    assert_nothing_is_left(cluster, volume)


@SLOW_TRAINJOB
def test_job_that_takes_too_long_fails_with_the_last_progress_of_each_worker(cluster, volume, kind):
    with pytest.raises(WorkerFailed) as caught:
        act(volume, "report_and_sleep", "sleep", timeout_s=3, kind=kind)
    assert "timed out: not done after 3 s (kubeflow.workers.timeout_s)" in caught.value.reason
    assert "worker 0: epoch 1/2 (3 of 10), worker 1: none" in caught.value.reason
    assert_nothing_is_left(cluster, volume)


def test_silent_workers_are_stopped_but_not_while_they_are_unscheduled(cluster, volume, caplog):
    caplog.set_level(logging.INFO, progress.LOGGER.name)
    cluster.is_full = True
    job = WorkerJob(launched_jobs.ACT, {"folder": str(volume), "acts": ["sleep"] * 2}, str(volume / "logs"))
    start, opener = time.monotonic(), threading.Timer(3, lambda: setattr(cluster, "is_full", False))
    opener.start()
    with pytest.raises(WorkerFailed, match="timed out: no worker has sent a message for 1.5 s"):
        ClusterJob(ClusterJobConfig(**settings(volume)), poll_s=0.05, stall_timeout_s=1.5).launch(job, 2)
    assert time.monotonic() - start > 4
    assert "waiting for workers (worker 0: no pod yet; worker 1: no pod yet): 0 of 2" in caplog.messages
    assert_nothing_is_left(cluster, volume)


def _launching_process(cluster, volume, job, kind):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "KUBECONFIG": cluster.kubeconfig()}
    arguments = [json.dumps(settings(volume, kind=kind)), json.dumps(vars(job))]
    return subprocess.Popen([sys.executable, "-m", launching.__name__, *arguments], env=environment)


@pytest.mark.parametrize(
    ("kind", "number", "status"),
    [
        ("tfjob", signal.SIGTERM, 128 + signal.SIGTERM),
        ("tfjob", signal.SIGINT, -signal.SIGINT),
        ("trainjob", signal.SIGTERM, 128 + signal.SIGTERM),
    ],
)
def test_a_cancelled_run_leaves_nothing(cluster, volume, number, status, kind):
    arguments = {"folder": str(volume), "acts": ["sleep", "sleep_ignoring_sigterm"]}
    process = _launching_process(cluster, volume, WorkerJob(launched_jobs.ACT, arguments, str(volume / "logs")), kind)
    wait_until(lambda: os.path.exists(launched_jobs.note_file(volume, 1)))
    (job,) = cluster.pods.values()
    workers = [pod.process for pod in job.values()]
    process.send_signal(number)
    assert process.wait(timeout=30) == status
    assert len(workers) == 2 and all(each.poll() is not None for each in workers)
    assert_nothing_is_left(cluster, volume)


def test_a_retry_replaces_the_job_of_a_killed_launcher(cluster, volume, kind):
    job = job_of(targets.count, volume, {"folder": str(volume)})
    process = _launching_process(cluster, volume, job, kind)
    wait_until(lambda: (volume / "saved").exists())
    process.kill()
    process.wait()
    assert len(cluster.jobs) == 1
    launch(volume, job, kind=kind)
    first, second = cluster.created
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert (volume / "saved").read_text() == "60"
    assert_nothing_is_left(cluster, volume)


def test_workers_end_without_a_heartbeat_from_the_launcher(tmp_path):
    (tmp_path / worker.LAUNCHER_FILE).write_text("1")
    (tmp_path / "job.json").write_text(json.dumps({"target": "time.sleep", "arguments": 60}))
    code = f"from launchers import worker; worker.LAUNCHER_TIMEOUT_S = 1; worker.main({str(tmp_path / 'job.json')!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    for i in range(4):
        time.sleep(0.5)
        (tmp_path / worker.LAUNCHER_FILE).write_text(f"again {i}")
    assert process.poll() is None
    assert "timed out: no heartbeat" in process.communicate(timeout=20)[1]
    assert process.returncode == 1


@SLOW_TRAINJOB
def test_a_deleted_job_is_reported(cluster, volume, kind):
    timer = threading.Timer(1, lambda: [j["metadata"].update(deletionTimestamp="x") for j in cluster.jobs.values()])
    timer.start()
    with pytest.raises(WorkerFailed, match="not found: it was deleted during the run"):
        act(volume, "sleep", "sleep", kind=kind)
    assert_nothing_is_left(cluster, volume)


@pytest.mark.parametrize(
    ("request_", "response", "message"),
    [
        (
            ("POST", "tfjobs"),
            fake_cluster.forbidden("create"),
            "403: not allowed to create tfjobs in namespace kubeflow .*; apply deploy/rbac.yaml",
        ),
        (
            ("GET", "pods"),
            fake_cluster.forbidden("list"),
            "403: not allowed to list pods in namespace kubeflow .*; apply deploy/rbac.yaml",
        ),
        (
            ("DELETE", "tfjobs"),
            fake_cluster.NO_SUCH_KIND,
            "404: the cluster has no resource type",
        ),
        (("POST", "tfjobs"), (401, ""), "401: not authenticated"),
    ],
)
def test_rejections_by_the_cluster_are_user_errors(cluster, volume, request_, response, message):
    cluster.failures[request_] = [response]
    with pytest.raises(UserError, match=message):
        act(volume, "sleep", "sleep")
    assert cluster.jobs == {}
    assert not (volume / "checkpoints" / "jobs").exists() or os.listdir(volume / "checkpoints" / "jobs") == []


def test_calls_that_fail_temporarily_are_retried(cluster, volume):
    down = (503, "upstream connect error")
    cluster.failures = {
        (verb, part): [down, down] for verb, part in (("POST", "tfjobs"), ("GET", "tfjobs"), ("GET", "pods"))
    }
    act(volume, "finish", "finish")
    assert not any(cluster.failures.values())
    assert_nothing_is_left(cluster, volume)


def test_a_creation_whose_response_was_lost_is_not_repeated(cluster, volume, monkeypatch):
    create = cluster.create

    def create_and_lose_the_response(job, store):
        monkeypatch.setattr(cluster, "create", create)
        create(job, store)
        return 504, "gateway timeout"

    monkeypatch.setattr(cluster, "create", create_and_lose_the_response)
    act(volume, "finish", "finish")
    assert len(cluster.created) == 1


def test_an_unreachable_api_server_is_reported(cluster, monkeypatch):
    cluster.close()
    with pytest.raises(UserError, match="the cluster's API server does not respond"):
        cluster_module.Cluster("kubeflow", tfjob.KIND, urllib3.Retry(1, backoff_factor=0)).job("x")


def test_missing_credentials_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no credentials for the cluster"):
        cluster_module.Cluster("kubeflow", tfjob.KIND)


@SLOW_TRAINJOB
def test_own_pod_is_the_owner(cluster, volume, tmp_path, monkeypatch, kind):
    (tmp_path / "namespace").write_text("kubeflow\n")
    monkeypatch.setattr(job_module, "_NAMESPACE_FILE", str(tmp_path / "namespace"))
    monkeypatch.setenv("KFP_POD_NAME", "trainer-x")
    monkeypatch.setenv("KFP_POD_UID", "0b5e")
    act(volume, "finish", "finish", kind=kind)
    (owner,) = cluster.created[0]["metadata"]["ownerReferences"]
    assert (owner["name"], owner["uid"]) == ("trainer-x", "0b5e")


def test_abandoned_job_folders_are_removed(cluster, volume):
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 60)):
        folder = volume / "checkpoints" / "jobs" / name
        folder.mkdir(parents=True)
        (folder / worker.LAUNCHER_FILE).touch()
        os.utime(folder / worker.LAUNCHER_FILE, (time.time() - age_s,) * 2)
    act(volume, "finish", "finish")
    assert os.listdir(volume / "checkpoints" / "jobs") == ["new"]
