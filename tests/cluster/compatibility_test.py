import copy
import os

import pytest
import yaml

from cluster import compatibility
from core import config
from core.errors import UserError

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPEC = {
    "pipelineInfo": {"name": "reviews"},
    "schemaVersion": "2.1.0",
    "root": {
        "inputDefinitions": {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5}}},
        "dag": {
            "tasks": {
                "trainer": {
                    "componentRef": {"name": "trainer"},
                    "taskInfo": {"name": "trainer"},
                    "inputs": {"parameters": {"epochs": {"componentInputParameter": "epochs"}}},
                }
            }
        },
    },
    "components": {"trainer": {"executorLabel": "trainer_executor"}},
    "deploymentSpec": {"executors": {"trainer_executor": {"container": {"image": "i", "command": ["c"]}}}},
}
PLATFORM = {
    "platforms": {
        "kubernetes": {"deploymentSpec": {"executors": {"trainer_executor": {"nodeSelector": {"labels": {"a": "b"}}}}}}
    }
}


def text(*documents):
    return yaml.safe_dump_all(documents)


def changed(tree, path, value):
    made = copy.deepcopy(tree)
    *parents, last = path.split("/")
    holder = made
    for key in parents:
        holder = holder.setdefault(key, {})
    holder[last] = value
    return made


def test_a_sound_file_passes():
    compatibility.check_text(text(SPEC), "x.yaml")
    compatibility.check_text(text(SPEC, PLATFORM), "x.yaml")


EXECUTOR = "deploymentSpec/executors/trainer_executor"


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("schemaVersion", "2.0.0", "schemaVersion = 2.0.0: should be 2.1.0"),
        ("pipelineInfo/name", "My_Reviews", "pipelineInfo.name = 'My_Reviews'"),
        ("root/dag/tasks/model_gate", {"componentRef": {"name": "trainer"}}, "task model_gate: should be letters"),
        ("root/dag/tasks/2nd", {"componentRef": {"name": "trainer"}}, "task 2nd: should be letters"),
        (EXECUTOR, {"resolver": {}}, "trainer_executor: a Resolver"),
        (f"{EXECUTOR}/container/lifecycle", {"preCacheCheck": {}}, "a driver hook"),
        (EXECUTOR, {"importer": {"artifactUri": {"constant": "/data/x"}}}, "imports /data/x"),
        (f"{EXECUTOR}/container/imagee", "i", "deploymentSpec: not the format of a pipeline: .*imagee"),
        ("root/dag/taskz", {}, "not the format of a pipeline: .*taskz"),
        ("root/dag/tasks/trainer/dependentTasks", ["pusher"], "waits for pusher, which does not exist"),
        ("root/dag/tasks/trainer/inputs/parameters/x", {"componentInputParameter": "y"}, "parameter y, which is not"),
        (
            "root/dag/tasks/trainer/inputs/parameters/x",
            {"runtimeValue": {"constant": '{"a": "RuntimeParameter(name=..)"}'}},
            "its input x has a RuntimeParameter inside a value",
        ),
    ],
)
def test_what_each_run_would_fail_for_is_refused(path, value, message):
    with pytest.raises(UserError, match=f"x.yaml: .*{message}"):
        compatibility.check_text(text(changed(SPEC, path, value)), "x.yaml")


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("platform", {}, "platform: no such field beside platforms"),
        ("platforms/kubernets", {}, "kubernets: no such field beside kubernetes"),
        ("platforms/kubernetes", [], "\\[\\]: should be a mapping with deploymentSpec"),
        ("platforms/kubernetes/deploymentSpec/executors", ["a"], "executors: .* should be mappings"),
        ("platforms/kubernetes/deploymentSpec/executors/pusher_executor", {}, "pusher_executor: no such executor"),
        (
            "platforms/kubernetes/deploymentSpec/executors/trainer_executor/nodeSelectors",
            {},
            "trainer_executor.nodeSelectors: no such field",
        ),
    ],
)
def test_what_the_backend_would_drop_in_silence_is_refused(path, value, message):
    with pytest.raises(UserError, match=f"platform document: {message}"):
        compatibility.check_text(text(SPEC, changed(PLATFORM, path, value)), "x.yaml")


