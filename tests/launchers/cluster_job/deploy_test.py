"""The files under deploy/ agree with the launcher and the configuration."""

import inspect
import pathlib

import yaml

from core.kubeflow_config import KubeflowConfig
from launchers.cluster_job import cluster, tfjob, trainjob

ROOT = pathlib.Path(cluster.__file__).parent.parent.parent

# Calls of the client -> (API groups and resources, verb) that they need.
_JOBS = {(each.group, each.plural) for kind in (tfjob.KIND, trainjob.KIND) for each in kind.resources}
NEEDED = {
    "create_namespaced_custom_object": (_JOBS, "create"),
    "get_namespaced_custom_object": (_JOBS, "get"),
    "delete_namespaced_custom_object": (_JOBS, "delete"),
    "list_namespaced_pod": ({("", "pods")}, "list"),
    "read_namespaced_pod_log": ({("", "pods/log")}, "get"),
}


def _documents(name):
    return list(yaml.safe_load_all((ROOT / "deploy" / name).read_text(encoding="utf-8")))


def _kubeflow():
    config = yaml.safe_load((ROOT / "configs" / "kubeflow.yaml").read_text(encoding="utf-8"))
    return KubeflowConfig(**config["kubeflow"])


def test_role_allows_what_the_launcher_calls_and_no_more():
    role, _ = _documents("rbac.yaml")
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    source = inspect.getsource(cluster)
    needed = {
        (*resource, verb)
        for call, (resources, verb) in NEEDED.items()
        if f".{call}(" in source
        for resource in resources
    }
    assert needed == allowed
    assert source.count("self._objects.") + source.count("self._core.") == len(NEEDED)


def test_role_is_bound_to_an_account_of_the_configured_namespace():
    role, binding = _documents("rbac.yaml")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": role["kind"],
        "name": role["metadata"]["name"],
    }
    (subject,) = binding["subjects"]
    assert subject["namespace"] == _kubeflow().workers.namespace == _kubeflow().namespace
    assert subject["name"] == (_kubeflow().service_account or "pipeline-runner")


def test_claim_is_the_one_that_the_configuration_mounts_and_many_pods_may_write_to_it():
    (claim,) = _documents("volume.yaml")
    assert claim["kind"] == "PersistentVolumeClaim" and claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert [volume.claim for volume in _kubeflow().volumes] == [claim["metadata"]["name"]]
