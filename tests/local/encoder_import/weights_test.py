"""The network built from weights computes what NumPy does, for every family; errors name the weight."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from core.errors import UserError
from local.encoder_import import architecture, weights
from tests.local import encoder_folders
from trainer import bert
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

IDS = np.array([[2, 7, 9, 13, 3, 0, 0], [2, 5, 20, 11, 6, 8, 3]], np.int32)
TYPES = np.array([[0, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]], np.int32)
INPUTS = {WORD_IDS: IDS, MASK: (IDS > 0).astype(np.int32), TYPE_IDS: TYPES}


def describe(folder, family, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**encoder_folders.CONFIGS[family], **changes}))
    return architecture.read(str(folder))


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("family", encoder_folders.CONFIGS)
def test_outputs_equal_a_forward_pass_in_numpy(tmp_path, family, prefixed):
    tensors = encoder_folders.make_weights(family)
    # As saved with a head on the encoder.
    named = {f"{family}.{name}": value for name, value in tensors.items()} | {"head.weight": np.ones(3)}
    network = weights.convert(named if prefixed else tensors, describe(tmp_path, family), "file")
    outputs = network.outputs({name: tf.constant(value) for name, value in INPUTS.items()})
    sequence, pooled = encoder_folders.forward(family, tensors, IDS, INPUTS[MASK], TYPES)
    real = INPUTS[MASK].astype(bool)
    np.testing.assert_allclose(outputs["sequence_output"].numpy()[real], sequence[real], atol=1e-5)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=1e-5)
    np.testing.assert_allclose(network({n: tf.constant(v) for n, v in INPUTS.items()}), pooled, atol=1e-5)
    assert len(outputs["encoder_outputs"]) == encoder_folders.LAYERS


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_every_activation_equals_numpys_and_its_gradient_a_difference(activation):
    x = np.linspace(-4, 4, 33).astype(np.float64)
    function = bert.ACTIVATIONS[{"gelu_new": "gelu_tanh"}.get(activation, activation)]
    expected = encoder_folders.ACTIVATIONS[activation]
    values, gradient = function(tf.constant(x))
    np.testing.assert_allclose(values, expected(x), atol=1e-6)
    slope = (expected(x + 1e-6) - expected(x - 1e-6)) / 2e-6
    kink = (activation == "relu") & (x == 0)
    np.testing.assert_allclose(gradient(tf.ones_like(x))[~kink], slope[~kink], atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_lower_precision_is_close_and_every_weight_gets_a_gradient(tmp_path, family):
    network = weights.convert(encoder_folders.make_weights(family), describe(tmp_path, family), "file")
    inputs = {name: tf.constant(value) for name, value in INPUTS.items()}
    np.testing.assert_allclose(network(inputs, dtype=tf.bfloat16), network(inputs), atol=0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(inputs, tf.constant([0, 0], tf.int64)) ** 2)
    assert all(gradient is not None for gradient in tape.gradient(loss, network.weights))


def test_a_copy_keeps_activation_epsilon_and_dropout(tmp_path):
    network = weights.convert(encoder_folders.make_weights("roberta"), describe(tmp_path, "roberta"), "file")
    assert network.copy().variant == network.variant == bert.Variant("relu", 1e-2, 0.1)


@pytest.mark.parametrize("family", encoder_folders.CONFIGS)
def test_a_missing_or_misshapen_weight_is_named(tmp_path, family):
    described = describe(tmp_path, family)
    tensors = encoder_folders.make_weights(family)
    for name in tensors:
        layer = name.rpartition(".")[0]
        # Without a pooler the first token is the pooled output.
        if not layer.startswith("pooler"):
            with pytest.raises(UserError, match=rf"^file: {name} is missing"):
                weights.convert({k: v for k, v in tensors.items() if k != name}, described, "file")
        with pytest.raises(UserError, match=rf"^file: {name} has the shape .*asks for"):
            weights.convert({**tensors, name: tensors[name][:-1]}, described, "file")
    with pytest.raises(UserError, match="not finite"):
        weights.convert({**tensors, name: tensors[name] * np.nan}, described, "file")


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"model_type": "bart"}, "model_type = 'bart': can't be imported; "),
        ({"model_type": None}, "model_type = 'None': can't be imported; available: bert, electra, "),
        ({"hidden_act": "mish"}, "hidden_act = 'mish': should be one of gelu, "),
        ({"position_embedding_type": "relative_key"}, "should be 'absolute'"),
        ({"hidden_size": 9}, "hidden_size = 9: should be a multiple of num_attention_heads = 2"),
        ({"hidden_size": "8"}, "hidden_size = '8': should be a whole number of at least 1"),
        ({"layer_norm_eps": True}, "layer_norm_eps = True: should be a number"),
        ({"is_decoder": True}, "is_decoder = True: can't be imported; should be False"),
    ],
)
def test_settings_that_can_not_be_imported_are_named(tmp_path, changes, expected):
    with pytest.raises(UserError) as error:
        describe(tmp_path, "bert", **changes)
    assert str(error.value).startswith(f"{tmp_path}/config.json: ") and expected in str(error.value)


def test_layers_of_albert_must_be_shared(tmp_path):
    with pytest.raises(UserError, match="num_hidden_groups = 2: can't be imported; should be 1"):
        describe(tmp_path, "albert", num_hidden_groups=2)
    assert describe(tmp_path, "albert").shared and not dataclasses.replace(describe(tmp_path, "bert")).shared
