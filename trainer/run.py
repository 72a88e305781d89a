"""`run_fn`: trains the classifier in one or several processes, and exports the best epoch's model."""

import dataclasses
import math
import os
import time
from typing import Any, Iterator, Mapping, Sequence, Union

import numpy as np
import tensorflow as tf
import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs

from artifacts import encoder as encoder_artifact
from artifacts import model_run, saved_encoder
from core import gpu
from core.config import TrainerConfig
from core.errors import UserError
from launchers import local_processes
from launchers.base import Launcher, WorkerJob, import_path
from trainer import (
    batches,
    checkpoints,
    distillation,
    distribution,
    loop,
    model,
    pooled,
    precision,
    results,
    reviews,
    tracing,
)
from trainer.job import INPUTS, OUTPUTS, Reviews, TrainingJob
from trainer.reduced import ReducedEncoder, reduce_table

# Settings that affect only the speed: a training may continue from a checkpoint with other values of them.
_SPEED_SETTINGS = {"workers", "device", "xla", "checkpoint_seconds"}


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; the entry point for TFX's Trainer.

    Args:
      fn_args: has attributes with the names of the fields of `TrainingJob`.
    """
    names = [field.name for field in dataclasses.fields(TrainingJob)]
    # TFX's own Trainer has no `teacher_files`.
    job = TrainingJob(**{name: getattr(fn_args, name) for name in names if hasattr(fn_args, name)})
    # If TF_CONFIG is set, a scheduler has started this process as one of the workers.
    if job.config.workers == 1 or "TF_CONFIG" in os.environ:
        train(dataclasses.asdict(job))
        return
    logs = os.path.join(job.custom_config["checkpoints"], "logs", job.custom_config.get("run", ""))
    worker_job = WorkerJob(import_path(train), dataclasses.asdict(job), logs, INPUTS, OUTPUTS)
    _launcher(job).launch(worker_job, job.config.workers)


def train(arguments: Mapping[str, Any]) -> None:
    """Trains as one of the workers; worker 0 exports the model.

    Args:
      arguments: the fields of a `TrainingJob`.
    """
    started = time.monotonic()
    job = TrainingJob(**arguments)
    gpus = gpu.visible_gpus(job.config.device)
    strategy = distribution.choose_strategy(gpus)
    # For the random numbers of an encoder that is trained as a SavedModel; all others have explicit seeds.
    tf_keras.utils.set_random_seed(job.config.seed)
    with tracing.libraries_as_written():
        _train(job, strategy, gpus, started)


def _launcher(job: TrainingJob) -> Launcher:
    if "cluster_job" not in job.custom_config:
        return local_processes.LocalProcesses(gpus=_gpu_names(job.config.device))
    # Imported here, since it takes a second and only a cluster needs it.
    from launchers import cluster_job

    return cluster_job.ClusterJob(cluster_job.ClusterJobConfig.model_validate(job.custom_config["cluster_job"]))


def _gpu_names(device: str) -> list[str]:
    """Returns the names in `CUDA_VISIBLE_DEVICES` of the GPUs that local workers share."""
    count = len(gpu.visible_gpus(device))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(i) for i in range(count)]


def _train(
    job: TrainingJob, strategy: tf.distribute.Strategy, gpus: Sequence[tf.config.PhysicalDevice], started: float
) -> None:
    encoder_artifact.verify(job.base_model)
    config, data = job.config, _read_reviews(job)
    classifier = _build_classifier(job, strategy)
    with strategy.scope():
        trained_model = _trained_model(config, classifier, data)
        optimizer = _build_optimizer(config, len(data.train.labels), trained_model.weights)
    dtype = _choose_dtype(config, classifier.encoder, strategy, gpus)
    if dtype == tf.float16:
        with strategy.scope():
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    # XLA can't compile a SavedModel.
    xla = bool(gpus) and not isinstance(classifier.encoder, model.SavedEncoder) if config.xla == "auto" else config.xla
    store = _open_checkpoints(job, data, strategy, optimizer, trained_model.weights)
    train_data, dev_data = _model_inputs(job, classifier.encoder, data, strategy)
    class_weights = job.task.balanced_weights(data.train.labels) if config.class_weights == "balanced" else None
    steps = loop.Steps(
        strategy, job.task, trained_model, optimizer, config.seed, dtype, xla, class_weights, job.distillation
    )
    widths = _choose_widths(config, data) if xla or gpus else []
    result = loop.Loop(config, job.task, steps, strategy, store, train_data, dev_data, widths).run()
    if distribution.worker_index(strategy) == 0:
        best = _best_classifier(job, strategy, classifier, data, store, result)
        threshold = _move_threshold(job, best, data.dev)
        lengths = data.train.tokens.lengths
        figures = model_run.TrainingFigures(
            examples_per_s=result.examples_per_s,
            padding_share=batches.padding_share(lengths, _all_batches(config, lengths), widths),
            seconds=time.monotonic() - started,
            best_epoch=result.best_epoch,
            history=result.history,
            precision=dtype.name,
            replicas=strategy.num_replicas_in_sync,
            encoder="SavedModel" if isinstance(best.encoder, model.SavedEncoder) else "native",
            threshold=threshold,
            curve=_with_learning_rates(result.curve, config, len(data.train.labels)),
        )
        results.write(job, data, best, figures)
        store.remove()
    distribution.wait_for_all(strategy)


def _read_reviews(job: TrainingJob) -> Reviews:
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(job.base_model))
    train_split, dev_split = (
        reviews.read_split(files, preprocess, job.config.max_length, name)
        for files, name in ((job.train_files, "train"), (job.eval_files, "dev"))
    )
    if job.teacher_files:
        train_split = distillation.add_teacher_rows(train_split, job.teacher_files, preprocess, job.config.max_length)
    return Reviews(preprocess, train_split, dev_split)


def _build_classifier(job: TrainingJob, strategy: tf.distribute.Strategy) -> model.Classifier:
    folder = encoder_artifact.encoder_dir(job.base_model)
    encoder = model.load_encoder(folder, strategy, job.config.pooling)
    if job.config.mode == "fine_tune" and not encoder.weights:
        raise saved_encoder.untrainable(folder)
    hidden = encoder_artifact.read(job.base_model).hidden
    with strategy.scope():
        return model.Classifier(encoder, model.Head(job.task, hidden, job.config.dropout, job.config.seed))


def _build_optimizer(config: TrainerConfig, rows: int, weights: Sequence[tf.Variable]) -> tf_keras.optimizers.Optimizer:
    optimizer = model.build_optimizer(config.peak_learning_rate, _total_steps(config, rows), config.warmup_fraction)
    # Not in the first step, since a checkpoint is only restored to variables that exist.
    optimizer._create_all_weights(weights)
    return optimizer


def _total_steps(config: TrainerConfig, rows: int) -> int:
    return config.epochs * -(-rows // config.batch_size)


def _with_learning_rates(
    curve: Sequence[Mapping[str, float]], config: TrainerConfig, rows: int
) -> list[dict[str, float]]:
    """Adds to each point of the training curve the learning rate of its step."""
    schedule = model.make_schedule(config.peak_learning_rate, _total_steps(config, rows), config.warmup_fraction)
    rates = schedule(tf.constant([point["step"] - 1 for point in curve], tf.float32)).numpy().tolist()
    return [{**point, "learning_rate": rate} for point, rate in zip(curve, rates, strict=True)]


def _choose_dtype(
    config: TrainerConfig,
    encoder: model.Encoder,
    strategy: tf.distribute.Strategy,
    gpus: Sequence[tf.config.PhysicalDevice],
) -> tf.DType:
    """Returns the data type of the matrix products, the same on all workers.

    Raises:
      UserError: the encoder can't be trained in the configured precision.
    """
    if isinstance(encoder, model.SavedEncoder) or config.mode == "feature_based":
        if config.precision not in ("auto", "float32"):
            raise UserError(
                f"trainer.precision = {config.precision}: not supported for a frozen encoder, or one that can't be "
                "rebuilt as a BERT; set float32 or auto"
            )
        return tf.float32
    dtype = precision.choose(config.precision, gpus)
    return dtype if distribution.all_equal(strategy, dtype.as_datatype_enum) else tf.float32


def _open_checkpoints(
    job: TrainingJob,
    data: Reviews,
    strategy: tf.distribute.Strategy,
    optimizer: tf_keras.optimizers.Optimizer,
    weights: Sequence[tf.Variable],
) -> checkpoints.Checkpoints:
    """Returns the checkpoints of the training with these rows, this encoder and this configuration."""
    root, writes = job.custom_config["checkpoints"], distribution.worker_index(strategy) == 0
    key = checkpoints.training_key(
        job.config.model_dump(exclude=_SPEED_SETTINGS),
        dataclasses.asdict(job.task),
        dict(encoder_artifact.read(job.base_model).sha256),
        [data.train.digest, data.dev.digest],
        job.custom_config.get("run"),
        *([dataclasses.asdict(job.distillation)] if job.distillation else []),
    )
    if writes:
        checkpoints.remove_abandoned(root, key)
    trackables = {"weights": list(weights), "optimizer": optimizer}
    return checkpoints.Checkpoints(os.path.join(root, key), trackables, weights, writes)


def _model_inputs(
    job: TrainingJob, encoder: model.Encoder, data: Reviews, strategy: tf.distribute.Strategy
) -> list[loop.Data]:
    """Returns train and dev as inputs of the trained model: tokens, or the vectors of a frozen encoder."""
    splits = []
    folder = _open_features(job, data, strategy) if job.config.mode == "feature_based" else ""
    for split, name in ((data.train, "train"), (data.dev, "dev")):
        if folder:
            inputs = batches.feature_inputs(pooled.pooled_outputs(encoder, split.tokens, folder, name, strategy))
        else:
            inputs = batches.token_inputs(split.tokens)
        splits.append(loop.Data(inputs, distillation.targets_of(split), split.tokens.lengths))
    return splits


def _open_features(job: TrainingJob, data: Reviews, strategy: tf.distribute.Strategy) -> str:
    """Returns the folder of a frozen encoder's vectors of these rows."""
    parts = [
        dict(encoder_artifact.read(job.base_model).sha256),
        [data.train.digest, data.dev.digest],
        job.config.pooling,
        job.config.max_length,
    ]
    return pooled.open_folder(job.custom_config["checkpoints"], parts, distribution.worker_index(strategy) == 0)


