"""The schema of a TFJob, from the Training Operator's own CRD.

`tfjob_crd.json` is `spec.versions[v1].schema.openAPIV3Schema` of manifests/base/crds/kubeflow.org_tfjobs.yaml in
github.com/kubeflow/training-operator v1.9.3 (commit c77ee3ff4d21aa8e5027580d83361c1a426ee789, Apache-2.0), without the
descriptions. To regenerate it:

    go mod download -json github.com/kubeflow/training-operator@v1.9.3      # prints the folder
    python -m tests.launchers.tfjob.crd <folder>/manifests/base/crds/kubeflow.org_tfjobs.yaml
"""

import functools
import json
import pathlib
import re
import sys

import jsonschema
import yaml

_FILE = pathlib.Path(__file__).with_name("tfjob_crd.json")


def problems(job):
    """Describes the fields of a manifest that the API server or the operator's webhook rejects or silently drops."""
    result = [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(job)]
    name = job["metadata"]["name"]
    # The pod's service has this name, which is a DNS label.
    if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(f"{name}-worker-99") > 63:
        result.append(f"$.metadata.name: {name}")
    return result


@functools.cache
def _validator():
    return jsonschema.Draft202012Validator(_strict(json.loads(_FILE.read_text())))


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
