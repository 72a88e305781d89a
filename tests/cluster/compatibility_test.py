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
    result = copy.deepcopy(tree)
    *parents, last = path.split("/")
    parent = result
    for key in parents:
        parent = parent.setdefault(key, {})
    parent[last] = value
    return result


def test_a_valid_file_passes():
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
        (EXECUTOR, {"resolver": {}}, "trainer_executor: resolver"),
        (f"{EXECUTOR}/container/lifecycle", {"preCacheCheck": {}}, "a driver hook"),
        (
            EXECUTOR,
            {"importer": {"artifactUri": {"constant": "/data/x"}}},
            "importer: /data/x: should start with minio",
        ),
        (f"{EXECUTOR}/container/imagee", "i", "deploymentSpec: not a valid pipeline spec: .*imagee"),
        ("root/dag/taskz", {}, "not a valid pipeline spec: .*taskz"),
        ("root/dag/tasks/trainer/dependentTasks", ["pusher"], "dependentTasks: pusher does not exist"),
        (
            "root/dag/tasks/trainer/inputs/parameters/x",
            {"componentInputParameter": "y"},
            "input x: parameter y is not declared",
        ),
        (
            "root/dag/tasks/trainer/inputs/parameters/x",
            {"runtimeValue": {"constant": '{"a": "RuntimeParameter(name=..)"}'}},
            "input x: a RuntimeParameter inside another value",
        ),
        (
            f"{EXECUTOR}/container/image",
            "영화",
            "trainer_executor.container.image: '영화': not ASCII, .*compile the configuration again",
        ),
    ],
)
def test_faults_that_would_fail_each_run_are_refused(path, value, message):
    with pytest.raises(UserError, match=f"x.yaml: .*{message}"):
        compatibility.check_text(text(changed(SPEC, path, value)), "x.yaml")


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("platform", {}, "platform: unknown field beside platforms"),
        ("platforms/kubernets", {}, "kubernets: unknown field beside kubernetes"),
        ("platforms/kubernetes", [], "\\[\\]: should be a mapping with the key deploymentSpec"),
        ("platforms/kubernetes/deploymentSpec/executors", ["a"], "executors: .* should map executors"),
        ("platforms/kubernetes/deploymentSpec/executors/pusher_executor", {}, "pusher_executor: no such executor"),
        (
            "platforms/kubernetes/deploymentSpec/executors/trainer_executor/nodeSelectors",
            {},
            "trainer_executor.nodeSelectors: unknown field",
        ),
    ],
)
def test_settings_that_the_backend_would_silently_drop_are_refused(path, value, message):
    with pytest.raises(UserError, match=f"platform document: {message}"):
        compatibility.check_text(text(SPEC, changed(PLATFORM, path, value)), "x.yaml")


@pytest.mark.parametrize("documents", [(), (PLATFORM,), (SPEC, SPEC), (SPEC, PLATFORM, PLATFORM), (SPEC, ["a"])])
def test_wrong_numbers_of_documents(documents):
    with pytest.raises(UserError, match="should contain one pipeline document"):
        compatibility.check_text(text(*documents), "x.yaml")


def test_a_missing_or_invalid_file(tmp_path):
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


def test_a_valid_configuration_passes(tmp_path):
    compatibility.check_config(settings(tmp_path))
    compatibility.check_config(settings(tmp_path, "kubeflow.defaults.env={https_proxy: 'http://p', no_proxy: .svc}"))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["serving.dir=/srv"], "serving.dir = /srv: should be on a volume"),
        (["serving.dir=null"], "serving.dir: missing"),
        (["kubeflow.work_dir=/srv"], "kubeflow.work_dir = /srv: should be on a volume .* that every component mounts"),
        (["data.train=/home/a.tsv"], "data.train = /home/a.tsv: should be on a volume .* or a URL"),
        (["data.schema_file=/home/schema.pbtxt"], "data.schema_file = /home/schema.pbtxt: not in the image"),
        ([f"gates.invariance.pairs={REPO}/tests/p.tsv"], "p.tsv: not in the image, which contains configs"),
        ([f"gates.invariance.pairs={REPO}/data/invariance/no.tsv"], "no.tsv: not in the image"),
        (["encoder.source=hub", "encoder.handle=/opt/encoders"], "encoder.handle = /opt/encoders: should be"),
        (["gates.invariance.pairs=/home/p.tsv"], "gates.invariance.pairs = /home/p.tsv: not in the image"),
        (
            ["encoder.source=hub", "encoder.handle=/home/bert"],
            "encoder.handle = /home/bert: should be a name of the cat",
        ),
        (
            ["encoder.source=hub", "encoder.handle=bert_multi_case"],
            "encoder.handle = 'bert_multi_case': not in the catalogue; did you mean bert_multi_cased",
        ),
        (["encoder.source=hub", "encoder.handle=https://x/enc"], "encoder.preprocess: missing"),
        (["distill.teachers=[/home/1]"], "distill.teachers = /home/1: should be on a volume .* TeacherLabels mounts$"),
        (
            ["distill={teachers: [/mnt/1], texts: [{file: /home/t.tsv}]}"],
            "distill.texts = /home/t.tsv: should be on a volume .* or a URL",
        ),
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
        (["kubeflow.defaults.env={TITLE: 영화}"], "kubeflow.defaults.env.TITLE: '영화': should be ASCII"),
        (["trainer.device=gpu"], "trainer.device = gpu: kubeflow.components.Trainer.gpus: missing"),
    ],
)
def test_settings_that_cannot_work_on_a_cluster_are_refused(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        compatibility.check_config(settings(tmp_path, *overrides))


def test_a_volume_is_enough_if_the_components_that_need_it_mount_it(tmp_path):
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
        ("kubeflow.volumes=[{claim: a, path: /x}, {claim: b, path: /x}]", "path = /x: is used by more than one volume"),
        ("kubeflow.components.Trainer.tolerations=[{operator: Exists, value: x}]", "operator Exists takes no value"),
        ("kubeflow.components.Trainer.gpu=1", "kubeflow.components.Trainer.gpu: no such key"),
        ("kubeflow.image=Not An Image", "kubeflow.image"),
    ],
)
def test_an_invalid_setting_is_refused(tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        settings(tmp_path, override)