def _all_batches(config: TrainerConfig, lengths: np.ndarray) -> Iterator[np.ndarray]:
    for epoch in range(config.epochs):
        yield from batches.epoch_batches(lengths, config.batch_size, config.seed, epoch)


def _choose_widths(config: TrainerConfig, data: Reviews) -> list[int]:
    """Returns the widths of all batches, including that of the longest dev row."""
    lengths = data.train.tokens.lengths
    first_epoch = batches.epoch_batches(lengths, config.batch_size, config.seed, 0)
    widths = batches.choose_widths(lengths, first_epoch, batches.MIN_REAL_SHARE)
    return [*widths[:-1], max(widths[-1], int(data.dev.tokens.lengths.max(initial=0)))]


def _best_classifier(
    job: TrainingJob,
    strategy: tf.distribute.Strategy,
    classifier: model.Classifier,
    data: Reviews,
    store: checkpoints.Checkpoints,
    result: loop.Result,
) -> model.Classifier:
    """Returns the model with the best epoch's weights, on variables of this process."""
    if strategy.num_replicas_in_sync > 1:
        # Only all workers together could export mirrored variables.
        classifier = _build_classifier(job, tf.distribute.get_strategy())
    trained_model = _trained_model(job.config, classifier, data)
    store.restore_best(result.best_step, trained_model.weights)
    if isinstance(trained_model, model.Classifier) and isinstance(trained_model.encoder, ReducedEncoder):
        trained_model.encoder.update_network()
    return classifier


def _move_threshold(job: TrainingJob, classifier: model.Classifier, dev: reviews.Split) -> float:
    """Moves the bias so that a probability of 0.5 is at the configured threshold; returns the threshold.

    So the exported model, its evaluation and its clients all have the same boundary.
    """
    threshold = job.config.threshold
    if threshold == "auto":
        rows = batches.sorted_batches(dev.tokens.lengths, loop.EVALUATION_BATCH)
        logits = np.concatenate([classifier(dev.tokens.padded(batch)).numpy() for batch in rows])
        threshold = job.task.best_threshold(dev.labels[np.concatenate(rows)], logits)
    if threshold != 0.5:
        classifier.head.bias.assign_sub([math.log(threshold / (1.0 - threshold))])
    return threshold


def _trained_model(
    config: TrainerConfig, classifier: model.Classifier, data: Reviews
) -> Union[model.Classifier, model.Head]:
    """Returns the model that is trained, on the classifier's variables except for a large table."""
    if config.mode == "feature_based":
        return classifier.head
    return reduce_table(classifier, data.train.tokens, data.dev.tokens)
