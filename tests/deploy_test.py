"""The files for model servers under deploy/ agree with each other, the volume, and what a model needs."""

import pathlib
import re

import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SERVICE = yaml.safe_load((DEPLOY / "kserve.yaml").read_text(encoding="utf-8"))


def test_kserve_mounts_one_version_of_the_runs_volume():
    predictor = SERVICE["spec"]["predictor"]
    (volume,), (mount,) = predictor["volumes"], predictor["model"]["volumeMounts"]
    claim = yaml.safe_load((DEPLOY / "volume.yaml").read_text(encoding="utf-8"))
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mount["name"] == volume["name"] and mount["readOnly"]
    folder, version = mount["subPath"].rsplit("/", 1)
    # TensorFlow Serving looks for numbers in the folder that KServe passes to it.
    assert mount["mountPath"] == f"/mnt/models/{version}" and version.isdecimal()
    run = yaml.safe_load((ROOT / "configs" / "kubeflow.yaml").read_text(encoding="utf-8"))
    assert run["serving"]["dir"] == f"{run['kubeflow']['volumes'][0]['path']}/{folder}"


def test_one_number_is_all_that_differs_between_two_versions():
    text = (DEPLOY / "kserve.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\d{10}", text)) == {"1763827200"}
    other = yaml.safe_load(text.replace("1763827200", "1763913600"))
    (mount,) = other["spec"]["predictor"]["model"]["volumeMounts"]
    assert mount["mountPath"].endswith("/1763913600") and mount["subPath"].endswith("/1763913600")
    assert other["metadata"] == SERVICE["metadata"]


def test_the_canary_gets_a_part_of_the_requests():
    assert 0 < SERVICE["spec"]["predictor"]["canaryTrafficPercent"] < 100


def test_the_servers_are_new_enough_for_the_model():
    documents = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md", "docs/serving.md")]
    tags = [SERVICE["spec"]["predictor"]["model"]["runtimeVersion"]]
    tags += [tag for text in documents for tag in re.findall(r"tensorflow/serving:([\d.]+)", text)]
    assert len(tags) > 3 and all(tuple(map(int, tag.split("."))) >= (2, 14) for tag in tags)


def test_the_version_before_the_newest_stays_loaded():
    text = (DEPLOY / "tensorflow-serving-models.config").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (SERVICE["metadata"]["name"], f"/models/{model.name}")
    assert model.model_version_policy.latest.num_versions == 2
