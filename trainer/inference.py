"""A BERT as it is exported: with folded weights, and without computing padding.

It has the outputs of `trainer.bert`, up to the rounding of float32, for less work. Query, key and value are one kernel,
which training has to concatenate in every step; and of a batch of rows with different lengths only the tokens are
computed. Attention alone needs them row by row, for which they are padded.
"""

import dataclasses
import functools
from typing import Callable, Iterator, Mapping, Optional

import tensorflow as tf

from trainer import bert
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

_GELU_TANH = "gelu_tanh"


class FoldedBert(bert.Bert):
    """A BERT for inference: always in float32 and without dropout."""

    def __init__(self, network: bert.Bert):
        """Folds a network's weights; those that need no folding are shared with it."""
        weights = network.weights_by_name
        super().__init__(weights, network.sizes, network.variant, network.pooling)
        self._folded = _FoldedWeights(weights, network.sizes)
        # Only what is used is exported; computing once shows what that is.
        ones = tf.ones([1, 1], tf.int32)
        self({WORD_IDS: ones, MASK: ones, TYPE_IDS: tf.zeros_like(ones)})
        self._variables = self._folded.used

    def _forward(self, seed: Optional[tf.Tensor], dtype: tf.DType) -> bert.Forward:
        return _Forward(self._folded, self._sizes, self._variant)


class _FoldedWeights(Mapping[str, tf.Variable]):
    """The weights by name, and products of several of them; each is made when it is first asked for."""

    def __init__(self, originals: Mapping[str, tf.Variable], sizes: bert.Sizes):
        self._originals = originals
        self._query_scale = (sizes.hidden // sizes.heads) ** -0.5
        self._made: dict[str, tf.Variable] = {}

    @property
    def used(self) -> list[tf.Variable]:
        """What was asked for."""
        return list(self._made.values())

    def __getitem__(self, name: str) -> tf.Variable:
        return self._made.setdefault(name, self._originals[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._originals)

    def __len__(self) -> int:
        return len(self._originals)

    def affine(self, name: str) -> tuple[tf.Tensor, tf.Variable]:
        """Returns a kernel [inputs, outputs], also of one with a dimension of heads, and its bias."""
        bias = self[f"{name}/bias:0"]
        return tf.reshape(self[f"{name}/kernel:0"], [-1, bias.shape[0]]), bias

    def projection(self, name: str, parts: tuple[str, ...]) -> tuple[tf.Variable, tf.Variable]:
        """Returns the kernels [hidden, len(parts) * hidden] of an attention side by side, and their biases.

        Those of the query are divided by the square root of a head's width, so that its scores need not be.
        """

        def side_by_side(kind: str, shape: list[int]) -> tf.Variable:
            def fold() -> tf.Tensor:
                scales = [self._query_scale if part == "query" else 1.0 for part in parts]
                values = [self._originals[f"{name}/{part}/{kind}:0"] for part in parts]
                return tf.concat([tf.reshape(v, shape) * s for v, s in zip(values, scales, strict=True)], -1)

            return self._make(f"{name}/{'_'.join(parts)}/{kind}:0", fold)

        hidden = self._originals[f"{name}/{parts[0]}/kernel:0"].shape[0]
        return side_by_side("kernel", [hidden, -1]), side_by_side("bias", [-1])

    def _make(self, name: str, fold: Callable[[], tf.Tensor]) -> tf.Variable:
        if name not in self._made:
            self._made[name] = tf.Variable(fold(), name=name.removesuffix(":0"))
        return self._made[name]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Where the tokens of a padded batch are in [tokens, ...], which has those of one row after those of another.

    Attributes:
      places: int32[tokens], place of each token in the flattened batch.
      tokens: int32[batch, seq], token at each place; of padding, any one.
      starts: int32[batch], the first token of each row.
    """

    places: tf.Tensor
    tokens: tf.Tensor
    starts: tf.Tensor

    @classmethod
    def of(cls, mask: tf.Tensor) -> "_Rows":
        """Finds them from the mask int32[batch, seq], whose rows begin with a token."""
        flat = tf.reshape(mask, [-1])
        tokens = tf.reshape(tf.cumsum(flat), tf.shape(mask)) - 1
        return cls(tf.cast(tf.where(flat > 0)[:, 0], tf.int32), tokens, tokens[:, 0])

    def remove_padding(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, seq] -> [tokens]."""
        return tf.gather(tf.reshape(x, [-1]), self.places)


class _Forward(bert.Forward):
    """One forward pass, in which [tokens, hidden] replaces [batch, seq, hidden]."""

    _weights: _FoldedWeights
    _rows: _Rows

    def __init__(self, weights: _FoldedWeights, sizes: bert.Sizes, variant: bert.Variant):
        super().__init__(weights, sizes, variant, None, tf.float32)
        if variant.activation == _GELU_TANH:
            # TensorFlow computes its own within the matrix product before it.
            self._activate = functools.partial(tf.nn.gelu, approximate=True)

    def _layer_outputs(self, inputs: Mapping[str, tf.Tensor], first_token: bool) -> list[tf.Tensor]:
        self._rows = _Rows.of(inputs[MASK])
        outputs = super()._layer_outputs(inputs, first_token)
        return outputs if first_token else [tf.gather(x, self._rows.tokens) for x in outputs]

    def _embeddings(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        words, positions, types = (
            self._weights[f"{name}/embeddings:0"]
            for name in ("word_embeddings", "position_embedding", "type_embeddings")
        )
        x = tf.gather(words, self._rows.remove_padding(word_ids))
        x += tf.gather(positions, self._rows.places % tf.shape(word_ids)[1])
        x += tf.gather(types, self._rows.remove_padding(type_ids))
        x = self._normalise(x, "embeddings/layer_norm")
        return self._multiply(x, "embedding_projection") if self._projects else x

    def _first_tokens(self, x: tf.Tensor) -> tf.Tensor:
        return tf.gather(x, self._rows.starts)

    def _attention(self, name: str, x: tf.Tensor, bias: tf.Tensor, first_token: bool) -> tf.Tensor:
        batch, seq = tf.unstack(tf.shape(self._rows.tokens))
        if first_token:
            query = self._split_heads(self._project(self._first_tokens(x), name, ("query",)), batch, 1, 1)[0]
            key, value = self._pad_heads(self._project(x, name, ("key", "value")), batch, seq, 2)
        else:
            query, key, value = self._pad_heads(self._project(x, name, ("query", "key", "value")), batch, seq, 3)
        shares = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias)
        outputs = tf.reshape(tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3]), [-1, self._hidden])
        return outputs if first_token else tf.gather(outputs, self._rows.places)

    def _pad_heads(self, projected: tf.Tensor, batch: tf.Tensor, seq: tf.Tensor, parts: int) -> list[tf.Tensor]:
        """[tokens, parts * hidden] -> of each part [batch, heads, seq, hidden / heads]."""
        padded = tf.gather(projected, self._rows.tokens)
        return tf.unstack(self._split_heads(padded, batch, seq, parts), num=parts)

    def _project(self, x: tf.Tensor, name: str, parts: tuple[str, ...]) -> tf.Tensor:
        return self._affine(x, *self._weights.projection(name, parts))

    def _multiply(self, x: tf.Tensor, name: str) -> tf.Tensor:
        return self._affine(x, *self._weights.affine(name))
