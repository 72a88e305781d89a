"""The networks of pre-training: the encoder, ELECTRA's generator, and the heads that only pre-training needs.

The generator shares its embeddings with the encoder (Clark et al. 2020). All variables have tf-models' names, or names
that the optimizer recognises: it does not decay biases and normalisations.
"""

from typing import Mapping, Optional

import numpy as np
import tensorflow as tf

from core.config import PretrainConfig
from trainer import bert

# BERT's ratio and initialiser (Devlin et al. 2019).
FEED_FORWARD_RATIO = 4
_STDDEV = 0.02
# More than `max_length`, so that the Trainer can use longer reviews than the pre-training.
MAX_POSITIONS = 512
TYPES = 2

_EMBEDDINGS = (
    "word_embeddings/embeddings:0",
    "position_embedding/embeddings:0",
    "type_embeddings/embeddings:0",
    "embeddings/layer_norm/gamma:0",
    "embeddings/layer_norm/beta:0",
)
_POOLER = "pooler_transform"

# Numbers of the variables' random values, by the prefix of their names; no network has as many variables.
_FIRST_NUMBERS = {"": 0, "generator/": 1 << 20, "head/": 2 << 20}


class Network(tf.Module):
    """The encoder and what is trained with it."""

    def __init__(
        self,
        config: PretrainConfig,
        pieces: int,
        has_scores: bool,
        weights: Optional[Mapping[str, np.ndarray]] = None,
    ):
        """Creates the variables; the seed determines their values.

        Args:
          config: objective, sizes and seed.
          pieces: number of pieces in the vocabulary.
          has_scores: whether a score is predicted.
          weights: name -> initial weight of the encoder, of these sizes; None for random ones.
        """
        super().__init__("pretraining")
        if weights is None:
            self.encoder_variables = _create(encoder_shapes(config, pieces), config.seed, "")
            # A language model does not train the pooler. Make it the identity, as in TF Hub's ELECTRAs and BERT
            # experts, instead of a random projection of the first token.
            self.encoder_variables[f"{_POOLER}/kernel:0"].assign(tf.eye(config.hidden))
        else:
            self.encoder_variables = {
                name: tf.Variable(value, name=name.removesuffix(":0")) for name, value in weights.items()
            }
        self.encoder = _bert(self.encoder_variables)
        self.generator: Optional[bert.Bert] = None
        guesser = self.encoder
        own: dict[str, tf.Variable] = {}
        heads: dict[str, tuple[int, ...]] = {}
        if config.objective == "electra":
            shared = {name: self.encoder_variables[name] for name in _EMBEDDINGS}
            shapes = encoder_shapes(_narrow(config), pieces)
            own = _create({name: shapes[name] for name in shapes if name not in shared}, config.seed, "generator/")
            self.generator = guesser = _bert(shared | own)
            heads |= _dense("detection/dense", config.hidden, config.hidden) | _dense("detection", config.hidden, 1)
        heads |= _prediction_shapes(guesser.sizes.hidden, config.embedding or config.hidden, pieces)
        if has_scores:
            heads |= _dense("score", config.hidden, 1)
        self.heads = _create(heads, config.seed, "head/")
        trained = [*self.encoder.weights, *own.values(), *self.heads.values()]
        # The score is computed from the pooled output of the encoder. Nothing else is.
        untrained = "generator/" + _POOLER if has_scores else _POOLER
        self.weights = [weight for weight in trained if untrained not in weight.name]

    def guess(self, hidden_states: tf.Tensor, dtype: tf.DType, explicit: bool) -> tf.Tensor:
        """Computes the logits of all pieces, float32[k, vocabulary], from a network's outputs [k, hidden].

        Args:
          hidden_states: outputs of the generator, or of the encoder without one.
          dtype: data type of the matrix products.
          explicit: whether gradients are needed.
        """
        gelu, normalise = bert.functions(explicit)
        heads = self.heads
        x = gelu(self._affine(hidden_states, "prediction/dense", dtype))
        gamma, beta = (tf.convert_to_tensor(heads[f"prediction/layer_norm/{part}:0"]) for part in ("gamma", "beta"))
        x = tf.cast(normalise(tf.cast(x, tf.float32), gamma, beta), dtype)
        table = self.encoder_variables["word_embeddings/embeddings:0"]
        logits = tf.matmul(x, tf.cast(table, dtype), transpose_b=True)
        return tf.cast(logits, tf.float32) + heads["prediction/bias:0"]

    def detect(self, outputs: tf.Tensor, dtype: tf.DType, explicit: bool) -> tf.Tensor:
        """Computes the logit that each token was replaced, float32[tokens], from outputs [batch, seq, hidden]."""
        gelu, _ = bert.functions(explicit)
        x = gelu(self._affine(tf.reshape(outputs, [-1, outputs.shape[-1]]), "detection/dense", dtype))
        return tf.cast(self._affine(x, "detection", dtype), tf.float32)[:, 0]

    def rate(self, outputs: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Computes the score's logit, float32[batch], through the pooler."""
        weights = self.encoder_variables
        kernel, bias = (tf.cast(weights[f"{_POOLER}/{part}:0"], dtype) for part in ("kernel", "bias"))
        pooled = tf.tanh(tf.nn.bias_add(tf.matmul(outputs[:, 0], kernel), bias))
        return tf.cast(self._affine(pooled, "score", dtype), tf.float32)[:, 0]

    def _affine(self, x: tf.Tensor, name: str, dtype: tf.DType) -> tf.Tensor:
        kernel, bias = (tf.cast(self.heads[f"{name}/{part}:0"], dtype) for part in ("kernel", "bias"))
        return tf.nn.bias_add(tf.matmul(tf.cast(x, dtype), kernel), bias)


def encoder_shapes(config: PretrainConfig, pieces: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the encoder's weights by name."""
    return bert.weight_shapes(
        vocabulary=pieces,
        positions=MAX_POSITIONS,
        types=TYPES,
        embedding=config.embedding or config.hidden,
        hidden=config.hidden,
        layers=config.layers,
        heads=config.heads,
        inner=FEED_FORWARD_RATIO * config.hidden,
    )


def _narrow(config: PretrainConfig) -> PretrainConfig:
    """Returns the sizes of the generator."""
    heads = max(1, round(config.generator_share * config.heads))
    hidden = heads * max(1, round(config.generator_share * config.hidden / heads))
    return config.model_copy(update={"hidden": hidden, "heads": heads, "embedding": config.embedding or config.hidden})


def _prediction_shapes(hidden: int, embedding: int, pieces: int) -> dict[str, tuple[int, ...]]:
    return {
        **_dense("prediction/dense", hidden, embedding),
        "prediction/layer_norm/gamma:0": (embedding,),
        "prediction/layer_norm/beta:0": (embedding,),
        "prediction/bias:0": (pieces,),
    }


def _dense(name: str, width: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel:0": (width, outputs), f"{name}/bias:0": (outputs,)}


def _create(shapes: Mapping[str, tuple[int, ...]], seed: int, prefix: str) -> dict[str, tf.Variable]:
    """Creates variables with BERT's initial values, which depend on the seed and the prefix."""
    variables = {}
    for number, (name, shape) in enumerate(shapes.items(), _FIRST_NUMBERS[prefix]):
        if name.endswith("/gamma:0"):
            initial = tf.ones(shape)
        elif name.endswith(("/beta:0", "/bias:0")):
            initial = tf.zeros(shape)
        else:
            initial = tf.random.stateless_truncated_normal(shape, [seed, number], stddev=_STDDEV, alg="philox")
        variables[name] = tf.Variable(initial, name=prefix + name.removesuffix(":0"))
    return variables


def _bert(variables: Mapping[str, tf.Variable]) -> bert.Bert:
    sizes = bert.infer_sizes({name: tuple(variable.shape) for name, variable in variables.items()})
    assert sizes is not None  # The variables have the expected shapes.
    return bert.Bert(variables, sizes)
