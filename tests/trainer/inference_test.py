"""The folded network has the outputs of the trained one, whatever the padding."""

import numpy as np
import pytest
import tensorflow as tf

from artifacts import encoder
from tests import encoders
from trainer import bert, inference, model
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS


@pytest.fixture(scope="module", name="network")
def _network(tmp_path_factory):
    network = model.load_encoder(encoder.encoder_dir(encoders.save(str(tmp_path_factory.mktemp("encoder") / "1"))))
    generator = np.random.default_rng(0)
    for weight in network.weights:  # Larger than trained ones, so that a wrong weight shows.
        weight.assign_add(generator.normal(scale=0.1, size=weight.shape).astype(np.float32))
    return network


def inputs_of(*lengths):
    generator = np.random.default_rng(1)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int32)
    return {
        WORD_IDS: tf.constant(generator.integers(5, 100, mask.shape, dtype=np.int32) * mask),
        MASK: tf.constant(mask),
        TYPE_IDS: tf.constant(generator.integers(0, 2, mask.shape, dtype=np.int32) * mask),
    }


@pytest.mark.parametrize("lengths", [(1,), (7,), (3, 9, 2, 9), (5, 5)])
def test_the_folded_network_computes_the_same(network, lengths):
    inputs = inputs_of(*lengths)
    expected, folded = network(inputs), inference.FoldedBert(network)(inputs)
    np.testing.assert_allclose(folded, expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


def test_the_output_of_every_token_is_the_same_too(network):
    inputs = inputs_of(3, 9, 2)
    mask = inputs[MASK].numpy()[..., None]
    expected, folded = network.sequence_output(inputs), inference.FoldedBert(network).sequence_output(inputs)
    np.testing.assert_allclose(folded * mask, expected * mask, atol=1e-5)


@pytest.mark.parametrize("pooling", ["pooler", "mean", "first"])
@pytest.mark.parametrize("activation", sorted(bert.ACTIVATIONS))
def test_activation_epsilon_and_pooling_are_those_of_the_network(network, activation, pooling):
    variant = bert.Variant(activation=activation, epsilon=0.1)
    other = bert.Bert(network.weights_by_name, network.sizes, variant, pooling)
    inputs = inputs_of(3, 9, 2, 9)
    expected = other(inputs)
    np.testing.assert_allclose(inference.FoldedBert(other)(inputs), expected, atol=1e-5)
    assert np.abs(expected - network(inputs)).max() > 1e-2


def test_only_used_weights_are_kept(network):
    names = {weight.name for weight in inference.FoldedBert(network).weights}
    attention = "transformer/layer_0/self_attention"
    assert f"{attention}/key_value/kernel:0" in names and f"{attention}/query/kernel:0" in names
    assert not names & {f"{attention}/{part}/kernel:0" for part in ("key", "value")}


def test_a_network_may_have_only_one_segment(network):
    name = "type_embeddings/embeddings:0"
    weights = {**network.weights_by_name, name: tf.Variable(network.weights_by_name[name][:1])}
    other = bert.Bert(weights, network.sizes)
    inputs = {**inputs_of(3, 9), TYPE_IDS: tf.zeros([2, 9], tf.int32)}
    np.testing.assert_allclose(inference.FoldedBert(other)(inputs), other(inputs), atol=1e-5)
