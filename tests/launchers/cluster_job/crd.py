"""The schemas of the objects that the launcher creates.

A TFJob's is the Training Operator's own: `tfjob_crd.json` is `spec.versions[v1].schema.openAPIV3Schema` of
manifests/base/crds/kubeflow.org_tfjobs.yaml in github.com/kubeflow/training-operator v1.9.3 (commit
c77ee3ff4d21aa8e5027580d83361c1a426ee789, Apache-2.0), without the descriptions. To regenerate it:

    go mod download -json github.com/kubeflow/training-operator@v1.9.3      # prints the folder
    python -m tests.launchers.cluster_job.crd <folder>/manifests/base/crds/kubeflow.org_tfjobs.yaml

Those of a TrainJob and its TrainingRuntime are rules of our own, which allow only the fields that the launcher uses:
the CRDs have 1.1 MB. `manifest_test.py` compares with the CRDs themselves if `TRAINER_CRDS` is the folder
manifests/base/crds of github.com/kubeflow/trainer; seen with 2.0.1, 2.2.1 and the main branch of August 2026.
"""

import functools
import json
import pathlib
import re
import sys

import jsonschema
import yaml

_FILE = pathlib.Path(__file__).with_name("tfjob_crd.json")

_DNS_LABEL = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def problems(manifest):
    """Describes the fields of a manifest that the API server or a webhook rejects or silently drops."""
    validator = _validator(manifest["kind"])
    result = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
    name = manifest["metadata"]["name"]
    # The pod's service, or the pod's host name, starts with this name, and is a DNS label.
    if not re.fullmatch(_DNS_LABEL, name) or len(f"{name}-worker-99") > 63:
        result.append(f"$.metadata.name: {name}")
    return result


def read_schema(file, version):
    """Returns the schema of one version in a CRD's file, in which fields that it does not name are errors."""
    versions = {each["name"]: each for each in yaml.safe_load(pathlib.Path(file).read_text())["spec"]["versions"]}
    return _strict(_without_descriptions(versions[version]["schema"]["openAPIV3Schema"]))


@functools.cache
def _validator(kind):
    tfjob = _strict(json.loads(_FILE.read_text()))
    if kind == "TFJob":
        return jsonschema.Draft202012Validator(tfjob)
    replicas = tfjob["properties"]["spec"]["properties"]["tfReplicaSpecs"]["additionalProperties"]
    return jsonschema.Draft202012Validator(
        {"TrainJob": _train_job, "TrainingRuntime": _training_runtime}[kind](replicas["properties"]["template"])
    )


def _train_job(_):
    reference = _object(apiGroup=_only("trainer.kubeflow.org"), kind=_only("TrainingRuntime"), name={"type": "string"})
    return _trainer_object("TrainJob", _object(runtimeRef=reference))


def _training_runtime(pod_template):
    # Kubernetes accepts a podFailurePolicy only with restartPolicy Never, in it only exit codes above 0, and a
    # successPolicy only in an indexed Job.
    pod_spec = {"properties": {"restartPolicy": _only("Never"), "containers": {"contains": _named("node")}}}
    code = {"type": "integer", "minimum": 1, "maximum": 255}
    on_exit_codes = _object(
        containerName=_only("node"),
        operator={"enum": ["In", "NotIn"]},
        values={"type": "array", "items": code, "minItems": 1, "maxItems": 255, "uniqueItems": True},
    )
    job = _object(
        completionMode=_only("Indexed"),
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        backoffLimit={"type": "integer", "minimum": 0},
        podFailurePolicy=_rules(action={"enum": ["FailJob", "Ignore", "Count"]}, onExitCodes=on_exit_codes),
        successPolicy=_rules(succeededIndexes={"type": "string", "pattern": r"^\d+(-\d+)?(,\d+(-\d+)?)*$"}),
        template={"allOf": [pod_template, {"required": ["spec"], "properties": {"spec": pod_spec}}]},
    )
    # The Trainer's webhook allows one replica.
    replicated = _object(
        name={"type": "string", "pattern": _DNS_LABEL},
        replicas=_only(1),
        template=_object(
            metadata=_object(labels=_object(**{"trainer.kubeflow.org/trainjob-ancestor-step": _only("trainer")})),
            spec=job,
        ),
    )
    reason = {"enum": ["PodFailurePolicy", "DeadlineExceeded", "BackoffLimitExceeded"]}
    failure_rules = _rules(
        name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
        action={"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
        onJobFailureReasons={"type": "array", "items": reason},
    )
    failure_rules["properties"]["maxRestarts"] = {"type": "integer", "minimum": 0}
    job_set = _object(failurePolicy=failure_rules, replicatedJobs={"type": "array", "items": replicated, "minItems": 1})
    policy = _object(numNodes={"type": "integer", "minimum": 1})
    return _trainer_object("TrainingRuntime", _object(mlPolicy=policy, template=_object(spec=job_set)))


def _trainer_object(kind, spec):
    return _object(
        apiVersion=_only("trainer.kubeflow.org/v1alpha1"), kind=_only(kind), metadata={"type": "object"}, spec=spec
    )


def _object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _rules(**properties):
    return _object(rules={"type": "array", "items": _object(**properties), "minItems": 1})


def _only(value):
    return {"const": value}


def _named(name):
    return {"properties": {"name": _only(name)}}


def _strict(node):
    """Forbids fields that are not in the schema, which the API server would silently drop."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _strict(value) for key, value in node.items()}
    if isinstance(result.get("properties"), dict) and "type" in result:
        result.setdefault("additionalProperties", False)
    return result


def _without_descriptions(node, is_properties=False):
    if isinstance(node, list):
        return [_without_descriptions(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if is_properties or key != "description"}
    return {key: _without_descriptions(value, key == "properties") for key, value in kept.items()}


if __name__ == "__main__":
    versions = {version["name"]: version for version in yaml.safe_load(open(sys.argv[1]))["spec"]["versions"]}
    schema = _without_descriptions(versions["v1"]["schema"]["openAPIV3Schema"])
    _FILE.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")
