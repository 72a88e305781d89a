"""The manifest: it satisfies the Training Operator's CRD, and contains every setting."""

import copy

import pydantic
import pytest

from launchers.tfjob import TFJobConfig, manifest
from tests.launchers.tfjob import crd

SETTINGS = {
    "namespace": "kubeflow",
    "pod": {
        "image": "registry.example.com/reviews:1",
        "cpu": 8,
        "memory_gb": 32,
        "gpus": 2,
        "gpu_resource": "nvidia.com/gpu",
        "shm_gb": 8,
        "env": {"NCCL_DEBUG": "INFO"},
        "secrets": [{"env": "TOKEN", "secret": "hub", "key": "token"}],
        "node_selector": {"pool": "gpu"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "seconds": 60},
        ],
        "image_pull_secrets": ["registry"],
    },
    "image_dir": "/app",
    "volumes": [{"claim": "reviews", "path": "/mnt/reviews"}, {"claim": "models", "path": "/mnt/models"}],
    "timeout_s": 3600,
    "restarts": 3,
    "shared_dir": "/mnt/reviews/checkpoints/nsmc",
}
MINIMAL = {**SETTINGS, "pod": {"image": "registry.example.com/reviews:1"}}
OWNER = manifest.Owner("trainer-x", "0b5e", "kubeflow")


def tfjob(settings=SETTINGS, owner=OWNER, **changes):
    config = TFJobConfig(**{**settings, **changes})
    return manifest.tfjob(config, "reviews-1", 2, "/mnt/reviews/jobs/1/job.json", manifest.User(1000, 100), owner)


def worker(job):
    return job["spec"]["tfReplicaSpecs"]["Worker"]


def pod(job):
    return worker(job)["template"]["spec"]


@pytest.mark.parametrize("settings", [SETTINGS, MINIMAL])
@pytest.mark.parametrize("owner", [OWNER, None])
def test_every_field_is_in_the_schema(settings, owner):
    assert crd.problems(tfjob(settings, owner)) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda job: job["spec"]["runPolicy"].update(timeoutSeconds=1),
        lambda job: job["spec"].update(cleanPodPolicy="All"),
        lambda job: worker(job).update(replicas="2"),
        lambda job: pod(job)["volumes"][0].update(pvc={"claimName": "x"}),
        lambda job: pod(job)["containers"][0].update(resource={}),
        lambda job: pod(job)["containers"][0].pop("name"),
        lambda job: pod(job).pop("containers"),
        lambda job: pod(job)["tolerations"][0].update(seconds=1),
        lambda job: job["metadata"].update(name="1-starts-with-a-digit"),
    ],
)
def test_fields_that_the_cluster_would_drop_or_reject_are_reported(damage):
    job = copy.deepcopy(tfjob())
    damage(job)
    assert len(crd.problems(job)) == 1


def test_workers_run_in_the_container_that_the_operator_expects():
    job = tfjob()
    assert list(job["spec"]["tfReplicaSpecs"]) == ["Worker"]
    assert worker(job)["replicas"] == 2
    (container,) = pod(job)["containers"]
    assert container["name"] == "tensorflow"
    assert container["command"] == ["python", "-m", "launchers.worker", "/mnt/reviews/jobs/1/job.json"]
    assert container["workingDir"] == "/app" and container["image"] == "registry.example.com/reviews:1"


def test_settings_of_the_pod_are_in_the_manifest():
    (container,), spec = pod(tfjob())["containers"], pod(tfjob())
    assert container["resources"] == {"limits": {"cpu": "8", "memory": "32000M", "nvidia.com/gpu": "2"}}
    assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
        "volume-0": "/mnt/reviews",
        "volume-1": "/mnt/models",
        "shm": "/dev/shm",
    }
    assert spec["volumes"] == [
        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "reviews"}},
        {"name": "volume-1", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8000M"}},
    ]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    secret = {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert {"name": "TOKEN", "valueFrom": secret} in container["env"]
    assert environment["TF_USE_LEGACY_KERAS"] == "1" and environment["NCCL_DEBUG"] == "INFO"
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"][1] == {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 60,
    }
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert worker(tfjob())["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


def test_workers_run_as_the_launchers_user():
    context = pod(tfjob())["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (1000, 100)


def test_minimal_configuration_has_no_resources():
    spec = pod(tfjob(MINIMAL))
    assert "resources" not in spec["containers"][0]
    assert not {"nodeSelector", "tolerations", "imagePullSecrets"} & set(spec)


def test_lost_workers_are_restarted_and_abandoned_jobs_deleted():
    job = tfjob()
    assert worker(job)["restartPolicy"] == "ExitCode"
    policy = job["spec"]["runPolicy"]
    assert policy["backoffLimit"] == 3 and policy["cleanPodPolicy"] == "Running"
    assert policy["activeDeadlineSeconds"] > 3600 and policy["ttlSecondsAfterFinished"] > 0


def test_the_trainers_pod_owns_the_job():
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "trainer-x", "uid": "0b5e"}
    assert tfjob()["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize("owner", [None, manifest.Owner("trainer-x", "0b5e", "another")])
def test_a_job_without_a_pod_in_its_namespace_has_no_owner(owner):
    assert "ownerReferences" not in tfjob(owner=owner)["metadata"]


def test_each_execution_has_its_own_name():
    name = manifest.job_name("a.b", {"out": "/x", "n": 1})
    assert name == manifest.job_name("a.b", {"n": 1, "out": "/x"})
    assert (
        len({name, manifest.job_name("a.b", {"out": "/y", "n": 1}), manifest.job_name("a.c", {"out": "/x", "n": 1})})
        == 3
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared_dir": "/mnt/review"}, "shared_dir = /mnt/review: should be on one of the volumes"),
        ({"pod": {"image": "x", "gpus": 2}}, "pod.gpu_resource: missing with gpus = 2"),
        ({"pod": {"image": "x", "gpu": 1}}, "Extra inputs are not permitted"),
        ({"pod": {}}, "image"),
    ],
)
def test_invalid_configuration_is_rejected(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        TFJobConfig(**{**SETTINGS, **changes})
