"""Our trainer as a contender: its tokens, batches, model and compiled steps, without checkpoints."""

import itertools
import os
import time
from typing import Any, Callable, Iterator, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402

from artifacts import encoder as encoder_artifact  # noqa: E402
from benchmarks.training import data, turns  # noqa: E402
from core import gpu  # noqa: E402
from core.config import DataConfig, TrainerConfig  # noqa: E402
from trainer import batches, bert, loop, model, precision, tokens, tracing  # noqa: E402
from trainer.reduced import reduce_table  # noqa: E402

_WARM_UP_STEPS = 2

Order = Callable[[], Iterator[np.ndarray]]


class Setting:
    """A workload's model and the trainer's steps on it, as `trainer.run` sets them up on one device."""

    def __init__(self, workload: turns.Workload, examples: int):
        """Builds the model; nothing is tokenised yet.

        Args:
          workload: what to train.
          examples: number of examples in an epoch.
        """
        self._workload = workload
        self._gpus = gpu.visible_gpus("auto")
        self.steps_per_epoch = -(-examples // workload.batch_size)
        config, columns = TrainerConfig(), DataConfig(train=workload.train, **data.TASKS[workload.task])
        task = columns.make_task()
        head = model.Head(task, encoder_artifact.read(workload.encoder).hidden, config.dropout, workload.seed)
        self._task = task
        encoder = model.load_encoder(encoder_artifact.encoder_dir(workload.encoder))
        if workload.table_rows:
            encoder = _with_rows(encoder, workload.table_rows)
        self._classifier = model.Classifier(encoder, head)
        steps = self.steps_per_epoch * workload.epochs
        self._optimizer = model.build_optimizer(workload.learning_rate, steps, config.warmup_fraction)
        self._dtype = precision.choose(workload.precision, self._gpus)
        if self._dtype == tf.float16:
            self._optimizer = tf_keras.mixed_precision.LossScaleOptimizer(self._optimizer)

    def tokenise(self, rows: data.Rows) -> tokens.Tokens:
        """Tokenises rows with the encoder's own preprocess model."""
        preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(self._workload.encoder))
        return tokens.tokenise(preprocess, rows.texts, self._workload.max_length)

    def make_steps(self, *splits: tokens.Tokens) -> loop.Steps:
        """Makes the steps for these rows; nothing is traced yet."""
        whole = self._workload.whole_table
        return loop.Steps(
            tf.distribute.get_strategy(),
            self._task,
            self._classifier if whole else reduce_table(self._classifier, *splits),
            self._optimizer,
            self._workload.seed,
            self._dtype,
            xla=bool(self._gpus),
        )

    def widths(self, *lengths: np.ndarray) -> list[int]:
        """Returns the widths of batches for rows of these lengths, chosen from the first ones; none on a CPU."""
        if not self._gpus:
            return []
        first_epoch = batches.epoch_batches(lengths[0], self._workload.batch_size, self._workload.seed, 0)
        widths = batches.choose_widths(lengths[0], first_epoch, batches.MIN_REAL_SHARE)
        return [*widths[:-1], max(int(some.max()) for some in lengths)]

    @staticmethod
    def iterator(
        tokenised: tokens.Tokens, labels: np.ndarray, order: Order, widths: Sequence[int], batch_size: int
    ) -> Iterator[Any]:
        """Makes the iterator that the steps take batches from."""
        context, inputs = tf.distribute.InputContext(), batches.token_inputs(tokenised)
        rows = batch_size if widths else None
        return iter(batches.dataset(inputs, labels, tokenised.lengths, order, context, widths, rows))


def _with_rows(encoder: bert.Bert, count: int) -> bert.Bert:
    """Returns the encoder with further rows of its table of word embeddings, which are 0, up to a number of rows."""
    table = encoder.word_embeddings
    more = tf.zeros([count - table.shape[0], table.shape[1]])
    return encoder.with_word_embeddings(tf.Variable(tf.concat([table, more], 0), name=table.name.removesuffix(":0")))


