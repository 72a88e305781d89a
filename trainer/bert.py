"""BERT's outputs (Devlin et al. 2019), computed with the weights of an encoder from TF Hub.

The network is the one that tf-models exports to TF Hub. Unless all tokens are needed, it is reduced to what a
classifier needs: the last layer computes the first token only. The embeddings may be narrower than the layers, as in
ELECTRA, and the layers may share one set of weights, as in ALBERT. Query, key and value are one matrix product, and
products run over all tokens of the batch as one matrix, which makes better use of the matrix units of CPUs and GPUs for
narrow encoders.
"""

import dataclasses
import math
import re
from typing import Any, Callable, Mapping, Optional, Sequence

import tensorflow as tf

from core.config import Pooling
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

# BERT's values: dropout of hidden states and attention, and the normalisation's protection from division by 0.
DROPOUT = 0.1
EPSILON = 1e-12

_POOLER = "pooler_transform"

# Added to the attention scores of padding, whose share then rounds to 0 in every precision.
_NO_ATTENTION = -1e9

_WORD_EMBEDDINGS = "word_embeddings/embeddings:0"

# Maximum number of dropouts per step and replica; more would reuse the next step's random numbers.
_SALTS = 1 << 12


@dataclasses.dataclass(frozen=True)
class Sizes:
    """A BERT's sizes.

    Attributes:
      names: names of all its weights in tf-models.
      embedding: width of the embeddings; if it is not `hidden`, they are projected.
      shared: whether all layers use one set of weights.
    """

    names: tuple[str, ...]
    vocabulary: int
    embedding: int
    hidden: int
    layers: int
    heads: int
    shared: bool = False


@dataclasses.dataclass(frozen=True)
class Variant:
    """What distinguishes two networks with the same weights; the defaults are those of tf-models' BERT.

    Attributes:
      activation: a name in `ACTIVATIONS`, of the feed-forward networks.
      epsilon: protects the normalisation from division by 0.
      dropout: of hidden states and attention.
    """

    activation: str = "gelu_tanh"
    epsilon: float = EPSILON
    dropout: float = DROPOUT


def infer_sizes(shapes: Mapping[str, tuple[int, ...]], shared_layers: int = 0) -> Optional[Sizes]:
    """Infers a BERT's sizes from its weights' names and shapes; None if a weight is missing or has another shape.

    Args:
      shapes: name in tf-models -> shape.
      shared_layers: number of layers if they share their weights, which do not tell it.
    """
    layers = len({match[1] for name in shapes if (match := re.match(r"transformer/layer_(\d+)/", name))})
    shared = layers == 0 and shared_layers > 0
    layers = layers or shared_layers
    try:
        vocabulary, embedding = shapes["word_embeddings/embeddings:0"]
        positions, _ = shapes["position_embedding/embeddings:0"]
        types, _ = shapes["type_embeddings/embeddings:0"]
        hidden, heads, _ = shapes[f"{_layer_name(0, shared)}/self_attention/query/kernel:0"]
        (inner,) = shapes[f"{_layer_name(0, shared)}/intermediate/bias:0"]
    except (KeyError, ValueError):
        return None
    expected = weight_shapes(vocabulary, positions, types, embedding, hidden, layers, heads, inner, shared)
    if any(shapes.get(name) != shape for name, shape in expected.items()):
        return None
    return Sizes(tuple(expected), vocabulary, embedding, hidden, layers, heads, shared)