@pytest.mark.parametrize("documents", [(), (PLATFORM,), (SPEC, SPEC), (SPEC, PLATFORM, PLATFORM), (SPEC, ["a"])])
def test_other_documents_than_one_and_at_most_one(documents):
    with pytest.raises(UserError, match="should hold one pipeline document"):
        compatibility.check_text(text(*documents), "x.yaml")


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(UserError, match="no.yaml: cannot be read: .*No such file"):
        compatibility.check_file(str(tmp_path / "no.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="bad.yaml: not valid YAML"):
        compatibility.check_file(str(tmp_path / "bad.yaml"))


def settings(tmp_path, *overrides):
    file = tmp_path / "x.yaml"
    file.write_text(
        """
name: x
data: {train: /mnt/a.tsv}
serving: {dir: /mnt/serving}
kubeflow: {image: i, work_dir: /mnt/w, volumes: [{claim: c, path: /mnt}]}
"""
    )
    return config.load_config(str(file), overrides)


def test_a_sound_configuration_passes(tmp_path):
    compatibility.check_config(settings(tmp_path))
    compatibility.check_config(settings(tmp_path, "kubeflow.defaults.env={https_proxy: 'http://p', no_proxy: .svc}"))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["serving.dir=/srv"], "serving.dir = /srv: should be on a volume"),
        (["serving.dir=null"], "serving.dir: missing"),
        (["kubeflow.work_dir=/srv"], "kubeflow.work_dir = /srv: should be on a volume .* that every component has"),
        (["data.train=/home/a.tsv"], "data.train = /home/a.tsv: should be on a volume .* or give an address"),
        (["data.schema_file=/home/schema.pbtxt"], "data.schema_file = /home/schema.pbtxt: is not in the image"),
        ([f"gates.invariance.pairs={REPO}/tests/p.tsv"], "p.tsv: is not in the image, which has configs"),
        ([f"gates.invariance.pairs={REPO}/data/invariance/no.tsv"], "no.tsv: is not in the image"),
        (["encoder.source=hub", "encoder.handle=/opt/encoders"], "encoder.handle = /opt/encoders: is on no volume"),
        (["gates.invariance.pairs=/home/p.tsv"], "gates.invariance.pairs = /home/p.tsv: is not in the image"),
        (["encoder.source=hub", "encoder.handle=/home/bert"], "encoder.handle = /home/bert: is on no volume"),
        (["kubeflow.components.Tariner.cpu=1"], "kubeflow.components: Tariner: no such component"),
        (["kubeflow.volumes=[{claim: c, path: /mnt, components: [X]}]"], "volumes.c.components: X: no such component"),
        (["kubeflow.components.Pusher.gpus=1"], "components.Pusher.gpus = 1: only the Trainer"),
        (["kubeflow.components.Trainer.gpus=1"], "Trainer.gpu_resource: missing"),
        (["kubeflow.defaults.shm_gb=8", "kubeflow.defaults.memory_gb=8"], "shm_gb = 8.0: counts against"),
        (
            ["kubeflow.volumes=[{claim: c, path: /mnt}, {claim: d, path: /app/data}]"],
            "d: path = /app/data would hide /app",
        ),
        (["kubeflow.volumes=[{claim: c, path: /mnt}, {claim: d, path: /tmp}]"], "d: path = /tmp would hide /tmp"),
        (["kubeflow.defaults.env={HTTPS_PROXY: 'http://p'}"], "defaults.env: HTTPS_PROXY without no_proxy"),
        (
            ["kubeflow.components.Trainer.secrets=[{env: https_proxy, secret: p, key: url}]"],
            "components.Trainer.env: https_proxy without no_proxy",
        ),
        (["trainer.device=gpu"], "trainer.device = gpu: kubeflow.components.Trainer.gpus gives it none"),
    ],
)
def test_what_a_cluster_can_not_give_is_refused(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        compatibility.check_config(settings(tmp_path, *overrides))


def test_a_volume_of_the_components_that_need_it_is_enough(tmp_path):
    compatibility.check_config(
        settings(
            tmp_path,
            "kubeflow.volumes=[{claim: w, path: /w}, {claim: c, path: /mnt, components: [TsvExampleGen, DataGate, "
            "BaselineModel, Pusher]}]",
            "kubeflow.work_dir=/w",
        )
    )


@pytest.mark.parametrize(
    "override, message",
    [
        ("kubeflow.pipeline_root=/data", "kubeflow.pipeline_root = '/data': should start with minio://"),
        ("kubeflow.volumes=[{claim: Not_A_Name, path: /x}]", "kubeflow.volumes.0.claim"),
        ("kubeflow.volumes=[{claim: a, path: /x}, {claim: b, path: /x}]", "/x is taken by more than one"),
        ("kubeflow.components.Trainer.tolerations=[{operator: Exists, value: x}]", "operator Exists takes none"),
        ("kubeflow.components.Trainer.gpu=1", "kubeflow.components.Trainer.gpu: no such key"),
        ("kubeflow.image=Not An Image", "kubeflow.image"),
    ],
)
def test_a_setting_that_is_wrong_in_itself(tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        settings(tmp_path, override)
