"""The network of an exported BERT classifier as an ONNX graph, from text's tokens to logits.

As in `trainer.inference`, only the tokens of a batch are computed, and attention alone gets them row by row.

| input       | type                       | content                                                |
|-------------|----------------------------|--------------------------------------------------------|
| `word_ids`  | int64[tokens]              | tokens of all rows, those of one row after another's   |
| `type_ids`  | int64[tokens]              | segment of each                                        |
| `positions` | int64[tokens]              | its place in its row                                   |
| `places`    | int64[tokens]              | its place in the padded, flattened batch               |
| `tokens`    | int64[batch, seq]          | token at each place of the padded batch                |
| `starts`    | int64[batch]               | the first token of each row                            |
| `bias`      | float32[batch, 1, 1, seq]  | added to attention scores: 0, or for padding `HIDDEN`  |
"""

import re
from typing import Any, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# A share of attention that rounds to 0.
HIDDEN = -1e9
# The normalisation's protection from division by 0, as in `trainer.bert`.
_EPSILON = 1e-12
# The first with Gelu, and the version of the format that goes with it, which older runtimes read too.
_OPSET, _IR_VERSION = 20, 9
_INPUTS = (
    ("word_ids", TensorProto.INT64, ["tokens"]),
    ("type_ids", TensorProto.INT64, ["tokens"]),
    ("positions", TensorProto.INT64, ["tokens"]),
    ("places", TensorProto.INT64, ["tokens"]),
    ("tokens", TensorProto.INT64, ["batch", "seq"]),
    ("starts", TensorProto.INT64, ["batch"]),
    ("bias", TensorProto.FLOAT, ["batch", 1, 1, "seq"]),
)


def build(weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Builds the graph; its output is `logits` float32[batch, head_units].

    Args:
      weights: by the names that `trainer.inference.FoldedBert` and `trainer.model.Head` give them.

    Raises:
      KeyError: a weight is missing, as of an encoder that is not a BERT, of one whose layers share their weights, or of
        another pooling.
    """
    graph = _Graph(weights)
    x = graph.embeddings()
    # Without layers of their own weights, the first one is what is missing.
    layers = max(1, len({match[1] for name in weights if (match := re.match(r"transformer/layer_(\d+)/", name))}))
    for number in range(layers):
        x = graph.layer(f"transformer/layer_{number}", x, last=number + 1 == layers)
    pooled = graph.add("Tanh", graph.affine(x, "pooler_transform"))
    return graph.finish(graph.affine(pooled, "logits"))


class _Graph:
    """A graph that grows; methods take and return the names of tensors."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds an operation; returns its output, or a list of several."""
        names = [f"{kind}_{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any) -> str:
        """Adds a constant."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def embeddings(self) -> str:
        """Returns the vectors [tokens, hidden] of the tokens."""
        tables = (
            self.add("Gather", self.constant(self._weights[f"{name}/embeddings"]), ids)
            for name, ids in (
                ("word_embeddings", "word_ids"),
                ("position_embedding", "positions"),
                ("type_embeddings", "type_ids"),
            )
        )
        words, positions, types = tables
        x = self._normalise(self.add("Add", self.add("Add", words, positions), types), "embeddings/layer_norm")
        return self.affine(x, "embedding_projection") if "embedding_projection/kernel" in self._weights else x

    def layer(self, name: str, x: str, last: bool) -> str:
        """[tokens, hidden] -> [tokens, hidden], or [batch, hidden] of the first tokens in the last layer."""
        attention = f"{name}/self_attention"
        attended = self.affine(self._attention(attention, x, last), f"{attention}/attention_output")
        source = self.add("Gather", x, "starts") if last else x
        x = self._normalise(self.add("Add", source, attended), f"{attention}_layer_norm")
        inner = self.add("Gelu", self.affine(x, f"{name}/intermediate"), approximate="tanh")
        return self._normalise(self.add("Add", x, self.affine(inner, f"{name}/output")), f"{name}/output_layer_norm")

    def affine(self, x: str, name: str) -> str:
        """Multiplies [rows, inputs] by a kernel and adds the bias."""
        bias = self._weights[f"{name}/bias"]
        kernel = self._weights[f"{name}/kernel"].reshape(-1, len(bias))
        return self.add("Add", self.add("MatMul", x, self.constant(kernel)), self.constant(bias))

    def finish(self, logits: str) -> onnx.ModelProto:
        """Returns the model."""
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        inputs = [helper.make_tensor_value_info(*each) for each in _INPUTS]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "head_units"])]
        graph = helper.make_graph(self._nodes, "classifier", inputs, outputs, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)

    def _attention(self, name: str, x: str, last: bool) -> str:
        heads, width, _ = self._weights[f"{name}/attention_output/kernel"].shape
        if last:
            query = self.affine(self.add("Gather", x, "starts"), f"{name}/query")
            query = self.add("Reshape", query, self.constant([-1, heads, 1, width]))
            key, value = self._heads(self.affine(x, f"{name}/key_value"), 2, heads, width)
        else:
            query, key, value = self._heads(self.affine(x, f"{name}/query_key_value"), 3, heads, width)
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 1, 3, 2]))
        shares = self.add("Softmax", self.add("Add", scores, "bias"), axis=-1)
        outputs = self.add("Transpose", self.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        flat = self.add("Reshape", outputs, self.constant([-1, heads * width]))
        return flat if last else self.add("Gather", flat, "places")

    def _heads(self, projected: str, parts: int, heads: int, width: int) -> list[str]:
        """[tokens, parts * hidden] -> of each part [batch, heads, seq, width]."""
        padded = self.add("Gather", projected, "tokens")
        # 0: as before.
        split = self.add("Reshape", padded, self.constant([0, 0, parts, heads, width]))
        by_part = self.add("Transpose", split, perm=[2, 0, 3, 1, 4])
        each = self.add("Split", by_part, outputs=parts, axis=0, num_outputs=parts)
        return [self.add("Squeeze", part, self.constant([0])) for part in each]

    def _normalise(self, x: str, name: str) -> str:
        gamma, beta = (self.constant(self._weights[f"{name}/{part}"]) for part in ("gamma", "beta"))
        return self.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=_EPSILON)
