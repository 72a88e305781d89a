"""A real training by two workers of a job on a cluster, one of which is killed: they reconnect and continue."""

import dataclasses
import logging
import os
import pathlib
import signal
import threading
import time

import kubernetes
import pytest
import tensorflow as tf

from artifacts import model_run
from core import progress
from launchers.base import WorkerJob, import_path
from launchers.cluster_job import ClusterJob, ClusterJobConfig
from tests.launchers.cluster_job import fake_cluster
from tests.trainer import tiny_training
from trainer import run
from trainer.job import INPUTS, OUTPUTS


@pytest.fixture(name="inputs")
def _inputs(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    return tiny_training.write_inputs(folder)


@pytest.mark.parametrize("kind", ["tfjob", pytest.param("trainjob", marks=pytest.mark.slow)])
def test_two_workers_of_which_one_is_killed_finish_their_training(tmp_path, inputs, monkeypatch, caplog, kind):
    caplog.set_level(logging.INFO, progress.LOGGER.name)
    checkpoints = tmp_path / "volume" / "checkpoints"
    model = tmp_path / "model" / "Format-Serving"
    job = tiny_training.job(inputs, model, tmp_path / "run", checkpoints, workers=2, epochs=4)
    config = ClusterJobConfig(
        kind=kind,
        namespace="kubeflow",
        pod={"image": "reviews", "env": {"TF_NUM_INTRAOP_THREADS": "1"}},
        image_dir=str(pathlib.Path(run.__file__).parent.parent),
        volumes=[{"claim": "reviews", "path": str(tmp_path / "volume")}],
        timeout_s=600,
        restarts=3,
        shared_dir=str(checkpoints),
    )
    cluster = fake_cluster.Cluster(tmp_path, kind)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", cluster.kubeconfig())
    killer = threading.Thread(target=_kill_worker_1, args=(cluster, checkpoints), daemon=True)
    killer.start()
    try:
        ClusterJob(config, poll_s=0.2).launch(
            WorkerJob(import_path(run.train), dataclasses.asdict(job), str(checkpoints / "logs"), INPUTS, OUTPUTS),
            2,
        )
    finally:
        cluster.close()
    killer.join(timeout=1)
    assert not killer.is_alive()
    history = model_run.read_training(str(tmp_path / "run")).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert tf.saved_model.contains_saved_model(job.serving_model_dir)
    assert cluster.jobs == {} and os.listdir(checkpoints / "jobs") == []
    reported = [(record.stage, record.done) for record in caplog.records if record.name == progress.LOGGER.name]
    # Both attempts trained, and the second continued.
    assert reported.count(("tokenising train", 60)) == 2
    assert [done for stage, done in reported if stage.startswith("epoch")].count(1) == 1


def _kill_worker_1(cluster, checkpoints):
    while not any(int(file.stem.split("-")[1]) >= 20 for file in checkpoints.glob("*/state-*.index")):
        time.sleep(0.02)
    with cluster.lock:
        (pods,) = cluster.pods.values()
        os.kill(pods[1].process.pid, signal.SIGKILL)
