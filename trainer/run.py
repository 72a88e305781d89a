"""`run_fn`: trains the classifier, in this process or in several, and exports the best epoch's model."""

import dataclasses
import os
import time
from typing import Any, Iterator, Mapping, Sequence, Union

import numpy as np
import tensorflow as tf
import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs

from artifacts import encoder as encoder_artifact
from artifacts import model_run
from core import gpu
from core.config import TrainerConfig
from core.errors import UserError
from launchers import local_processes
from launchers.base import Launcher, WorkerJob, import_path
from trainer import batches, checkpoints, distribution, loop, model, pooled, precision, results, reviews, tracing
from trainer.job import INPUTS, OUTPUTS, Job, Reviews

# What changes how fast a result comes, not what it is: a training goes on from a checkpoint made under another value.
_NO_PART_OF_THE_RESULT = {"workers", "device", "xla", "checkpoint_seconds"}


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; the stock Trainer's entry point.

    Args:
      fn_args: has what `Job` holds, under the same names.
    """
    job = Job(**{field.name: getattr(fn_args, field.name) for field in dataclasses.fields(Job)})
    # A scheduler that sets TF_CONFIG has started the workers itself, of which this is one.
    if job.config.workers == 1 or "TF_CONFIG" in os.environ:
        train(dataclasses.asdict(job))
        return
    logs = os.path.join(job.custom_config["checkpoints"], "logs", job.custom_config.get("run", ""))
    worker_job = WorkerJob(import_path(train), dataclasses.asdict(job), logs, INPUTS, OUTPUTS)
    _launcher(job).launch(worker_job, job.config.workers)


def train(arguments: Mapping[str, Any]) -> None:
    """Does one worker's part of a training; worker 0 exports the model.

    Args:
      arguments: a `Job` as a mapping.
    """
    started = time.monotonic()
    job = Job(**arguments)
    gpus = gpu.visible_gpus(job.config.device)
    strategy = distribution.choose_strategy(gpus)
    # For what a SavedModel draws that is trained as it is; all else has seeds of its own.
    tf_keras.utils.set_random_seed(job.config.seed)
    with tracing.libraries_as_written():
        _train(job, strategy, gpus, started)


def _launcher(job: Job) -> Launcher:
    if "tfjob" not in job.custom_config:
        return local_processes.LocalProcesses(gpus=_gpu_names(job.config.device))
    # A second of imports that only a cluster needs.
    from launchers import tfjob

    return tfjob.TFJob(tfjob.TFJobConfig.model_validate(job.custom_config["tfjob"]))


def _gpu_names(device: str) -> list[str]:
    """The GPUs that local workers share, as `CUDA_VISIBLE_DEVICES` calls them."""
    count = len(gpu.visible_gpus(device))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def _train(
    job: Job, strategy: tf.distribute.Strategy, gpus: Sequence[tf.config.PhysicalDevice], started: float
) -> None:
    encoder_artifact.verify(job.base_model)
    config, read = job.config, _read(job)
    classifier = _build_classifier(job, strategy)
    trained = _trained_part(config, classifier)
    with strategy.scope():
        optimizer = _build_optimizer(config, len(read.train.labels), trained.weights)
    dtype = _precision(config, classifier.encoder, strategy, gpus)
    if dtype == tf.float16:
        with strategy.scope():
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    # XLA can't look into a SavedModel.
    xla = bool(gpus) and not isinstance(classifier.encoder, model.SavedEncoder) if config.xla == "auto" else config.xla
    store = _checkpoints(job, read, strategy, optimizer, trained.weights)
    train_data, dev_data = _data(config, classifier.encoder, read, store.folder, strategy)
    steps = loop.Steps(strategy, job.task, trained, optimizer, config.seed, dtype, xla)
    widths = _widths(config, read) if xla or gpus else []
    result = loop.Loop(config, job.task, steps, strategy, store, train_data, dev_data, widths).run()
    if distribution.worker(strategy) == 0:
        best = _best_classifier(job, strategy, classifier, store, result)
        lengths = read.train.tokens.lengths
        figures = model_run.TrainingFigures(
            examples_per_s=result.examples_per_s,
            padding_share=batches.padding_share(lengths, _all_batches(config, lengths), widths),
            seconds=time.monotonic() - started,
            best_epoch=result.best_epoch,
            history=result.history,
            precision=dtype.name,
            replicas=strategy.num_replicas_in_sync,
            encoder="SavedModel" if isinstance(best.encoder, model.SavedEncoder) else "native",
        )
        results.write(job, read, best, figures)
        store.remove()
    distribution.wait_for_all(strategy)


def _read(job: Job) -> Reviews:
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(job.base_model))
    train_split, dev_split = (
        reviews.read_split(files, preprocess, job.config.max_length, name)
        for files, name in ((job.train_files, "train"), (job.eval_files, "dev"))
    )
    return Reviews(preprocess, train_split, dev_split)


def _build_classifier(job: Job, strategy: tf.distribute.Strategy) -> model.Classifier:
    encoder = model.load_encoder(encoder_artifact.encoder_dir(job.base_model), strategy)
    hidden = encoder_artifact.read(job.base_model).hidden
    with strategy.scope():
        return model.Classifier(encoder, model.Head(job.task, hidden, job.config.dropout, job.config.seed))


def _build_optimizer(config: TrainerConfig, rows: int, weights: Sequence[tf.Variable]) -> tf_keras.optimizers.Optimizer:
    steps = config.epochs * -(-rows // config.batch_size)
    optimizer = model.build_optimizer(config.learning_rate, steps, config.warmup_fraction)
    # Now, not in the first step: what a checkpoint holds can only be compared with variables that exist.
    optimizer._create_all_weights(weights)
    return optimizer


def _precision(
    config: TrainerConfig,
    encoder: model.Encoder,
    strategy: tf.distribute.Strategy,
    gpus: Sequence[tf.config.PhysicalDevice],
) -> tf.DType:
    """The type to multiply in: the same on all workers.

    Raises:
      UserError: the encoder can't be trained in the one that is asked for.
    """
    if isinstance(encoder, model.SavedEncoder) or config.mode == "feature_based":
        if config.precision not in ("auto", "float32"):
            raise UserError(
                f"trainer.precision = {config.precision}: an encoder that is frozen, or no BERT that can be rebuilt, "
                "computes in float32; should be float32 or auto"
            )
        return tf.float32
    dtype = precision.choose(config.precision, gpus)
    return dtype if distribution.agreed(strategy, dtype.as_datatype_enum) else tf.float32


def _checkpoints(
    job: Job,
    read: Reviews,
    strategy: tf.distribute.Strategy,
    optimizer: tf_keras.optimizers.Optimizer,
    weights: Sequence[tf.Variable],
) -> checkpoints.Checkpoints:
    """The checkpoints of the training that these rows, this encoder and this configuration make."""
    root, writes = job.custom_config["checkpoints"], distribution.worker(strategy) == 0
    key = checkpoints.training_key(
        job.config.model_dump(exclude=_NO_PART_OF_THE_RESULT),
        dataclasses.asdict(job.task),
        dict(encoder_artifact.read(job.base_model).sha256),
        [read.train.digest, read.dev.digest],
        job.custom_config.get("run"),
    )
    if writes:
        checkpoints.remove_abandoned(root, key)
    trackables = {"weights": list(weights), "optimizer": optimizer}
    return checkpoints.Checkpoints(os.path.join(root, key), trackables, weights, writes)


def _data(
    config: TrainerConfig, encoder: model.Encoder, read: Reviews, folder: str, strategy: tf.distribute.Strategy
) -> list[loop.Data]:
    """Train and dev as the model takes them: tokens, or for a frozen encoder what it makes of them."""
    made = []
    for split, name in ((read.train, "train"), (read.dev, "dev")):
        if config.mode == "feature_based":
            inputs = batches.feature_inputs(pooled.pooled_outputs(encoder, split.tokens, folder, name, strategy))
        else:
            inputs = batches.token_inputs(split.tokens)
        made.append(loop.Data(inputs, split.labels, split.tokens.lengths))
    return made


def _all_batches(config: TrainerConfig, lengths: np.ndarray) -> Iterator[np.ndarray]:
    for epoch in range(config.epochs):
        yield from batches.epoch_batches(lengths, config.batch_size, config.seed, epoch)


def _widths(config: TrainerConfig, read: Reviews) -> list[int]:
    """The widths of all batches, the longest dev row's among them."""
    lengths = read.train.tokens.lengths
    first_epoch = batches.epoch_batches(lengths, config.batch_size, config.seed, 0)
    widths = batches.choose_widths(lengths, first_epoch, batches.LEAST_REAL_SHARE)
    return [*widths[:-1], max(widths[-1], int(read.dev.tokens.lengths.max(initial=0)))]


def _best_classifier(
    job: Job,
    strategy: tf.distribute.Strategy,
    classifier: model.Classifier,
    store: checkpoints.Checkpoints,
    result: loop.Trained,
) -> model.Classifier:
    """The model with the best epoch's weights, on this process's own variables."""
    if strategy.num_replicas_in_sync > 1:
        # Mirrored variables can only be exported by all workers together.
        classifier = _build_classifier(job, tf.distribute.get_strategy())
    store.restore_best(result.best_step, _trained_part(job.config, classifier).weights)
    return classifier


def _trained_part(config: TrainerConfig, classifier: model.Classifier) -> Union[model.Classifier, model.Head]:
    return classifier if config.mode == "fine_tune" else classifier.head