def weight_shapes(
    vocabulary: int,
    positions: int,
    types: int,
    embedding: int,
    hidden: int,
    layers: int,
    heads: int,
    inner: int,
    shared: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all weights by their names in tf-models.

    Args:
      vocabulary: number of word pieces.
      positions: maximum number of tokens.
      types: number of segments.
      embedding: width of the embeddings.
      hidden: width of the layers.
      layers: number of layers.
      heads: attention heads of a layer.
      inner: width of a layer's feed-forward network.
      shared: whether all layers use one set of weights.
    """
    expected = {
        "word_embeddings/embeddings:0": (vocabulary, embedding),
        "position_embedding/embeddings:0": (positions, embedding),
        "type_embeddings/embeddings:0": (types, embedding),
        **_dense(_POOLER, (hidden, hidden)),
        **_norm("embeddings/layer_norm", embedding),
    }
    if embedding != hidden:
        expected |= _dense("embedding_projection", (embedding, hidden))
    names = [_layer_name(i, shared) for i in range(1 if shared else layers)]
    return expected | _layer_shapes(names, hidden, heads, inner)


def _layer_name(number: int, shared: bool) -> str:
    return "transformer" if shared else f"transformer/layer_{number}"


def _layer_shapes(names: Sequence[str], hidden: int, heads: int, inner: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights of the Transformer layers."""
    by_head = (heads, hidden // heads)
    expected: dict[str, tuple[int, ...]] = {}
    for layer in names:
        for name in ("query", "key", "value"):
            expected |= {
                f"{layer}/self_attention/{name}/kernel:0": (hidden, *by_head),
                f"{layer}/self_attention/{name}/bias:0": by_head,
            }
        expected |= {
            f"{layer}/self_attention/attention_output/kernel:0": (*by_head, hidden),
            f"{layer}/self_attention/attention_output/bias:0": (hidden,),
            **_norm(f"{layer}/self_attention_layer_norm", hidden),
            **_dense(f"{layer}/intermediate", (hidden, inner)),
            **_dense(f"{layer}/output", (inner, hidden)),
            **_norm(f"{layer}/output_layer_norm", hidden),
        }
    return expected


def _dense(name: str, shape: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel:0": shape, f"{name}/bias:0": shape[1:]}


def _norm(name: str, hidden: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/gamma:0": (hidden,), f"{name}/beta:0": (hidden,)}


class Dropout:
    """Dropout whose random numbers depend only on a seed, so that a step can be repeated.

    Each call uses new random numbers; every step needs a new instance.
    """

    def __init__(self, seed: Optional[tf.Tensor], rate: float):
        """Sets the seed and the rate.

        Args:
          seed: int64[2], the run (and replica) and the step; None for no dropout.
          rate: probability of dropping an entry, 0 to below 1.
        """
        self._seed = seed
        self._rate = rate
        self._calls = 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Drops entries of a tensor and scales up the others."""
        if self._seed is None or not self._rate:
            return x
        seed = self._seed * [1, _SALTS] + [0, self._calls]
        self._calls += 1
        # A fixed algorithm gives the same numbers on every device.
        return tf.nn.experimental.stateless_dropout(x, self._rate, seed=seed, rng_alg="philox")


def gelu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Computes BERT's GELU, the tanh approximation (Hendrycks & Gimpel 2016), for `tf.custom_gradient`.

    TensorFlow's has the same values, but its derived gradient computes powers and reads the tensors more often.

    Returns:
      The values, and their gradient by that of the loss.
    """
    scale, cubic = math.sqrt(2.0 / math.pi), 0.044715
    square = x * x
    t = tf.tanh(x * (scale + scale * cubic * square))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        slope = scale + 3.0 * scale * cubic * square
        return upstream * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)

    return 0.5 * x * (1.0 + t), gradient


def gelu_exact(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Computes GELU without the approximation, as transformers' BERT does; returns as of `gelu`."""
    cumulative = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        density = math.sqrt(0.5 / math.pi) * tf.exp(-0.5 * x * x)
        return upstream * (cumulative + x * density)

    return x * cumulative, gradient


def relu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Replaces negative values by 0; returns as of `gelu`."""
    return tf.nn.relu(x), lambda upstream: upstream * tf.cast(x > 0.0, x.dtype)


def silu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Computes SiLU, also called swish (Ramachandran et al. 2017); returns as of `gelu`."""
    gate = tf.sigmoid(x)
    return x * gate, lambda upstream: upstream * gate * (1.0 + x * (1.0 - gate))


# By the names of `Variant.activation`.
ACTIVATIONS = {"gelu_tanh": gelu, "gelu": gelu_exact, "relu": relu, "silu": silu}


def normalise(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
    """Normalises each token's vector (Ba et al. 2016): float32[..., hidden], gamma and beta float32[hidden].

    The gradient is explicit because the one that TensorFlow derives reads the tensors more often.

    Returns:
      As of `gelu`.
    """
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
    normal = centred * inverse

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        tokens = tf.range(tf.rank(x) - 1)
        scaled = upstream * gamma
        along = tf.reduce_mean(scaled * normal, -1, keepdims=True)
        to_x = (scaled - tf.reduce_mean(scaled, -1, keepdims=True) - normal * along) * inverse
        return to_x, tf.reduce_sum(upstream * normal, tokens), tf.reduce_sum(upstream, tokens)

    return normal * gamma + beta, gradient


def functions(
    explicit: bool,
    variant: Variant = Variant(),  # noqa: B008
) -> tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]:
    """Returns the activation and `normalise` as functions of tensors.

    Args:
      explicit: whether they have the explicit gradients. Those would be exported, and TensorFlow never frees those of a
        model that was loaded.
      variant: the network's activation and epsilon.
    """
    wrapper = tf.custom_gradient if explicit else _without_gradient
    activation = wrapper(ACTIVATIONS[variant.activation])
    return activation, wrapper(lambda x, gamma, beta: normalise(x, gamma, beta, variant.epsilon))


def _without_gradient(function: Callable[..., tuple[tf.Tensor, Any]]) -> Callable[..., tf.Tensor]:
    return lambda *arguments: function(*arguments)[0]


def mean_output(sequence: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean output of each row's tokens, padding excluded.

    Args:
      sequence: floats [batch, seq, hidden], the output of every token.
      mask: int32[batch, seq], 1 for tokens and 0 for padding.

    Returns:
      float32[batch, hidden]; 0 for a row without tokens.
    """
    weights = tf.cast(mask, tf.float32)[:, :, None]
    return tf.math.divide_no_nan(
        tf.reduce_sum(tf.cast(sequence, tf.float32) * weights, axis=1), tf.reduce_sum(weights, axis=1)
    )


class Bert(tf.Module):
    """A BERT that computes one vector for each row of a batch of tokens, or the output of every token."""

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        sizes: Sizes,
        variant: Variant = Variant(),  # noqa: B008
        pooling: Pooling = "pooler",
    ):
        """Uses these weights without copying them; training changes them.

        Args:
          weights: by their names in tf-models; those that BERT does not need are ignored.
          sizes: the sizes of these weights.
          variant: what the weights do not tell.
          pooling: how a row's vector is computed; only `pooler` needs the weights of the pooler.
        """
        super().__init__("encoder")
        self._names = [name for name in sizes.names if pooling == "pooler" or not name.startswith(_POOLER)]
        # A list, since the names of variables are not valid attribute names.
        self._variables = [weights[name] for name in self._names]
        self._sizes = sizes
        self._variant = variant
        self._pooling = pooling

    @property
    def weights_by_name(self) -> dict[str, tf.Variable]:
        """The trainable variables by their names in tf-models."""
        return dict(zip(self._names, self._variables, strict=True))

    @property
    def sizes(self) -> Sizes:
        """The sizes of the weights."""
        return self._sizes

    @property
    def variant(self) -> Variant:
        """What the weights do not tell."""
        return self._variant

    @property
    def pooling(self) -> Pooling:
        """How a row's vector is computed."""
        return self._pooling

    @property
    def weights(self) -> list[tf.Variable]:
        """The trainable variables."""
        return self._variables

    @property
    def word_embeddings(self) -> tf.Variable:
        """The table of word embeddings, [vocabulary, width]."""
        return self.weights_by_name[_WORD_EMBEDDINGS]

    def with_word_embeddings(self, table: tf.Variable) -> "Bert":
        """Returns the network with another table of word embeddings; the other variables are shared."""
        return Bert({**self.weights_by_name, _WORD_EMBEDDINGS: table}, self._sizes, self._variant, self._pooling)

    def copy(self) -> "Bert":
        """Returns the same network on new variables, which are mirrored if this is called in a strategy's scope."""
        pairs = self.weights_by_name.items()
        copies = {name: tf.Variable(weight.read_value(), name=name.removesuffix(":0")) for name, weight in pairs}
        return Bert(copies, self._sizes, self._variant, self._pooling)

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the vector of each row, by the pooling.

        Args:
          inputs: int32[batch, seq] by input name.
          seed: as in `Dropout`.
          dtype: data type of the matrix products and of the operations between them, except that normalisation and
            softmax are float32.

        Returns:
          float32[batch, hidden].
        """
        forward = self._forward(seed, dtype)
        if self._pooling == "mean":
            return mean_output(forward.sequence_output(inputs), inputs[MASK])
        return forward.pooled_output(inputs) if self._pooling == "pooler" else forward.first_output(inputs)

    def sequence_output(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the last layer's output for every token, as pre-training needs it.

        Args:
          inputs: as for a row's vector.
          seed: as for a row's vector.
          dtype: as for a row's vector, and that of the result.

        Returns:
          dtype[batch, seq, hidden].
        """
        return self._forward(seed, dtype).sequence_output(inputs)

    def outputs(self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None) -> dict[str, Any]:
        """Computes the outputs of TF Hub's common text API in float32; arguments as for the pooled output.

        Returns:
          `pooled_output` [batch, hidden], `sequence_output` [batch, seq, hidden], and `encoder_outputs`, the output
          [batch, seq, hidden] of each layer.
        """
        return self._forward(seed, tf.float32).outputs(inputs)

    def _forward(self, seed: Optional[tf.Tensor], dtype: tf.DType) -> "Forward":
        return Forward(self.weights_by_name, self._sizes, self._variant, seed, dtype)


class Forward:
    """One forward pass."""

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        sizes: Sizes,
        variant: Variant,
        seed: Optional[tf.Tensor],
        dtype: tf.DType,
    ):
        self._weights = weights
        self._shared = sizes.shared
        self._hidden, self._heads, self._layers = sizes.hidden, sizes.heads, sizes.layers
        self._projects = sizes.embedding != sizes.hidden
        self._dropout = Dropout(seed, variant.dropout)
        self._dtype = dtype
        self._activate, self._normalise_float32 = functions(explicit=seed is not None, variant=variant)

    def pooled_output(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._pool(self._layer_outputs(inputs, first_token=True)[-1])

    def first_output(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.cast(self._layer_outputs(inputs, first_token=True)[-1], tf.float32)

    def sequence_output(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._layer_outputs(inputs, first_token=False)[-1]

    def outputs(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        layers = self._layer_outputs(inputs, first_token=False)
        return {
            "pooled_output": self._pool(layers[-1][:, 0]),
            "sequence_output": layers[-1],
            "encoder_outputs": layers,
        }

    def _pool(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, hidden] of the first token -> float32[batch, hidden]."""
        return tf.cast(tf.tanh(self._multiply(x, _POOLER)), tf.float32)

    def _layer_outputs(self, inputs: Mapping[str, tf.Tensor], first_token: bool) -> list[tf.Tensor]:
        """Returns each layer's output [batch, seq, hidden]; if `first_token`, the last one's is [batch, hidden]."""
        x = self._embeddings(inputs[WORD_IDS], inputs[TYPE_IDS])
        padding = 1.0 - tf.cast(inputs[MASK], tf.float32)
        # [batch, heads, from, to]: no token attends to padding.
        bias = (padding * _NO_ATTENTION)[:, None, None, :]
        outputs = []
        for i in range(self._layers):
            x = self._layer(_layer_name(i, self._shared), x, bias, first_token and i + 1 == self._layers)
            outputs.append(x)
        return outputs

    def _embeddings(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        """int32[batch, seq] -> [batch, seq, hidden]."""
        types = self._weights["type_embeddings/embeddings:0"]
        x = tf.gather(self._weights["word_embeddings/embeddings:0"], word_ids)
        x += self._weights["position_embedding/embeddings:0"][: tf.shape(word_ids)[1]]
        # A matrix product, because its gradient is a small dense matrix.
        x += tf.matmul(tf.one_hot(type_ids, types.shape[0]), types)
        x = self._dropout(self._normalise(x, "embeddings/layer_norm"))
        return self._multiply(x, "embedding_projection") if self._projects else x

    def _layer(self, name: str, x: tf.Tensor, bias: tf.Tensor, first_token: bool) -> tf.Tensor:
        """[batch, seq, hidden] -> [batch, seq, hidden], or [batch, hidden] of the first token."""
        source = self._first_tokens(x) if first_token else x
        attention = self._attention(f"{name}/self_attention", x, bias, first_token)
        attended = self._multiply(attention, f"{name}/self_attention/attention_output")
        x = self._normalise(source + self._dropout(attended), f"{name}/self_attention_layer_norm")
        inner = self._activate(self._multiply(x, f"{name}/intermediate"))
        return self._normalise(x + self._dropout(self._multiply(inner, f"{name}/output")), f"{name}/output_layer_norm")

    def _first_tokens(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the vector [batch, hidden] of each row's first token."""
        return x[:, 0]

    def _attention(self, name: str, x: tf.Tensor, bias: tf.Tensor, first_token: bool) -> tf.Tensor:
        """[batch, seq, hidden] -> the heads' outputs in the same shape, or [batch, hidden] of the first token."""
        shape = tf.shape(x)
        if first_token:
            query = self._split_heads(self._project(x[:, :1], name, ("query",)), shape[0], 1, 1)[0]
            key, value = tf.unstack(
                self._split_heads(self._project(x, name, ("key", "value")), shape[0], shape[1], 2), num=2
            )
        else:
            projected = self._project(x, name, ("query", "key", "value"))
            query, key, value = tf.unstack(self._split_heads(projected, shape[0], shape[1], 3), num=3)
        scores = tf.matmul(query * (self._hidden // self._heads) ** -0.5, key, transpose_b=True)
        shares = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) + bias), self._dtype)
        outputs = tf.transpose(tf.matmul(self._dropout(shares), value), [0, 2, 1, 3])
        return tf.reshape(outputs, [shape[0], self._hidden] if first_token else shape)

    def _project(self, x: tf.Tensor, name: str, parts: tuple[str, ...]) -> tf.Tensor:
        """Projects to query, key or value, side by side: [..., hidden] -> [tokens, len(parts) * hidden]."""
        kernels = [tf.reshape(self._weights[f"{name}/{part}/kernel:0"], [self._hidden, -1]) for part in parts]
        biases = [tf.reshape(self._weights[f"{name}/{part}/bias:0"], [-1]) for part in parts]
        return self._affine(tf.reshape(x, [-1, self._hidden]), tf.concat(kernels, 1), tf.concat(biases, 0))

    def _split_heads(self, projected: tf.Tensor, batch: tf.Tensor, seq: "tf.Tensor | int", parts: int) -> tf.Tensor:
        """[tokens, parts * hidden] -> [parts, batch, heads, seq, hidden / heads]."""
        shape = [batch, seq, parts, self._heads, self._hidden // self._heads]
        return tf.transpose(tf.reshape(projected, shape), [2, 0, 3, 1, 4])

    def _multiply(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Multiplies [..., width] by a kernel, over all tokens as one matrix, and adds the bias."""
        bias = self._weights[f"{name}/bias:0"]
        kernel = tf.reshape(self._weights[f"{name}/kernel:0"], [-1, bias.shape[0]])
        product = self._affine(tf.reshape(x, [-1, kernel.shape[0]]), kernel, bias)
        return tf.reshape(product, tf.concat([tf.shape(x)[:-1], [bias.shape[0]]], 0))

    def _affine(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        product = tf.matmul(tf.cast(x, self._dtype), tf.cast(kernel, self._dtype))
        return tf.nn.bias_add(product, tf.cast(bias, self._dtype))

    def _normalise(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Normalises [..., hidden] in float32; returns it in the data type of the products."""
        gamma, beta = (self._weights[f"{name}/{part}:0"] for part in ("gamma", "beta"))
        return tf.cast(
            self._normalise_float32(tf.cast(x, tf.float32), tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)),
            self._dtype,
        )
