"""BERT's forward pass and gradients."""

import numpy as np
import pytest
import tensorflow as tf
from official.nlp.configs import encoders as encoder_configs

from tests import encoders
from trainer import bert, native
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

IDS = np.array([[2, 7, 9, 3, 0], [2, 5, 3, 0, 0]], np.int32)


def inputs_of(ids):
    return {
        WORD_IDS: tf.constant(ids),
        MASK: tf.constant((ids > 0).astype(np.int32)),
        TYPE_IDS: tf.zeros_like(ids),
    }


@pytest.fixture(scope="module", name="network")
def _network(tmp_path_factory):
    folder = encoders.save(str(tmp_path_factory.mktemp("encoder") / "encoder"))
    return native.rebuild_bert(tf.saved_model.load(folder + "/encoder"))


def test_sizes_are_inferred_from_the_weights(network):
    shapes = {name: tuple(weight.shape) for name, weight in zip(network._sizes.names, network.weights, strict=True)}
    sizes = bert.infer_sizes(shapes)
    assert (sizes.vocabulary, sizes.hidden, sizes.layers, sizes.heads) == (
        shapes["word_embeddings/embeddings:0"][0],
        encoders.CONFIG.hidden,
        encoders.CONFIG.layers,
        encoders.CONFIG.heads,
    )
    for name in shapes:
        assert bert.infer_sizes({other: shape for other, shape in shapes.items() if other != name}) is None, name
        assert bert.infer_sizes({**shapes, name: (*shapes[name], 1)}) is None, name


@pytest.mark.parametrize("embedding", [8, 16])
def test_outputs_of_every_token_are_those_of_tf_models(embedding):
    sizes = encoder_configs.BertEncoderConfig(
        vocab_size=20,
        embedding_size=embedding,
        hidden_size=16,
        num_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    keras = encoder_configs.build_encoder(encoder_configs.EncoderConfig(type="bert", bert=sizes))
    for weight in keras.weights:
        weight.assign(tf.random.stateless_normal(weight.shape, [0, 1], stddev=0.2))
    network = native.rebuild_bert(keras)
    assert len(network.weights) == len(keras.weights)
    expected = keras(inputs_of(IDS), training=False)
    real = (IDS > 0)[..., None]
    np.testing.assert_allclose(
        network.sequence_output(inputs_of(IDS)) * real, expected["sequence_output"] * real, atol=1e-5
    )
    np.testing.assert_allclose(network(inputs_of(IDS)), expected["pooled_output"], atol=1e-5)


def test_padding_and_other_rows_change_nothing(network):
    together = network(inputs_of(IDS)).numpy()
    alone = [network(inputs_of(row[row > 0][None])).numpy()[0] for row in IDS]
    wider = network(inputs_of(np.pad(IDS, ((0, 2), (0, 4))))).numpy()
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together, wider[:2], atol=1e-6)
    # Filler rows.
    assert np.isfinite(wider).all()


def test_dropout_depends_only_on_the_seed(network):
    def draw(*seed):
        return network(inputs_of(IDS), tf.constant(seed, tf.int64)).numpy()

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    assert len({draw(*seed).tobytes() for seed in ((1, 2), (1, 3), (2, 2))}) == 3
    assert not np.allclose(draw(1, 2), network(inputs_of(IDS)))


def test_no_two_dropouts_share_random_numbers():
    ones = tf.ones([1000])
    first, second = (bert.Dropout(tf.constant([0, step], tf.int64), 0.5) for step in (0, 1))
    drawn = [dropout(ones).numpy() for dropout in (first, first, second, second)]
    assert len({draw.tobytes() for draw in drawn}) == 4
    for draw in drawn:
        assert set(draw) == {0.0, 2.0} and 0.4 < np.mean(draw == 0) < 0.6


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_lower_precision_is_close_and_returns_float32(network, dtype):
    output = network(inputs_of(IDS), dtype=dtype)
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, network(inputs_of(IDS)), atol=0.05)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_every_weight_gets_a_gradient_and_no_branch_is_traced(network, dtype):
    @tf.function(autograph=False)
    def gradients(inputs, seed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(inputs, seed, dtype) ** 2)
        return tape.gradient(loss, network.weights)

    seed = tf.constant([0, 0], tf.int64)
    for weight, gradient in zip(network.weights, gradients(inputs_of(IDS), seed), strict=True):
        assert tf.convert_to_tensor(gradient).shape == weight.shape and gradient.dtype == tf.float32
    graph = gradients.get_concrete_function(inputs_of(IDS), seed).graph
    types = {op.type.removeprefix("Stateless") for op in graph.get_operations()}
    assert not types & {"If", "While", "Case", "PyFunc", "EagerPyFunc"}


def _gradients(function, *arguments):
    arguments = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = function(*arguments)
        loss = tf.reduce_sum(tf.sin(output))
    return [output, *tape.gradient(loss, arguments)]


def test_gelu_and_its_gradient_equal_tensorflows():
    x = np.linspace(-6, 6, 101).astype(np.float32)
    ours, theirs = (
        _gradients(tf.custom_gradient(bert.gelu), x),
        _gradients(lambda x: tf.nn.gelu(x, approximate=True), x),
    )
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_normalisation_and_its_gradients_equal_tensorflows():
    def reference(x, gamma, beta):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, bert.EPSILON)

    draw = np.random.default_rng(0).normal
    for shape in ((3, 8), (2, 3, 8)):
        arguments = [draw(size=size).astype(np.float32) for size in (shape, 8, 8)]
        for one, two in zip(
            _gradients(tf.custom_gradient(bert.normalise), *arguments), _gradients(reference, *arguments), strict=True
        ):
            np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_copy_is_independent(network):
    copy = network.copy()
    np.testing.assert_array_equal(copy(inputs_of(IDS)), network(inputs_of(IDS)))
    assert [weight.name for weight in copy.weights] == [weight.name for weight in network.weights]
    before = network.weights[0].numpy()
    copy.weights[0].assign_add(tf.ones_like(copy.weights[0]))
    np.testing.assert_array_equal(network.weights[0], before)
