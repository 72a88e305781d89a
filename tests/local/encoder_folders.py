"""Tiny random encoders in the folders that transformers writes, and their outputs computed with NumPy alone."""

import json
import math
import os
import struct

import numpy as np

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] 정말 재미 ##있는 영화 배우 ##들 연기 가 ##가 the film was a great it ##s worth "
    "no ; not again - 3 out of 10 surprise , and ' s your time . ! ?"
).split()
HIDDEN, EMBEDDING, HEADS, INNER, LAYERS, POSITIONS = 8, 4, 2, 12, 2, 32

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}

_SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
}
CONFIGS = {
    "bert": {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, **_SIZES},
    "electra": {"model_type": "electra", "hidden_act": "gelu", "embedding_size": EMBEDDING, **_SIZES},
    "albert": {"model_type": "albert", "hidden_act": "gelu_new", "embedding_size": EMBEDDING, **_SIZES},
    "roberta": {
        "model_type": "roberta",
        "hidden_act": "relu",
        "layer_norm_eps": 1e-2,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        **_SIZES,
        "max_position_embeddings": POSITIONS + 2,
    },
    "distilbert": {
        "model_type": "distilbert",
        "activation": "silu",
        "vocab_size": len(VOCABULARY),
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dim": INNER,
        "max_position_embeddings": POSITIONS,
    },
}

# Layer names of the families in the order: query, key, value, attention's output and norm, inner, outer, norm.
_NAMES = {
    "albert": (
        "encoder.albert_layer_groups.0.albert_layers.0",
        "attention.query attention.key attention.value attention.dense attention.LayerNorm ffn ffn_output "
        "full_layer_layer_norm",
    ),
    "distilbert": (
        "transformer.layer.{}",
        "attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm ffn.lin1 ffn.lin2 "
        "output_layer_norm",
    ),
}
_BERT_NAMES = (
    "encoder.layer.{}",
    "attention.self.query attention.self.key attention.self.value attention.output.dense attention.output.LayerNorm "
    "intermediate.dense output.dense output.LayerNorm",
)


def layer_names(family, layer):
    """Returns the eight parts of a layer."""
    block, parts = _NAMES.get(family, _BERT_NAMES)
    return [f"{block.format(layer)}.{part}" for part in parts.split()]


def make_weights(family, prefix="", seed=0):
    """Returns random weights by their names in transformers."""
    draw = np.random.default_rng(seed).normal
    weights = {}

    def dense(name, inputs, outputs):
        weights[f"{name}.weight"] = draw(0, 0.4, (outputs, inputs))
        weights[f"{name}.bias"] = draw(0, 0.4, outputs)

    def norm(name, width):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = draw(1, 0.2, width), draw(0, 0.2, width)

    width = CONFIGS[family].get("embedding_size", HIDDEN)
    weights["embeddings.word_embeddings.weight"] = draw(0, 0.5, (len(VOCABULARY), width))
    rows = POSITIONS + (2 if family == "roberta" else 0)
    weights["embeddings.position_embeddings.weight"] = draw(0, 0.5, (rows, width))
    if family != "distilbert":
        types = CONFIGS[family].get("type_vocab_size", 2)
        weights["embeddings.token_type_embeddings.weight"] = draw(0, 0.5, (types, width))
    norm("embeddings.LayerNorm", width)
    if width != HIDDEN:
        dense("encoder.embedding_hidden_mapping_in" if family == "albert" else "embeddings_project", width, HIDDEN)
    for layer in range(1 if family == "albert" else LAYERS):
        query, key, value, output, first, inner, outer, second = layer_names(family, layer)
        for name in (query, key, value, output):
            dense(name, HIDDEN, HIDDEN)
        dense(inner, HIDDEN, INNER)
        dense(outer, INNER, HIDDEN)
        norm(first, HIDDEN)
        norm(second, HIDDEN)
    if family in ("bert", "albert"):
        dense("pooler" if family == "albert" else "pooler.dense", HIDDEN, HIDDEN)
    return {prefix + name: value.astype(np.float32) for name, value in weights.items()}


def write_safetensors(path, tensors, dtype="F32"):
    """Writes tensors in the format's own words."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = encode(tensor, dtype)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data + content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + data)


def encode(tensor, dtype):
    """Returns the bytes of a tensor; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.ascontiguousarray(tensor, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write(folder, family, **tokenizer):
    """Writes config.json, model.safetensors, vocab.txt and tokenizer_config.json; returns the weights."""
    os.makedirs(folder)
    weights = make_weights(family)
    with open(os.path.join(folder, "config.json"), "w") as stream:
        json.dump(CONFIGS[family], stream)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as stream:
        json.dump({"do_lower_case": False, **tokenizer}, stream)
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as stream:
        stream.writelines(f"{piece}\n" for piece in VOCABULARY)
    write_safetensors(os.path.join(folder, "model.safetensors"), weights)
    return weights


def forward(family, weights, ids, mask, types):
    """Returns the last layer's output float64[batch, seq, hidden] and the first token's [batch, hidden], pooled."""
    config = CONFIGS[family]
    epsilon = config.get("layer_norm_eps", 1e-12)
    activate = ACTIVATIONS[config.get("activation", config.get("hidden_act"))]

    def dense(x, name):
        return x @ weights[f"{name}.weight"].T.astype(float) + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x):
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    first = 2 if family == "roberta" else 0
    x = weights["embeddings.word_embeddings.weight"][ids].astype(float)
    x += weights["embeddings.position_embeddings.weight"][first : first + ids.shape[1]]
    if family != "distilbert":
        table = weights["embeddings.token_type_embeddings.weight"]
        x += table[np.minimum(types, len(table) - 1)]
    x = norm(x, "embeddings.LayerNorm")
    if "embedding_size" in config:
        x = dense(x, "encoder.embedding_hidden_mapping_in" if family == "albert" else "embeddings_project")
    for layer in range(LAYERS):
        query, key, value, output, first_norm, inner, outer, second_norm = layer_names(family, layer)
        scores = heads(dense(x, query)) @ heads(dense(x, key)).transpose(0, 1, 3, 2) / math.sqrt(HIDDEN / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True)) * mask[:, None, None, :]
        attended = (scores / scores.sum(-1, keepdims=True)) @ heads(dense(x, value))
        attended = attended.transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(x + dense(attended, output), first_norm)
        x = norm(x + dense(activate(dense(x, inner)), outer), second_norm)
    pooler = {"bert": "pooler.dense", "albert": "pooler"}.get(family)
    return x, np.tanh(dense(x[:, 0], pooler) if pooler else x[:, 0])