def make_step(workload: turns.Workload) -> Callable[[], tf.Tensor]:
    """Sets up a training step to measure, and warms it up.

    The batches of an epoch are the trainer's, taken in `evenly_mixed` order. All are full, so every step has the same
    number of examples.

    Returns:
      A function that trains on the next batch and returns a tensor of its result.
    """
    rows = data.whole_batches(data.read_rows(workload.train, workload.rows), workload.batch_size)
    setting = Setting(workload, len(rows.texts))
    tokenised = setting.tokenise(rows)
    widths = setting.widths(tokenised.lengths)

    def epoch_batches(epoch: int) -> tuple[list[np.ndarray], list[int]]:
        made = batches.epoch_batches(tokenised.lengths, workload.batch_size, workload.seed, epoch)
        longest = [int(tokenised.lengths[batch].max()) for batch in made]
        return made, [batches.width_of(one, widths) or one for one in longest]

    made, costs = epoch_batches(0)
    # A batch of each shape that is compiled; without fixed shapes the graph is traced once.
    warm_up = [made[costs.index(cost)] for cost in sorted(set(costs))] if widths else made[:_WARM_UP_STEPS]

    def order() -> Iterator[np.ndarray]:
        yield from warm_up
        for epoch in itertools.count():
            made, costs = epoch_batches(epoch)
            yield from (made[number] for number in turns.evenly_mixed(costs))

    iterator = setting.iterator(tokenised, rows.labels, order, widths, workload.batch_size)
    steps = setting.make_steps(tokenised)
    numbers = (tf.constant(number, tf.int64) for number in itertools.count())
    for _ in warm_up:
        steps.train(iterator, next(numbers)).numpy()
    return lambda: steps.train(iterator, next(numbers))


def train_by_turns(workload: turns.Workload) -> None:
    """Trains for as long as each turn lasts."""
    turns.work(make_step(workload), lambda sums: sums.numpy(), workload.batch_size)


def train_by_epochs(workload: turns.Workload) -> None:
    """Trains for one epoch a turn; an answer holds its seconds, and the dev accuracy, whose seconds don't count.

    The first epoch's seconds have the tokenising and the tracing of the step in them.
    """
    train, dev = data.train_and_dev(workload.train, workload.rows, workload.dev, workload.dev_rows)
    setting = Setting(workload, len(train.texts))
    referee, numbers, training = turns.Referee(), itertools.count(), None
    referee.answer(ready=True)
    while referee.wait() is not None:
        started = time.monotonic()
        if training is None:
            steps, training, evaluation, evaluations = _prepare(setting, workload, train, dev)
        for number in itertools.islice(numbers, setting.steps_per_epoch):
            sums = steps.train(training, tf.constant(number, tf.int64))
        sums.numpy()
        seconds = time.monotonic() - started
        sums = np.sum([steps.evaluate(evaluation).numpy() for _ in range(evaluations)], axis=0)
        _, scores, count = sums.tolist()
        referee.answer(examples=len(train.texts), seconds=seconds, accuracy=scores / count)


def _prepare(
    setting: Setting, workload: turns.Workload, train: data.Rows, dev: data.Rows
) -> tuple[loop.Steps, Iterator[Any], Iterator[Any], int]:
    """Tokenises; returns the steps, endless batches of train and dev, and the number of batches of all dev rows."""
    train_tokens, dev_tokens = setting.tokenise(train), setting.tokenise(dev)
    widths = setting.widths(train_tokens.lengths, dev_tokens.lengths)
    dev_batches = batches.sorted_batches(dev_tokens.lengths, loop.EVALUATION_BATCH)

    def order() -> Iterator[np.ndarray]:
        return batches.endless_batches(
            train_tokens.lengths, workload.batch_size, workload.seed, 0, setting.steps_per_epoch
        )

    return (
        setting.make_steps(train_tokens, dev_tokens),
        setting.iterator(train_tokens, train.labels, order, widths, workload.batch_size),
        setting.iterator(dev_tokens, dev.labels, lambda: itertools.cycle(dev_batches), widths, loop.EVALUATION_BATCH),
        len(dev_batches),
    )


if __name__ == "__main__":
    workload = turns.Workload.from_argument()
    with tracing.libraries_as_written():
        {"turns": train_by_turns, "epochs": train_by_epochs}[workload.work](workload)
