"""`run_fn`: fine-tunes or trains on top of the encoder, keeps the best epoch, exports."""

import dataclasses
import os
import tempfile
import time
from typing import Any, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs

from components import encoder_artifact
from pipeline import progress
from pipeline.config import TrainerConfig
from schema.task import Task, task_from_json
from trainer import batches, export, model, model_card, model_run, pictures, tracing
from trainer.reviews import Reviews, read_reviews

# Dev rows whose answers ServingValidator holds the served model against.
GOLDEN_ROWS = 64

# Rows a batch where nothing is learned: more is no faster on two cores and costs memory.
EVALUATION_BATCH = 128


@dataclasses.dataclass(frozen=True)
class Split:
    """A split ready for batches: tokens, labels, and texts for the golden answers."""

    reviews: Reviews
    tokens: batches.Tokens

    @property
    def labels(self) -> np.ndarray:
        """int64[n], class of each review."""
        return self.reviews.labels


class ProgressLog(tf_keras.callbacks.Callback):
    """Reports the epoch's progress about once a second, and clocks training apart from evaluation."""

    def __init__(self, epochs: int, steps: int, batch_size: int, metric: str):
        super().__init__()
        self._epochs, self._steps, self._batch_size, self._metric = epochs, steps, batch_size, metric
        self._epoch = 0
        self._started = self._reported = 0.0
        self.epoch_seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._started = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.monotonic()
        if batch + 1 == self._steps:
            self.epoch_seconds.append(now - self._started)
        elif now - self._reported < 1.0:
            return
        self._reported = now
        self._report(batch + 1, logs, ("loss", self._metric), (batch + 1) * self._batch_size / (now - self._started))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        names = ("loss", self._metric, "val_loss", f"val_{self._metric}")
        self._report(self._steps, logs, names, self._steps * self._batch_size / self.epoch_seconds[-1])

    def _report(self, step: int, logs: Any, names: Sequence[str], examples_per_s: float) -> None:
        progress.report(
            f"epoch {self._epoch + 1}/{self._epochs}",
            self._epoch * self._steps + step,
            self._epochs * self._steps,
            **{name.replace("val_", "dev_"): float(logs[name]) for name in names},
            examples_per_s=examples_per_s,
        )


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; the stock Trainer's entry point.

    Args:
      fn_args: `train_files` and `eval_files` are the train and dev splits, `base_model` the encoder
        artifact's folder; `custom_config` holds `trainer` (TrainerConfig), `task` and `data` (for the model's card).
    """
    started = time.monotonic()
    config = TrainerConfig.model_validate(fn_args.custom_config["trainer"])
    task = task_from_json(fn_args.custom_config["task"])
    tf_keras.utils.set_random_seed(config.seed)
    with tracing.libraries_as_written():
        figures, golden, classifier = _train_and_export(fn_args, config, task)
    figures = dataclasses.replace(figures, seconds=time.monotonic() - started)
    _write_model_run(fn_args.model_run_dir, figures, golden, classifier, task)


def _train_and_export(
    fn_args: FnArgs, config: TrainerConfig, task: Task
) -> tuple[model_run.TrainingFigures, model_run.GoldenAnswers, tf_keras.Model]:
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(fn_args.base_model))
    train, dev = (_load(files, preprocess, config.max_length) for files in (fn_args.train_files, fn_args.eval_files))
    encoder = model.load_encoder(encoder_artifact.encoder_dir(fn_args.base_model), config.mode == "fine_tune")
    hidden = encoder_artifact.read(fn_args.base_model).hidden
    head = model.build_head(task, hidden, config.dropout)
    classifier = model.build_classifier(encoder, head)

    figures = train_and_evaluate(config, task, encoder, head, classifier, train, dev, fn_args.model_run_dir)
    golden = golden_answers(classifier, task, dev)
    export.export(fn_args.serving_model_dir, export.ServedClassifier(preprocess, classifier, task, config.max_length))
    model_card.write(fn_args.serving_model_dir, model_card.ModelCard(task, fn_args.custom_config["data"]))
    return figures, golden, classifier


def train_and_evaluate(
    config: TrainerConfig,
    task: Task,
    encoder: tf_keras.layers.Layer,
    head: tf_keras.Model,
    classifier: tf_keras.Model,
    train: Split,
    dev: Split,
    run_dir: str,
) -> model_run.TrainingFigures:
    """Trains for all epochs and leaves the weights of the best one (by dev metric) in the model.

    In `feature_based` mode the encoder is frozen: its pooled outputs are computed once, and the head
    alone is trained on them.
    """
    epochs = [
        batches.epoch_batches(train.tokens.lengths, config.batch_size, config.seed, epoch)
        for epoch in range(config.epochs)
    ]
    dev_epoch = [batches.sorted_batches(dev.tokens.lengths, EVALUATION_BATCH)]
    if config.mode == "feature_based":
        trained = head
        train_set, dev_set = (
            batches.feature_dataset(_pooled_outputs(encoder, split, name), split.labels, order)
            for split, name, order in ((train, "train", epochs), (dev, "dev", dev_epoch))
        )
    else:
        trained = classifier
        train_set, dev_set = (
            batches.token_dataset(split.tokens, split.labels, order)
            for split, order in ((train, epochs), (dev, dev_epoch))
        )
    history, seconds = _fit(config, task, trained, train_set, dev_set, len(epochs[0]), run_dir)
    metric = task.training_metrics()[0].name
    return model_run.TrainingFigures(
        examples_per_s=len(train.labels) * config.epochs / seconds,
        padding_share=batches.padding_share(train.tokens.lengths, [rows for epoch in epochs for rows in epoch]),
        seconds=seconds,
        best_epoch=1 + int(np.argmax([row[f"dev_{metric}"] for row in history])),
        history=history,
    )


def golden_answers(classifier: tf_keras.Model, task: Task, dev: Split) -> model_run.GoldenAnswers:
    """Asks the model in this process for the served outputs of some dev rows."""
    rows = np.arange(min(GOLDEN_ROWS, len(dev.labels)))
    outputs = task.served_outputs(classifier(dev.tokens.padded(rows), training=False))
    return model_run.GoldenAnswers(
        text=[dev.reviews.texts[row].decode("utf-8") for row in rows],
        outputs={name: value.numpy().tolist() for name, value in outputs.items()},
    )


def _load(patterns: Sequence[str], preprocess: Any, max_length: int) -> Split:
    reviews = read_reviews(patterns)
    return Split(reviews, batches.tokenise(preprocess, reviews.texts, max_length))


def _pooled_outputs(encoder: tf_keras.layers.Layer, split: Split, name: str) -> np.ndarray:
    """Returns float32[n, hidden], the frozen encoder's pooled output of every row."""
    pooled = {}
    order = batches.sorted_batches(split.tokens.lengths, EVALUATION_BATCH)
    call = tf.function(lambda inputs: encoder(inputs, training=False)["pooled_output"], reduce_retracing=True)
    for done, rows in enumerate(order, 1):
        inputs = {key: tf.constant(value) for key, value in split.tokens.padded(rows).items()}
        pooled.update(zip(rows.tolist(), call(inputs).numpy(), strict=True))
        progress.report(f"encoding {name}", done, len(order))
    return np.stack([pooled[row] for row in range(len(split.labels))])


