"""The encoder that every contender starts from, made once and cached."""

import hashlib
import os
from typing import Sequence

from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from benchmarks.training.shapes import Shape
from components.encoder_pretrainer import pretrain
from components.encoder_pretrainer import texts as pretraining_texts
from core.config import PretrainConfig

VOCABULARY = 8000


def prepare(texts: Sequence[bytes], shape: Shape, steps: int, cache: str) -> str:
    """Makes an encoder from texts as EncoderPretrainer does, unless the cache has it.

    Args:
      texts: UTF-8 reviews.
      shape: its size.
      steps: steps of pre-training; with 0 the weights stay random.
      cache: folder for encoders.

    Returns:
      The folder with `preprocess/`, `encoder/` and `encoder.json`.
    """
    digest = hashlib.sha256(b"\n".join(sorted(texts))).hexdigest()[:12]
    uri = os.path.join(cache, f"encoder-{shape}-{steps}-steps-{digest}")
    folder = path_utils.serving_model_dir(uri)
    if os.path.exists(os.path.join(folder, encoder_artifact.CARD)):
        return folder
    config = PretrainConfig(
        vocabulary=VOCABULARY, layers=shape.layers, hidden=shape.hidden, heads=shape.heads, steps=steps
    )
    with encoder_artifact.stage(uri) as staging:
        corpus = pretraining_texts.collect(texts, (), {}, config.held_out_fraction)
        pretrain.make_encoder(corpus, config, staging, os.path.join(cache, "checkpoints"))
        handle = f"BERT {shape}, {steps} steps"
        encoder_artifact.finish(staging, source="pretrain", handle=handle, preprocess_handle="", heads=shape.heads)
    return folder
