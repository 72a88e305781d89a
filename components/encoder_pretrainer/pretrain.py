"""Trains an encoder on texts: vocabulary, tokens, training, export."""

import dataclasses
import hashlib
import os
import tempfile
from typing import Any, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from artifacts import encoder as encoder_artifact
from artifacts import pretraining
from components.encoder_pretrainer import export, loop, masking, network, objective, start, vocabulary
from components.encoder_pretrainer.texts import Corpus
from core import gpu, progress
from core.config import PretrainConfig
from core.errors import UserError
from trainer import batches, checkpoints, distribution, model, precision, preprocess_export, tracing
from trainer.tokens import tokenise

# Settings that affect only the speed, or not the weights: a pre-training may continue from a checkpoint with others.
_OTHER_SETTINGS = {"texts", "device", "xla", "checkpoint_seconds", "min_accuracy"}


@dataclasses.dataclass(frozen=True)
class Devices:
    """The GPUs that are used, and the strategy for them."""

    gpus: Sequence[tf.config.PhysicalDevice]
    strategy: tf.distribute.Strategy


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, what was measured, its checkpoints, and the data type of its matrix products."""

    network: network.Network
    result: loop.Result
    checkpoints: checkpoints.Checkpoints
    dtype: tf.DType


def make_encoder(corpus: Corpus, config: PretrainConfig, folder: str, checkpoint_root: str) -> PretrainConfig:
    """Trains a vocabulary and an encoder; writes both SavedModels and `pretraining.json`.

    The same texts, in any order, and the same configuration result in the same weights on the same CPU.

    Args:
      corpus: the texts.
      config: objective, sizes and training.
      folder: an existing folder for `preprocess/` and `encoder/`.
      checkpoint_root: folder of the checkpoints' folders, from which a killed pre-training continues.

    Returns:
      The configuration with the sizes of the encoder.

    Raises:
      UserError: the corpus is empty, the loss is not finite, or the accuracy is below `min_accuracy`.
    """
    if not corpus.texts:
        raise UserError("data.train: the training split has no texts to train an encoder on")
    gpus = gpu.visible_gpus(config.device)
    devices = Devices(gpus, distribution.choose_strategy(gpus))
    with tracing.libraries_as_written(), tempfile.TemporaryDirectory() as scratch:
        beginning = start.make_start(corpus.texts, config, os.path.join(scratch, "start"))
        pieces, config = beginning.pieces, beginning.config
        file = os.path.join(scratch, "vocab.txt")
        vocabulary.write(file, pieces)
        progress.report("exporting the tokenizer", 0, 0)
        preprocess_dir = encoder_artifact.preprocess_dir(folder)
        preprocess_export.write_preprocess(file, preprocess_dir, config.lower_case, config.max_length)
        preprocess = tf.saved_model.load(preprocess_dir)
        train_data, held_out = _tokenise(preprocess, corpus, config)
        key = _key(config, corpus, beginning)
        trained = train(train_data, held_out, beginning, devices, os.path.join(checkpoint_root, key))
        require_accuracy(trained.result.history, config.min_accuracy)
        export.write_encoder(trained.network.encoder_variables, file, config, encoder_artifact.encoder_dir(folder))
        pretraining.write(folder, _figures(corpus, train_data, held_out, config, trained, devices))
        trained.checkpoints.remove()
    return config


def train(
    data: loop.Data,
    held_out: loop.Data,
    beginning: start.Start,
    devices: Devices,
    checkpoint_folder: str,
) -> Trained:
    """Trains an encoder and its heads.

    Args:
      data: texts to train on, each with a piece to guess; may be empty, for untrained weights.
      held_out: texts for measuring; may be empty.
      beginning: the vocabulary, the initial weights, and the configuration of the training.
      devices: the devices.
      checkpoint_folder: folder of this pre-training's checkpoints.

    Raises:
      UserError: the loss is not a number.
    """
    config, pieces = beginning.config, beginning.pieces
    strategy, has_scores = devices.strategy, bool(np.isfinite(data.scores).any())
    dtype = precision.choose(config.precision, devices.gpus)
    with strategy.scope():
        trained_network = network.Network(config, len(pieces), has_scores, beginning.weights)
        optimizer = model.build_optimizer(config.learning_rate, config.steps, config.warmup_fraction)
        # Not in the first step, since a checkpoint is only restored to variables that exist.
        optimizer._create_all_weights(trained_network.weights)
        if dtype == tf.float16:
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    xla = bool(devices.gpus) if config.xla == "auto" else config.xla
    described = masking.describe(pieces, config.whole_words)
    target = objective.Objective(trained_network, config, described, has_scores)
    steps = loop.Steps(strategy, target, trained_network.weights, optimizer, config.seed, dtype, xla)
    trackables = {"weights": trained_network.weights, "optimizer": optimizer}
    writes = distribution.worker_index(strategy) == 0
    if writes:
        checkpoints.remove_abandoned(os.path.dirname(checkpoint_folder), os.path.basename(checkpoint_folder))
    store = checkpoints.Checkpoints(checkpoint_folder, trackables, trained_network.weights, writes)
    widths = _choose_widths(config, data, held_out) if xla or devices.gpus else []
    result = loop.Loop(config, steps, strategy, store, data, held_out, widths).run()
    return Trained(trained_network, result, store, dtype)


def require_accuracy(history: Sequence[Mapping[str, float]], minimum: Optional[float]) -> None:
    """Checks the accuracy on held-out texts at the end.

    Raises:
      UserError: it is below the minimum, or was not measured.
    """
    if minimum is None:
        return
    if not history:
        raise UserError(
            f"encoder.pretrain.min_accuracy = {minimum}: no text was held out to measure the accuracy; set a larger "
            "encoder.pretrain.held_out_fraction"
        )
    accuracy = history[-1]["accuracy"]
    if accuracy < minimum:
        raise UserError(
            f"encoder.pretrain.min_accuracy = {minimum}: the pretrained encoder's accuracy on held-out texts is "
            f"{accuracy:.4f}; train more steps, or set a lower bound"
        )


def _tokenise(preprocess: Any, corpus: Corpus, config: PretrainConfig) -> tuple[loop.Data, loop.Data]:
    """Returns the texts to train on and the held-out ones, those with a piece to guess."""
    tokens = tokenise(preprocess, corpus.texts, config.max_length)
    usable = tokens.lengths > len((vocabulary.START, vocabulary.END))
    rows = (np.flatnonzero(usable & used) for used in (~corpus.is_held_out, corpus.is_held_out))
    train_data, held_out = (loop.Data(tokens.ordered(each), corpus.scores[each]) for each in rows)
    return train_data, held_out


def _key(config: PretrainConfig, corpus: Corpus, beginning: start.Start) -> str:
    """Returns a key for everything that the weights depend on."""
    weights = hashlib.sha256()
    for weight in (beginning.weights or {}).values():
        weights.update(weight.tobytes())
    settings = config.model_dump(exclude=_OTHER_SETTINGS)
    return checkpoints.training_key(settings, corpus.digest, list(beginning.pieces), weights.hexdigest())


def _choose_widths(config: PretrainConfig, data: loop.Data, held_out: loop.Data) -> list[int]:
    """Returns the widths of all batches, including that of the longest held-out text."""
    lengths = data.tokens.lengths
    first_epoch = batches.epoch_batches(lengths, config.batch_size, config.seed, 0)
    widths = batches.choose_widths(lengths, first_epoch, batches.MIN_REAL_SHARE)
    return [*widths[:-1], max(widths[-1], int(held_out.tokens.lengths.max(initial=0)))]


def _figures(
    corpus: Corpus, data: loop.Data, held_out: loop.Data, config: PretrainConfig, trained: Trained, devices: Devices
) -> pretraining.PretrainingFigures:
    used = len(data.scores) + len(held_out.scores)
    return pretraining.PretrainingFigures(
        objective=config.objective,
        texts={
            "trained": len(data.scores),
            "held_out": len(held_out.scores),
            "with_score": int(np.isfinite(corpus.scores).sum()),
            "without_pieces": len(corpus.texts) - used,
            **{f"left_out_{split}": count for split, count in corpus.left_out.items()},
        },
        rejected=corpus.rejected,
        steps=config.steps,
        passes=config.steps * config.batch_size / max(len(data.scores), 1),
        seconds=trained.result.seconds,
        examples_per_s=trained.result.examples_per_s,
        tokens_per_s=trained.result.examples_per_s * float(data.tokens.lengths.mean()) if len(data.scores) else 0.0,
        precision=trained.dtype.name,
        replicas=devices.strategy.num_replicas_in_sync,
        curve=trained.result.curve,
        history=trained.result.history,
    )
