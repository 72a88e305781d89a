"""A process that answers texts, for `benchmarks.serving_cpu`: from texts to probabilities, tokenised by the model."""

import json
import os
import sys
import time
from typing import Callable, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401  Registers the ops inside the model.

from benchmarks.training.turns import Referee  # noqa: E402
from local import served_model  # noqa: E402

SAVED_MODEL = "saved-model"

# Texts -> probabilities float32[batch].
Answer = Callable[[Sequence[bytes]], np.ndarray]


def main(name: str, folder: str, file: str) -> None:
    """Answers until the input ends.

    Args:
      name: `saved-model`, or an engine.
      folder: the model.
      file: JSON list of texts.
    """
    answer = _make(name, folder)
    with open(file, encoding="utf-8") as stream:
        texts = [text.encode() for text in json.load(stream)]
    referee = Referee()
    referee.answer(ready=True)
    while (request := referee.wait()) is not None:
        first, size = request["first"], request["batch"]
        chosen = [texts[index % len(texts)] for index in range(first, first + request["texts"])]
        batches = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        started = time.perf_counter()
        probabilities = [answer(batch) for batch in batches]
        seconds = time.perf_counter() - started
        referee.answer(ms=1000 * seconds / len(chosen), probabilities=np.concatenate(probabilities).tolist())


def _make(name: str, folder: str) -> Answer:
    if name == SAVED_MODEL:
        loaded = tf.saved_model.load(folder)
        signature = loaded.signatures["serving_default"]
        # The default argument keeps the variables, of which a signature has only weak references.
        return lambda texts, keep=loaded: signature(text=tf.constant(texts))["probability"].numpy()
    model = served_model.load(folder, "", name)
    return lambda texts: model.compute([(text,) for text in texts])["probability"]


if __name__ == "__main__":
    main(*sys.argv[1:])
