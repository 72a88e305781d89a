"""What a pre-training starts from: a vocabulary, and random weights or those of another encoder.

To continue from an encoder, frequent words of the texts that its vocabulary splits are added to it. The embedding of an
added word starts as the mean of those of its pieces.
"""

import collections
import dataclasses
import os
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from components.encoder_pretrainer import vocabulary
from components.hub_encoder import fetch, handles
from core import progress
from core.config import PretrainConfig
from core.errors import UserError
from trainer import bert, native

SETTING = "encoder.pretrain.continue_from"
_WORDS = "word_embeddings/embeddings:0"
_POSITIONS = "position_embedding/embeddings:0"

# A word that occurs less often is hardly trained.
_MIN_WORD_COUNT = 10


@dataclasses.dataclass(frozen=True)
class Start:
    """The start of a pre-training.

    Attributes:
      pieces: the vocabulary.
      config: the configuration with the sizes of the encoder.
      weights: name -> initial weight of the encoder; None for random ones.
      added: number of pieces that were added to the encoder's vocabulary.
    """

    pieces: Sequence[str]
    config: PretrainConfig
    weights: Optional[Mapping[str, np.ndarray]] = None
    added: int = 0


def make_start(texts: Sequence[bytes], config: PretrainConfig, scratch: str) -> Start:
    """Learns a vocabulary, or loads an encoder and extends its vocabulary.

    Args:
      texts: UTF-8.
      config: `vocabulary`, or `continue_from` and `added_words`.
      scratch: a folder that does not exist yet.

    Raises:
      UserError: the encoder can't be loaded, is not a BERT with a WordPiece vocabulary, or takes fewer tokens than
        `max_length`.
    """
    if config.continue_from is None:
        progress.report("learning a vocabulary", 0, 0)
        return Start(vocabulary.learn(texts, config.vocabulary, config.lower_case), config)
    os.makedirs(scratch)
    fetch.copy_models(handles.resolve(config.continue_from, setting=SETTING), scratch)
    preprocess = encoder_artifact.load_model(encoder_artifact.preprocess_dir(scratch), config.continue_from)
    network = native.rebuild_bert(tf.saved_model.load(encoder_artifact.encoder_dir(scratch)))
    pieces = encoder_artifact.read_vocabulary(scratch)
    if network is None or not {*vocabulary.SPECIAL_TOKENS} <= set(pieces):
        raise UserError(f"{SETTING} = {config.continue_from}: should be a BERT with a WordPiece vocabulary")
    _require_continuable(network, pieces, config)
    weights = {weight.name: weight.numpy() for weight in network.weights}
    lower_case = _lower_cases(preprocess)
    words = frequent_words(texts, frozenset(pieces), config.added_words, lower_case)
    rows = mean_rows(preprocess, words, weights[_WORDS])
    weights[_WORDS] = np.concatenate([weights[_WORDS], rows])
    return Start([*pieces, *words], _with_sizes(config, weights, lower_case), weights, len(words))


def _require_continuable(network: bert.Bert, pieces: Sequence[str], config: PretrainConfig) -> None:
    setting = f"{SETTING} = {config.continue_from}"
    if network.variant != bert.Variant() or network.sizes.shared:
        raise UserError(
            f"{setting}: should be a BERT of tf-models: layers with weights of their own, GELU by tanh and an epsilon "
            f"of {bert.EPSILON}"
        )
    # An added word's id is its line in the vocabulary and its row in the table.
    if len(pieces) != network.sizes.vocabulary:
        raise UserError(
            f"{setting}: has {network.sizes.vocabulary} word embeddings, but {len(pieces)} pieces in its vocabulary; "
            "should have the same number of both"
        )
    positions = network.weights_by_name[_POSITIONS].shape[0]
    if positions < config.max_length:
        raise UserError(
            f"encoder.pretrain.max_length = {config.max_length}: {config.continue_from} takes at most {positions} "
            f"tokens; set encoder.pretrain.max_length={positions}"
        )


def frequent_words(texts: Sequence[bytes], known: frozenset[str], count: int, lower_case: bool) -> list[str]:
    """Returns the most frequent words that are not in a vocabulary, in descending order; code points break ties."""
    counts: collections.Counter[str] = collections.Counter()
    for text in vocabulary.split_words(texts, lower_case):
        counts.update(text.split(" "))
    words = [word for word, n in counts.items() if n >= _MIN_WORD_COUNT and word and word not in known]
    return sorted(words, key=lambda word: (-counts[word], word))[:count]


def mean_rows(preprocess: Any, words: Sequence[str], table: np.ndarray) -> np.ndarray:
    """Returns for each word the mean of the rows float32[hidden] of its pieces in an embedding table."""
    if not words:
        return table[:0]
    tokens = preprocess.tokenize(tf.constant(words))
    # [words, 1, pieces] or [words, pieces]
    pieces = tokens.merge_dims(1, -1) if tokens.shape.rank > 2 else tokens
    return np.stack([table[row].mean(axis=0) for row in pieces.to_list()]).astype(table.dtype)


def _lower_cases(preprocess: Any) -> bool:
    upper, lower = (preprocess.tokenize(tf.constant([text])).flat_values.numpy().tolist() for text in ("A", "a"))
    return upper == lower


def _with_sizes(config: PretrainConfig, weights: Mapping[str, np.ndarray], lower_case: bool) -> PretrainConfig:
    """Returns the configuration with the sizes of an encoder."""
    hidden, heads, _ = weights["transformer/layer_0/self_attention/query/kernel:0"].shape
    layers = sum(name.endswith("/intermediate/bias:0") for name in weights)
    embedding = weights[_WORDS].shape[1]
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "embedding": embedding, "lower_case": lower_case}
    return config.model_copy(update=sizes)
