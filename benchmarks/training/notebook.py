"""The notebook's pipeline as a contender: TensorFlow's own BERT tutorial, from strings to `model.fit`.

It is what a Colab user runs: the Hub preprocess model inside the Keras model, so that every batch is tokenised and
padded to 128 again in every epoch; the Hub encoder as a SavedModel in float32; rows batched before they are cached and
shuffled. All turns are within one `fit`, between its steps or epochs, so the training loop is Keras' own.
"""

import os
import time
from typing import Any, Optional

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf  # noqa: E402
import tensorflow_hub as hub  # noqa: E402
import tensorflow_text  # noqa: E402, F401  Registers the ops that preprocess models are made of.
import tf_keras  # noqa: E402
from official.nlp import optimization  # noqa: E402

from artifacts import encoder as encoder_artifact  # noqa: E402
from benchmarks.training import data, turns  # noqa: E402

# More than the number of batches, so that their order is uniform.
_SHUFFLE_BUFFER = 10_000
_WARM_UP_STEPS = 2
# `fit` needs a number of epochs; the last turn ends it.
_ENDLESS = 1_000_000


class SecondsTurns(tf_keras.callbacks.Callback):
    """Blocks `fit` between two steps until this contender's next turn of some seconds."""

    # Keras then leaves the metrics where they are instead of reading them after every step.
    _supports_tf_logs = True

    def __init__(self, batch_size: int):
        super().__init__()
        self._batch_size = batch_size
        self._referee = turns.Referee()
        self._steps = -_WARM_UP_STEPS
        self._started = 0.0
        self._turn_s: Optional[float] = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps += 1
        if self._steps < 0:
            return
        if self._turn_s is None:
            self._referee.answer(ready=True)
        elif time.monotonic() - self._started >= self._turn_s:
            self.model.trainable_weights[-1].numpy()  # Waits for a GPU.
            elapsed = time.monotonic() - self._started
            self._referee.answer(examples=self._steps * self._batch_size, seconds=elapsed)
        else:
            return
        self._turn_s = self._referee.wait()
        self.model.stop_training = self._turn_s is None
        self._steps, self._started = 0, time.monotonic()


class EpochTurns(tf_keras.callbacks.Callback):
    """Blocks `fit` between two epochs until this contender's next turn; the time of evaluation does not count."""

    _supports_tf_logs = True

    def __init__(self, examples: int):
        super().__init__()
        self._examples = examples
        self._referee = turns.Referee()
        self._started = self._seconds = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._referee.answer(ready=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = self._referee.wait() is None
        self._started = time.monotonic()

    def on_test_begin(self, logs: Any = None) -> None:
        self.model.trainable_weights[-1].numpy()  # Waits for a GPU.
        self._seconds = time.monotonic() - self._started

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        accuracy = float(logs["val_binary_accuracy"])
        self._referee.answer(examples=self._examples, seconds=self._seconds, accuracy=accuracy)


def build_model(encoder: str) -> tf_keras.Model:
    """Builds string[batch] -> logit float32[batch, 1] from an encoder folder."""
    text = tf_keras.Input(shape=(), dtype=tf.string, name="text")
    tokens = hub.KerasLayer(encoder_artifact.preprocess_dir(encoder), name="preprocessing")(text)
    outputs = hub.KerasLayer(encoder_artifact.encoder_dir(encoder), trainable=True, name="BERT_encoder")(tokens)
    dropped = tf_keras.layers.Dropout(0.1)(outputs["pooled_output"])
    return tf_keras.Model(text, tf_keras.layers.Dense(1, name="classifier")(dropped))


def compile_model(model: tf_keras.Model, workload: turns.Workload, examples: int) -> None:
    """Compiles a model with the tutorial's loss, metric and optimizer; `examples` is the number of rows in an epoch."""
    steps = workload.epochs * -(-examples // workload.batch_size)
    optimizer = optimization.create_optimizer(
        init_lr=workload.learning_rate, num_train_steps=steps, num_warmup_steps=steps // 10, optimizer_type="adamw"
    )
    loss = tf_keras.losses.BinaryCrossentropy(from_logits=True)
    # The tutorial leaves the metric's threshold at 0.5, which on a logit is the wrong boundary.
    model.compile(optimizer=optimizer, loss=loss, metrics=tf_keras.metrics.BinaryAccuracy(threshold=0.0))


def make_batches(rows: data.Rows, batch_size: int) -> tf.data.Dataset:
    """Makes batches of (texts, labels), cached; the last one may be smaller."""
    return tf.data.Dataset.from_tensor_slices((rows.texts, rows.labels)).batch(batch_size).cache()


def train_by_turns(workload: turns.Workload) -> None:
    """Trains for the seconds of each turn, on full batches, so that every step has the same number of examples."""
    rows = data.whole_batches(data.read_rows(workload.train, workload.rows), workload.batch_size)
    _fit(workload, rows, SecondsTurns(workload.batch_size), epochs=_ENDLESS)


def train_by_epochs(workload: turns.Workload) -> None:
    """Trains for one epoch per turn, and answers with its seconds and the dev accuracy."""
    train, dev = data.train_and_dev(workload.train, workload.rows, workload.dev, workload.dev_rows)
    dev_batches = make_batches(dev, workload.batch_size).prefetch(tf.data.AUTOTUNE)
    _fit(workload, train, EpochTurns(len(train.texts)), epochs=workload.epochs, validation_data=dev_batches)


def _fit(workload: turns.Workload, rows: data.Rows, callback: tf_keras.callbacks.Callback, **options: Any) -> None:
    tf_keras.utils.set_random_seed(workload.seed)
    model = build_model(workload.encoder)
    compile_model(model, workload, len(rows.texts))
    dataset = make_batches(rows, workload.batch_size).shuffle(_SHUFFLE_BUFFER).prefetch(tf.data.AUTOTUNE)
    model.fit(dataset, callbacks=[callback], verbose=0, **options)


if __name__ == "__main__":
    workload = turns.Workload.from_argument()
    {"turns": train_by_turns, "epochs": train_by_epochs}[workload.work](workload)
