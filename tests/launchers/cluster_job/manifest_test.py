"""The manifests: they satisfy the CRDs, and contain every setting."""

import copy
import json
import os
import pathlib

import jsonschema
import pydantic
import pytest

from launchers.cluster_job import ClusterJobConfig, tfjob, trainjob
from launchers.cluster_job.pod import Owner, User, job_name
from tests.launchers.cluster_job import crd

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
OWNER = Owner("trainer-x", "0b5e", "kubeflow")


def manifests(kind=tfjob.KIND, settings=SETTINGS, owner=OWNER, **changes):
    config = ClusterJobConfig(**{**settings, **changes})
    return kind.manifests(config, "reviews-1", 2, "/mnt/reviews/jobs/1/job.json", User(1000, 100), owner)


def tf_job(settings=SETTINGS, owner=OWNER, **changes):
    (job,) = manifests(tfjob.KIND, settings, owner, **changes)
    return job


def train_job(settings=SETTINGS, owner=OWNER, **changes):
    return manifests(trainjob.KIND, settings, owner, **changes)


def worker(job):
    return job["spec"]["tfReplicaSpecs"]["Worker"]


def job_set(runtime):
    return runtime["spec"]["template"]["spec"]


def node(runtime):
    return job_set(runtime)["replicatedJobs"][0]


def pod(job):
    template = worker(job)["template"] if job["kind"] == "TFJob" else node(job)["template"]["spec"]["template"]
    return template["spec"]


@pytest.mark.parametrize("kind", [tfjob.KIND, trainjob.KIND])
@pytest.mark.parametrize("settings", [SETTINGS, MINIMAL])
@pytest.mark.parametrize("owner", [OWNER, None])
def test_every_field_is_in_the_schema(kind, settings, owner):
    for manifest, resource in zip(manifests(kind, settings, owner), kind.resources, strict=True):
        assert crd.problems(manifest) == []
        assert manifest["apiVersion"] == resource.api_version
        assert manifest["kind"].lower() + "s" == resource.plural


@pytest.mark.skipif("TRAINER_CRDS" not in os.environ, reason="TRAINER_CRDS is not set, see crd.py")
@pytest.mark.parametrize("settings", [SETTINGS, MINIMAL])
def test_every_field_of_a_train_job_is_in_the_crds_themselves(settings):
    for manifest, resource in zip(train_job(settings), trainjob.KIND.resources, strict=True):
        file = pathlib.Path(os.environ["TRAINER_CRDS"]) / f"{resource.group}_{resource.plural}.yaml"
        validator = jsonschema.Draft202012Validator(crd.read_schema(file, resource.version))
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)] == []


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
    job = copy.deepcopy(tf_job())
    damage(job)
    assert len(crd.problems(job)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda runtime: runtime["spec"]["mlPolicy"].update(tensorflow={}),
        lambda runtime: runtime["spec"]["mlPolicy"].update(numNodes=0),
        lambda runtime: job_set(runtime).update(backoffLimit=1),
        lambda runtime: job_set(runtime)["failurePolicy"]["rules"][0].pop("name"),
        lambda runtime: job_set(runtime)["failurePolicy"]["rules"][0].update(onJobFailureReasons=["Deadline"]),
        lambda runtime: node(runtime).update(replicas=2),
        lambda runtime: node(runtime)["template"]["metadata"]["labels"].clear(),
        lambda runtime: node(runtime)["template"]["spec"].update(completionMode="NonIndexed"),
        lambda runtime: node(runtime)["template"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"].update(
            values=[0]
        ),
        lambda runtime: pod(runtime).update(restartPolicy="OnFailure"),
        lambda runtime: pod(runtime)["containers"][0].update(name="tensorflow"),
        lambda runtime: pod(runtime)["containers"][0].update(resource={}),
        lambda runtime: pod(runtime)["tolerations"][0].update(seconds=1),
        lambda runtime: runtime["metadata"].update(name="1-starts-with-a-digit"),
    ],
)
def test_fields_of_a_runtime_that_the_cluster_would_drop_or_reject_are_reported(damage):
    runtime = copy.deepcopy(train_job()[0])
    damage(runtime)
    assert len(crd.problems(runtime)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda job: job["spec"].update(activeDeadline=1),
        lambda job: job["spec"]["runtimeRef"].update(kind="ClusterTrainingRuntime"),
        lambda job: job["spec"].pop("runtimeRef"),
    ],
)
def test_fields_of_a_train_job_that_the_cluster_would_drop_or_reject_are_reported(damage):
    job = copy.deepcopy(train_job()[1])
    damage(job)
    assert len(crd.problems(job)) == 1


