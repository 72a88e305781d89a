"""The process of a worker: loads a version of the model, and answers batches until the server ends.

It gets its batches over a connection, one after the other, and has no state but the model, so it may be killed at any
time.
"""

import dataclasses
import gc
import multiprocessing
import os
import threading
from multiprocessing import connection
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np

from artifacts.model_card import ModelCard
from core.errors import UserError, first_line

Outputs = Mapping[str, np.ndarray]

# The name of the numbers of tokens among the outputs; that of no output of a model has spaces.
TOKENS = "number of tokens"

# Texts of a batch, of some sizes and lengths.
_WARM_UP = (["a"], ["a", "a b c"], ["a " * 64] * 32)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What the server needs to know of a loaded version.

    Attributes:
      card: its card.
      signatures: name of each signature -> names of its inputs.
      described: the signatures, for `rest.describe_model`.
    """

    card: ModelCard
    signatures: Mapping[str, tuple[str, ...]]
    described: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows to compute.

    Attributes:
      signature: name of the signature.
      rows: the values of its inputs; at least one row.
      with_tokens: whether the number of tokens of each row is wanted too.
    """

    signature: str
    rows: Sequence[Any]
    with_tokens: bool = False


class ModelError(Exception):
    """The model failed on a batch."""


class RefusedError(ModelError):
    """The model did so because of what the rows are, such as bytes that are not a `tf.Example`."""


# `Outputs` have `TOKENS` too if they were wanted and the model counts them.
Answer = Union[Outputs, ModelError]


def run(channel: connection.Connection, alive: connection.Connection, folder: str, threads: int, engine: str) -> None:
    """Sends `Loaded`, or the `UserError` of a version that can't be loaded; then answers each `Batch`.

    Args:
      channel: to the server.
      alive: kept open for as long as the process lives.
      folder: the version's folder.
      threads: how many TensorFlow may use.
      engine: as in `served_model.load`.
    """
    threading.Thread(target=_end_with_server, daemon=True).start()
    try:
        model, loaded = _load(folder, threads, engine)
    except UserError as error:
        channel.send(error)
        return
    # What is there now stays, so that no collection has to look through it.
    gc.collect()
    gc.freeze()
    channel.send(loaded)
    while True:
        channel.send(_answer(model, channel.recv()))


def _end_with_server() -> None:
    """Ends the process with that of the server, however it ends, and even in the middle of a batch."""
    server = multiprocessing.parent_process()
    assert server is not None
    server.join()
    os._exit(0)


def _load(folder: str, threads: int, engine: str) -> tuple[Any, Loaded]:
    """Returns the model and its description.

    Raises:
      UserError: it can't be loaded.
    """
    # Workers share a GPU, of which TensorFlow would otherwise give all memory to the first.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    import tensorflow as tf  # Slow, but the fork server has imported it.

    from local import served_model
    from local.server import metadata

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = served_model.load(folder, "", engine)
    # The first calls are slow; they should not be those of a client.
    for rows in _WARM_UP:
        batch = [(text,) * len(model.card.task.text_inputs) for text in rows]
        model.compute(batch)
        model.count_tokens(batch)
    try:
        described = metadata.read_signatures(folder)
    except OSError as error:
        raise UserError(f"{folder}: was removed while it was loaded") from error
    return model, Loaded(model.card, {name: model.inputs(name) for name in model.loaded.signatures}, described)


def _answer(model: Any, batch: Batch) -> Answer:
    import tensorflow as tf

    try:
        outputs = model.compute(batch.rows, batch.signature)
        counts: Optional[list[int]] = model.count_tokens(batch.rows) if batch.with_tokens else None
    except tf.errors.InvalidArgumentError as error:
        return RefusedError(first_line(error))
    except Exception as error:
        return ModelError(first_line(error))
    return outputs if counts is None else {**outputs, TOKENS: np.array(counts)}