def _fit(
    config: TrainerConfig,
    task: Task,
    trained: tf_keras.Model,
    train_set: tf.data.Dataset,
    dev_set: tf.data.Dataset,
    steps: int,
    run_dir: str,
) -> tuple[list[dict[str, float]], float]:
    """Runs Keras' own loop; returns the history by epoch and the seconds spent on training steps."""
    metrics = task.training_metrics()
    metric = metrics[0].name
    optimizer = model.build_optimizer(config.learning_rate, steps * config.epochs, config.warmup_fraction)
    trained.compile(optimizer, task.loss(), metrics)
    log = ProgressLog(config.epochs, steps, config.batch_size, metric)
    with tempfile.TemporaryDirectory() as folder:
        best = os.path.join(folder, "best")
        keep_best = tf_keras.callbacks.ModelCheckpoint(
            best, monitor=f"val_{metric}", mode="max", save_best_only=True, save_weights_only=True
        )
        board = tf_keras.callbacks.TensorBoard(os.path.join(run_dir, model_run.LOGS_DIR), write_graph=False)
        fitted = trained.fit(
            train_set,
            validation_data=dev_set,
            epochs=config.epochs,
            steps_per_epoch=steps,
            callbacks=[log, keep_best, board],
            verbose=0,
        )
        trained.load_weights(best).expect_partial()
    return _history(fitted.history), sum(log.epoch_seconds)


def _history(columns: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Keras' columns as one mapping an epoch, `val_` spelled `dev_`."""
    rows = zip(*columns.values(), strict=True)
    names = [name.replace("val_", "dev_") for name in columns]
    return [{"epoch": epoch, **dict(zip(names, row, strict=True))} for epoch, row in enumerate(rows, 1)]


def _write_model_run(
    folder: str,
    figures: model_run.TrainingFigures,
    golden: model_run.GoldenAnswers,
    classifier: tf_keras.Model,
    task: Task,
) -> None:
    model_run.write_json(folder, model_run.TRAINING_FILE, figures)
    model_run.write_json(folder, model_run.GOLDEN_FILE, golden)
    metric = task.training_metrics()[0].name
    pictures.draw_history(figures.history, figures.best_epoch, metric, os.path.join(folder, model_run.HISTORY_PICTURE))
    parameters = {layer.name: sum(tf.size(w).numpy() for w in layer.weights) for layer in classifier.layers}
    pictures.draw_model(classifier, parameters, os.path.join(folder, model_run.MODEL_PICTURE))