def test_workers_of_a_train_job_get_their_number_and_the_addresses_of_all():
    runtime, job = train_job()
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"] == "reviews-1"
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 2}
    (container,) = pod(runtime)["containers"]
    assert container["command"] == ["python", "-m", "launchers.worker", "/mnt/reviews/jobs/1/job.json"]
    index, tf_config = container["env"][-2:]
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    )
    # As Kubernetes replaces it.
    value = json.loads(tf_config["value"].replace(f"$({index['name']})", "1"))
    addresses = [f"reviews-1-node-0-{i}.reviews-1.kubeflow.svc:2222" for i in (0, 1)]
    assert value == {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 1}}
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    # It contains these hosts.
    assert addresses[0].split(":")[0].endswith(environment["no_grpc_proxy"])


def test_the_pods_of_both_kinds_are_the_same():
    runtime, _ = train_job()
    (tf_container,), (container,) = pod(tf_job())["containers"], pod(runtime)["containers"]
    assert {**container, "name": "", "env": container["env"][:-2]} == {**tf_container, "name": ""}
    assert {**pod(runtime), "containers": []} == {**pod(tf_job()), "containers": [], "restartPolicy": "Never"}


def test_lost_workers_of_a_train_job_are_restarted_but_not_after_another_error():
    runtime, _ = train_job()
    policy, spec = job_set(runtime)["failurePolicy"], node(runtime)["template"]["spec"]
    assert policy["maxRestarts"] == 3 and spec["backoffLimit"] == 0
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "In"
    assert {1, 2, 127} <= set(rule["onExitCodes"]["values"]) and not {0, 137, 138} & set(rule["onExitCodes"]["values"])
    assert "PodFailurePolicy" in policy["rules"][0]["onJobFailureReasons"]
    assert spec["activeDeadlineSeconds"] > 3600
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}


def test_workers_run_in_the_container_that_the_operator_expects():
    job = tf_job()
    assert list(job["spec"]["tfReplicaSpecs"]) == ["Worker"]
    assert worker(job)["replicas"] == 2
    (container,) = pod(job)["containers"]
    assert container["name"] == "tensorflow"
    assert container["command"] == ["python", "-m", "launchers.worker", "/mnt/reviews/jobs/1/job.json"]
    assert container["workingDir"] == "/app" and container["image"] == "registry.example.com/reviews:1"


def test_settings_of_the_pod_are_in_the_manifest():
    (container,), spec = pod(tf_job())["containers"], pod(tf_job())
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
    assert worker(tf_job())["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


def test_workers_run_as_the_launchers_user():
    context = pod(tf_job())["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (1000, 100)


def test_minimal_configuration_has_no_resources():
    spec = pod(tf_job(MINIMAL))
    assert "resources" not in spec["containers"][0]
    assert not {"nodeSelector", "tolerations", "imagePullSecrets"} & set(spec)


def test_lost_workers_are_restarted_and_abandoned_jobs_deleted():
    job = tf_job()
    assert worker(job)["restartPolicy"] == "ExitCode"
    policy = job["spec"]["runPolicy"]
    assert policy["backoffLimit"] == 3 and policy["cleanPodPolicy"] == "Running"
    assert policy["activeDeadlineSeconds"] > 3600 and policy["ttlSecondsAfterFinished"] > 0


@pytest.mark.parametrize("kind", [tfjob.KIND, trainjob.KIND])
def test_the_trainers_pod_owns_the_job(kind):
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "trainer-x", "uid": "0b5e"}
    assert all(manifest["metadata"]["ownerReferences"] == [owner] for manifest in manifests(kind))


@pytest.mark.parametrize("owner", [None, Owner("trainer-x", "0b5e", "another")])
def test_a_job_without_a_pod_in_its_namespace_has_no_owner(owner):
    assert "ownerReferences" not in tf_job(owner=owner)["metadata"]


def test_each_execution_has_its_own_name():
    name = job_name("a.b", {"out": "/x", "n": 1})
    assert name == job_name("a.b", {"n": 1, "out": "/x"})
    assert len({name, job_name("a.b", {"out": "/y", "n": 1}), job_name("a.c", {"out": "/x", "n": 1})}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared_dir": "/mnt/review"}, "shared_dir = /mnt/review: should be on one of the volumes"),
        ({"pod": {"image": "x", "gpus": 2}}, "pod.gpu_resource: missing with gpus = 2"),
        ({"pod": {"image": "x", "gpu": 1}}, "Extra inputs are not permitted"),
        ({"pod": {}}, "image"),
        ({"kind": "mpijob"}, "Input should be 'tfjob' or 'trainjob'"),
    ],
)
def test_invalid_configuration_is_rejected(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ClusterJobConfig(**{**SETTINGS, **changes})
