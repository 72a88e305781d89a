"""`run_fn`: trains the classifier, in this process or in several, and exports the best epoch's model."""

import dataclasses
import logging
import os
import time
from typing import Any, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs

from components import encoder_artifact
from pipeline.config import TrainerConfig
from pipeline.errors import UserError
from schema.task import Task, task_from_json
from trainer import (
    batches,
    checkpoints,
    distribution,
    export,
    gpu,
    launcher,
    loop,
    model,
    model_card,
    model_run,
    pictures,
    pooled,
    precision,
    reviews,
    tracing,
)

# What changes how fast a result comes, not what it is: a training goes on from a checkpoint made under another value.
_NO_PART_OF_THE_RESULT = {"workers", "device", "xla", "checkpoint_seconds"}


@dataclasses.dataclass(frozen=True)
class Job:
    """A training as worker processes get it; JSON values only.

    Attributes:
      train_files: patterns of the train split's files.
      eval_files: the dev split's.
      base_model: the encoder's folder.
      serving_model_dir: where the exported model goes.
      model_run_dir: where `trainer.model_run`'s files go.
      custom_config: `trainer` (TrainerConfig), `task`, `data` (for the model's card) and `checkpoints` (a folder
        that outlives this execution and that all workers share).
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    base_model: str
    serving_model_dir: str
    model_run_dir: str
    custom_config: Mapping[str, Any]

    @property
    def config(self) -> TrainerConfig:
        """How to train."""
        return TrainerConfig.model_validate(self.custom_config["trainer"])

    @property
    def task(self) -> Task:
        """What is predicted."""
        return task_from_json(self.custom_config["task"])


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Both splits, and the encoder's own tokenisation."""

    preprocess: Any
    train: reviews.Split
    dev: reviews.Split


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
    logs = os.path.join(job.custom_config["checkpoints"], "logs")
    processes = launcher.LocalProcesses(gpus=_gpu_names(job.config.device))
    processes.launch(launcher.Job("trainer.run.train", dataclasses.asdict(job), logs), job.config.workers)


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


def _gpu_names(device: str) -> list[str]:
    """The GPUs that local workers share, as `CUDA_VISIBLE_DEVICES` calls them."""
    count = len(gpu.visible_gpus(device))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def _train(
    job: Job, strategy: tf.distribute.Strategy, gpus: Sequence[tf.config.PhysicalDevice], started: float
) -> None:
    config, read = job.config, _read(job)
    classifier = _build_classifier(job, strategy)
    trained = classifier if config.mode == "fine_tune" else classifier.head
    with strategy.scope():
        optimizer = _build_optimizer(config, len(read.train.labels), trained.weights)
    dtype = _precision(config, classifier.encoder, strategy, gpus)
    if dtype == tf.float16:
        with strategy.scope():
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    xla = bool(gpus) and config.xla == "auto" or config.xla is True
    store = _checkpoints(job, read, strategy, optimizer, trained.weights)
    train_data, dev_data = _data(config, classifier.encoder, read, store.folder, strategy)
    steps = loop.Steps(strategy, job.task, trained, optimizer, config.seed, dtype, xla)
    widths = _widths(config, read) if xla or gpus else []
    result = loop.Loop(config, job.task, steps, strategy, store, train_data, dev_data, widths).run()
    if distribution.worker(strategy) == 0:
        _finish(job, read, strategy, classifier, store, result, widths, started)
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


def _widths(config: TrainerConfig, read: Reviews) -> list[int]:
    """The widths of all batches, the longest dev row's among them."""
    lengths = read.train.tokens.lengths
    first_epoch = batches.epoch_batches(lengths, config.batch_size, config.seed, 0)
    widths = batches.choose_widths(lengths, first_epoch, batches.LEAST_REAL_SHARE)
    return [*widths[:-1], max(widths[-1], int(read.dev.tokens.lengths.max(initial=0)))]


