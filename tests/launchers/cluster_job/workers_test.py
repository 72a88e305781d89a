"""States of pods and messages that are hard to produce with real ones."""

import logging

import pytest
from kubernetes import client

from core import progress
from launchers.cluster_job import workers
from launchers.messages import Progress, encode

MESSAGE = encode(Progress("영화", 1, 2, {}))


def pending(waiting=None, condition=None):
    state = client.V1ContainerState(waiting=waiting)
    container = client.V1ContainerStatus(
        image="i", image_id="i", name="tensorflow", ready=False, restart_count=0, state=state
    )
    return client.V1Pod(
        metadata=client.V1ObjectMeta(),
        status=client.V1PodStatus(
            phase="Pending",
            container_statuses=[container] if waiting else None,
            conditions=[condition] if condition else None,
        ),
    )


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        (
            pending(waiting=client.V1ContainerStateWaiting(reason="ImagePullBackOff", message="no such image")),
            "ImagePullBackOff: no such image",
        ),
        (
            pending(
                condition=client.V1PodCondition(
                    type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes: nvidia.com/gpu"
                )
            ),
            "Unschedulable: 0/3 nodes: nvidia.com/gpu",
        ),
        (pending(), "pending"),
    ],
)
def test_reason_of_a_pending_worker_is_reported_once(tmp_path, caplog, pod, text):
    caplog.set_level(logging.INFO, progress.LOGGER.name)
    job = workers.Workers(str(tmp_path), 1, 0, 60, str)
    job.update({0: pod})
    job.update({0: pod})
    assert caplog.messages == [f"waiting for workers (worker 0: {text}): 0 of 1"]


def test_only_complete_messages_are_read_and_incomplete_ones_are_skipped(tmp_path):
    file, worker = tmp_path / "worker-0.jsonl", workers.Worker(0, str(tmp_path))
    assert not worker.read()
    data = f'\n{{"kind": "started"}}\n{MESSAGE}\n'.encode()
    file.write_bytes(data[:-20])
    assert worker.read() and (worker.starts, worker.stage) == (1, "none")
    file.write_bytes(data)
    assert worker.read() and worker.stage == "영화 (1 of 2)"
    file.write_bytes(data + b'{"kind": "prog' + b'\n{"kind": "started"}\n')
    assert worker.read() and worker.starts == 2
    assert not worker.read()
