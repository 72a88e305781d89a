"""Engines answer as TensorFlow does, or not at all."""

import builtins
import sys

import numpy as np
import pytest
import tensorflow as tf

import local_runner
from artifacts import encoder, model_card
from core.errors import UserError
from local import engines, served_model
from local.engines import choice
from tests import encoders, saved_models
from trainer import bert, export, model
from trainer.packing import Packer

LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", "max_line_bytes": 1 << 20}
MAX_LENGTH = 16
ROWS = [("정말 재미있는 영화",), ("",), ("great movie " * 20,), ("굿",)]


@pytest.fixture(scope="module", name="parts")
def _parts(tmp_path_factory):
    return encoders.save(str(tmp_path_factory.mktemp("encoder") / "1"))


@pytest.fixture(scope="module", name="exported")
def _exported(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "1"
    return export_model(str(folder), parts, model.load_encoder(encoder.encoder_dir(parts)))


def export_model(folder, parts, network):
    head = model.Head(saved_models.TASK, encoders.CONFIG.hidden, 0.0, seed=1)
    head.kernel.assign(100 * head.kernel)
    packer = Packer(tf.saved_model.load(encoder.preprocess_dir(parts)), 1, MAX_LENGTH)
    export.export(folder, export.ServedClassifier(packer, model.Classifier(network, head), saved_models.TASK))
    model_card.write(folder, model_card.ModelCard(saved_models.TASK, LAYOUT, MAX_LENGTH))
    return folder


def share_layers(network):
    """Returns a BERT all of whose layers have the weights of the first one."""
    names = {name: name.replace("/layer_0/", "/") for name in network.sizes.names if "/layer_1/" not in name}
    weights = {
        new: tf.Variable(network.weights_by_name[old], name=new.removesuffix(":0")) for old, new in names.items()
    }
    sizes = bert.infer_sizes({name: tuple(weight.shape) for name, weight in weights.items()}, network.sizes.layers)
    return bert.Bert(weights, sizes)


class Shifted:
    """An engine whose probabilities are wrong by a constant."""

    def __init__(self, loaded, by):
        self.loaded, self.by = loaded, by

    def compute(self, columns):
        outputs = self.loaded.signatures["serving_default"](text=columns[0])
        return {
            **{name: value.numpy() for name, value in outputs.items()},
            "probability": outputs["probability"] + self.by,
        }


@pytest.mark.parametrize(
    "name, shift",
    [(engines.ONNX, 0.01), (engines.ONNX_INT8, 0.1), (engines.ONNX, np.nan), (engines.OPENVINO, 0.01)],
)
def test_an_engine_with_other_answers_is_refused(exported, name, shift):
    own = served_model.load(exported, "")
    choice.check(name, Shifted(own.loaded, 0.0), saved_models.TASK, own.compute)
    with pytest.raises(UserError, match=f"--engine {name}: its answers to 64 texts differ from TensorFlow's"):
        choice.check(name, Shifted(own.loaded, shift), saved_models.TASK, own.compute)


@pytest.mark.parametrize(
    "name, missing", [(engines.ONNX, "onnx"), (engines.ONNX_INT8, "onnxruntime"), (engines.OPENVINO, "openvino")]
)
def test_without_the_extra_one_sentence_says_what_to_install(exported, monkeypatch, capfd, name, missing):
    real = builtins.__import__

    def without_package(name, *arguments, **named):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_package)
    for module in ("onnx_engine", "onnx_graph", "onnx_runtime", "openvino_runtime"):
        monkeypatch.delitem(sys.modules, f"local.engines.{module}", raising=False)
        monkeypatch.delattr(engines, module, raising=False)
    assert local_runner.main(["predict", "--model", exported, "--engine", name, "굿"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and f"{missing} is not installed" in error and "sh scripts/setup.sh onnx" in error


def test_a_model_that_is_not_ours_to_convert_is_refused(tmp_path):
    folder = saved_models.save(str(tmp_path / "1"))
    model_card.write(folder, model_card.ModelCard(saved_models.TASK, LAYOUT))
    with pytest.raises(UserError, match="can't be converted; its encoder should be a BERT"):
        served_model.load(folder, "", engines.ONNX)


@pytest.mark.parametrize("shared, pooling", [(True, "pooler"), (False, "mean"), (False, "first")])
def test_networks_that_the_graph_lacks_are_refused(parts, tmp_path, shared, pooling):
    network = model.load_encoder(encoder.encoder_dir(parts), pooling=pooling)
    folder = export_model(str(tmp_path / "1"), parts, share_layers(network) if shared else network)
    with pytest.raises(UserError, match="do not share weights, with trainer.pooling = pooler"):
        served_model.load(folder, "", engines.ONNX)


@pytest.mark.parametrize("name, tolerance", [(engines.ONNX, 2e-6), (engines.ONNX_INT8, 0.02), (engines.OPENVINO, 2e-6)])
def test_an_engine_answers_as_tensorflow(exported, name, tolerance):
    expected, answers = (served_model.load(exported, "", each).compute(ROWS) for each in (engines.TENSORFLOW, name))
    assert answers.keys() == expected.keys()
    np.testing.assert_allclose(answers["probability"], expected["probability"], atol=tolerance)
    assert np.ptp(expected["probability"]) > 2e-4