def _finish(
    job: Job,
    read: Reviews,
    strategy: tf.distribute.Strategy,
    classifier: model.Classifier,
    store: checkpoints.Checkpoints,
    result: loop.Trained,
    widths: Sequence[int],
    started: float,
) -> None:
    """Exports the best epoch's model and writes all that a training leaves; its checkpoints go last."""
    if strategy.num_replicas_in_sync > 1:
        # Mirrored variables can only be exported by all workers together.
        classifier = _build_classifier(job, tf.distribute.get_strategy())
    trained = classifier if job.config.mode == "fine_tune" else classifier.head
    store.restore_best(result.best_step, trained.weights)
    golden = golden_answers(classifier, job.task, read.dev)
    served = export.ServedClassifier(read.preprocess, classifier, job.task, job.config.max_length)
    export.export(job.serving_model_dir, served)
    model_card.write(job.serving_model_dir, model_card.ModelCard(job.task, job.custom_config["data"]))
    figures = _figures(job.config, read, result, widths, time.monotonic() - started)
    _write_model_run(job, figures, golden, classifier)
    store.remove()


def _figures(
    config: TrainerConfig, read: Reviews, result: loop.Trained, widths: Sequence[int], seconds: float
) -> model_run.TrainingFigures:
    lengths = read.train.tokens.lengths
    all_batches = (
        rows
        for epoch in range(config.epochs)
        for rows in batches.epoch_batches(lengths, config.batch_size, config.seed, epoch)
    )
    return model_run.TrainingFigures(
        examples_per_s=result.examples_per_s,
        padding_share=batches.padding_share(lengths, all_batches, widths),
        seconds=seconds,
        best_epoch=result.best_epoch,
        history=result.history,
    )


def golden_answers(classifier: model.Classifier, task: Task, dev: reviews.Split) -> model_run.GoldenAnswers:
    """Asks the model in this process for the served outputs of some dev rows."""
    rows = np.arange(len(dev.first_texts))
    # In plain float32, as a model server on any device may be asked to agree with it: a GPU's own is TF32.
    with tf.device("/CPU:0"):
        outputs = task.served_outputs(classifier(dev.tokens.padded(rows)))
    return model_run.GoldenAnswers(
        text=[text.decode("utf-8") for text in dev.first_texts],
        outputs={name: value.numpy().tolist() for name, value in outputs.items()},
    )


def _write_model_run(
    job: Job, figures: model_run.TrainingFigures, golden: model_run.GoldenAnswers, classifier: model.Classifier
) -> None:
    folder = job.model_run_dir
    os.makedirs(folder, exist_ok=True)
    model_run.write_json(folder, model_run.TRAINING_FILE, figures)
    model_run.write_json(folder, model_run.GOLDEN_FILE, golden)
    pictures.draw_history(
        figures.history, figures.best_epoch, job.task.training_metric, os.path.join(folder, model_run.HISTORY_PICTURE)
    )
    parts = {part.name: sum(int(tf.size(w)) for w in part.weights) for part in (classifier.encoder, classifier.head)}
    pictures.draw_model(parts, encoder_artifact.read(job.base_model), os.path.join(folder, model_run.MODEL_PICTURE))
    _write_board(os.path.join(folder, model_run.LOGS_DIR), figures.history)
    logging.info("trained in %.0f s", figures.seconds)


def _write_board(folder: str, history: Sequence[Mapping[str, float]]) -> None:
    """Writes the history for TensorBoard, train and dev as two runs of it."""
    for run, prefix in (("train", ""), ("dev", "dev_")):
        with tf.summary.create_file_writer(os.path.join(folder, run)).as_default():
            for row in history:
                names = [name for name in row if name.startswith("dev_") == bool(prefix) and name != "epoch"]
                for name in names:
                    tf.summary.scalar(f"epoch_{name.removeprefix('dev_')}", row[name], row["epoch"])
