"""The training loop: steps, epochs, the best epoch's weights, checkpoints.

The rows of a step's batch, its dropout and its learning rate are functions of the step's number and the seed. So a
training that continues from a checkpoint computes the same as one that was never interrupted.
"""

import dataclasses
import itertools
import time
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from core import progress
from core.config import TrainerConfig
from schema.task import Task
from trainer import batches, distillation, distribution, model
from trainer.checkpoints import Checkpoints
from trainer.distillation import Distillation

# Rows per batch without gradients: more is not faster on two cores and costs memory.
EVALUATION_BATCH = 128

# BERT's value (Devlin et al. 2019, optimization.py).
MAX_GRADIENT_NORM = 1.0

_REPORT_INTERVAL_S = 1.0

# Points of the curve per epoch. A point is the mean over its steps, so that batch noise does not hide the trend.
_CURVE_POINTS = 50


@dataclasses.dataclass(frozen=True)
class Data:
    """Rows for training or evaluation.

    Attributes:
      inputs: from `batches.token_inputs` or `batches.feature_inputs`.
      targets: int64[n], class of each row, or float32[n], its score; in a distillation `distillation.Targets`.
      lengths: int64[n], number of tokens of each row.
    """

    inputs: tuple[batches.InputsOf, Any]
    targets: Any
    lengths: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a training.

    Attributes:
      history: one mapping per epoch: `epoch`, `loss`, `accuracy`, `dev_loss`, `dev_accuracy`.
      curve: one mapping per point of the training curve, about 50 per epoch: `step` (number of steps done), `loss`,
        `accuracy`, both means over the steps since the previous point.
      best_epoch: the epoch (from 1) with the best weights on dev.
      best_step: the step after which these weights were saved.
      seconds: time spent on training steps, in all attempts.
      examples_per_s: training examples per second, without the steps that trace the graph.
    """

    history: Sequence[dict[str, float]]
    curve: Sequence[dict[str, float]]
    best_epoch: int
    best_step: int
    seconds: float
    examples_per_s: float


@dataclasses.dataclass
class _State:
    """What a checkpoint contains besides variables.

    Attributes:
      step: number of steps done.
      totals: sums over the rows of the current epoch: loss, score, rows.
      history: as in `Result`.
      curve: as in `Result`.
      point: sums over the rows since the last point of the curve: loss, score, rows.
      best_step: as in `Result`; None before the end of the first epoch.
      seconds: as in `Result`.
      timed_rows: number of rows trained in `timed_seconds`.
      timed_seconds: time spent on the steps that did not trace the graph.
    """

    step: int = 0
    totals: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    curve: list[dict[str, float]] = dataclasses.field(default_factory=list)
    point: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_step: Optional[int] = None
    seconds: float = 0.0
    timed_rows: float = 0.0
    timed_seconds: float = 0.0

    @property
    def examples_per_s(self) -> float:
        """Training examples per second."""
        return self.timed_rows / self.timed_seconds if self.timed_seconds else 0.0


def replica_seed(seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the seed int64[2] of this replica's random numbers in a step."""
    replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
    # 2 ** 20 exceeds any number of replicas, so that no two runs share random numbers.
    return tf.stack([seed * 2**20 + replica, step])


def update_weights(
    optimizer: tf_keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], weights: Sequence[tf.Variable]
) -> None:
    """Adds up the gradients of all replicas, clips them and updates the weights.

    Args:
      optimizer: from `model.build_optimizer`, or its loss-scaling wrapper.
      gradients: this replica's gradient for each weight.
      weights: the weights.
    """
    gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    # The embedding table's gradient is sparse. AdamW updates all rows anyway, with one fused operation for a dense
    # gradient but several over the whole table for a sparse one.
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    # Clips the whole batch's gradient, whereas tf-models' optimizer would clip that of each replica.
    gradients, _ = tf.clip_by_global_norm(gradients, MAX_GRADIENT_NORM)
    optimizer.apply_gradients(zip(gradients, weights, strict=True), experimental_aggregate_gradients=False)


class Steps:
    """A model's compiled steps: one for training, one for evaluation."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        task: Task,
        trained_model: "model.Classifier | model.Head",
        optimizer: tf_keras.optimizers.Optimizer,
        seed: int,
        dtype: tf.DType,
        xla: bool,
        class_weights: Optional[np.ndarray] = None,
        distillation: Optional[Distillation] = None,
    ):
        """Prepares the steps; nothing is traced yet.

        Args:
          strategy: the strategy in whose scope the model and the optimizer were created.
          task: the task, which defines loss and metric.
          trained_model: the model to train.
          optimizer: from `model.build_optimizer`, or its loss-scaling wrapper.
          seed: seed of the dropout.
          dtype: data type of the matrix products in training; evaluation is in float32, like serving.
          xla: whether XLA compiles the forward and backward passes.
          class_weights: float32[classes], weight of a row of each class in loss and metric, on average 1; None for 1.
          distillation: how to learn from teachers, if the training rows have `distillation.Targets`.
        """
        self._strategy = strategy
        self._task = task
        self._model = trained_model
        self._optimizer = optimizer
        self._seed = seed
        self._dtype = dtype
        self._class_weights = class_weights
        self._distillation = distillation
        # The iterators' signatures leave rows and widths open, so there is one trace for all batches. XLA compiles once
        # per shape.
        self._gradients = tf.function(self._gradients_of, jit_compile=xla, autograph=False)
        self._sums = tf.function(self._sums_of, jit_compile=xla, autograph=False)
        self.train = tf.function(self._train, autograph=False)
        self.evaluate = tf.function(self._evaluate, autograph=False)

    def _train(self, iterator: Iterator[Any], step: tf.Tensor) -> tf.Tensor:
        """Trains on the next global batch; returns its sums as `_sums_of` does."""
        sums = self._strategy.run(self._replica_step, args=(next(iterator), step))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _evaluate(self, iterator: Iterator[Any]) -> tf.Tensor:
        """Returns the next global batch's sums as `_sums_of` does."""
        sums = self._strategy.run(lambda batch: self._sums(*batch[:3]), args=(next(iterator),))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _replica_step(self, batch: Any, step: tf.Tensor) -> tf.Tensor:
        gradients, sums = self._gradients(*batch, replica_seed(self._seed, step))
        update_weights(self._optimizer, gradients, self._model.weights)
        return sums

    def _gradients_of(
        self, inputs: Any, targets: Any, weights: tf.Tensor, rows: tf.Tensor, seed: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        labels = targets.labels if self._distillation else targets
        factors = self._factors(labels, weights)
        with tf.GradientTape() as tape:
            logits = self._model(inputs, seed, self._dtype)
            losses = self._losses(targets, logits) * factors
            # Summed over the replicas, this is the mean over the global batch.
            loss = tf.reduce_sum(losses) / rows
            if isinstance(self._optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
                loss = self._optimizer.get_scaled_loss(loss)
        scores = self._task.example_scores(labels, logits) * factors
        return tape.gradient(loss, self._model.weights), self._totals(losses, scores, factors)

    def _losses(self, targets: Any, logits: tf.Tensor) -> tf.Tensor:
        if self._distillation:
            return distillation.losses(self._task, self._distillation, targets, logits)
        return self._task.example_losses(targets, logits)

    def _sums_of(self, inputs: Any, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns the sums over weighted rows, float32[3]: loss, score, rows."""
        logits = self._model(inputs)
        losses, scores = self._task.example_losses(labels, logits), self._task.example_scores(labels, logits)
        factors = self._factors(labels, weights)
        return self._totals(losses * factors, scores * factors, factors)

    def _factors(self, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns the weights of the rows float32[batch], times those of their classes."""
        return weights if self._class_weights is None else weights * tf.gather(self._class_weights, labels)

    @staticmethod
    def _totals(losses: tf.Tensor, scores: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(scores), tf.reduce_sum(weights)])


class Loop:
    """Trains a model for all epochs, starting from a checkpoint if there is one."""

    def __init__(
        self,
        config: TrainerConfig,
        task: Task,
        steps: Steps,
        strategy: tf.distribute.Strategy,
        checkpoints: Checkpoints,
        train: Data,
        dev: Data,
        widths: Sequence[int] = (),
    ):
        """Prepares the loop.

        Args:
          config: epochs, batch size, seed and the time between checkpoints.
          task: the task, which names the metric.
          steps: the model's steps.
          strategy: the strategy of the steps.
          checkpoints: the training's checkpoints.
          train: rows to train on.
          dev: rows for choosing the best epoch.
          widths: ascending widths to which batches are padded; if empty, each is padded to its longest row.
        """
        self._config = config
        self._metric = task.training_metric
        self._steps = steps
        self._strategy = strategy
        self._checkpoints = checkpoints
        self._train, self._dev = train, dev
        self._widths = widths
        self._steps_per_epoch = -(-len(train.lengths) // config.batch_size)
        self._total_steps = config.epochs * self._steps_per_epoch
        self._state = _State()
        # Sums that the device may still be computing; reading them waits for it.
        self._pending: list[tf.Tensor] = []
        self._mark = self._saved = 0.0
        self._traced = False
        self._first_step = 0

    def run(self) -> Result:
        """Trains to the end of the last epoch.

        Raises:
          RuntimeError: the workers found different checkpoints, so they do not share one folder.
        """
        restored = self._checkpoints.restore()
        if restored is not None:
            self._state = _State(**restored)
        state = self._state
        self._first_step = state.step
        if not distribution.all_equal(self._strategy, state.step):
            raise RuntimeError("the workers found different checkpoints; all should share one folder")
        if restored is not None:
            self._report_resumption()
        dev_batches = batches.sorted_batches(self._dev.lengths, EVALUATION_BATCH)
        dev = self._iterator(self._dev, EVALUATION_BATCH, lambda: itertools.cycle(dev_batches))
        train = self._iterator(self._train, self._config.batch_size, self._train_batches)
        while len(state.history) < self._config.epochs:
            self._train_epoch(train)
            self._end_epoch([self._steps.evaluate(dev) for _ in dev_batches])
        assert state.best_step is not None  # There is at least one epoch.
        best_epoch = state.best_step // self._steps_per_epoch
        return Result(state.history, state.curve, best_epoch, state.best_step, state.seconds, state.examples_per_s)

    def _train_batches(self) -> Iterator[np.ndarray]:
        config, first_step = self._config, self._first_step
        return batches.endless_batches(
            self._train.lengths, config.batch_size, config.seed, first_step, self._steps_per_epoch
        )

    def _iterator(self, data: Data, batch_size: int, global_batches: Callable[[], Iterator[np.ndarray]]) -> Any:
        replica_rows = -(-batch_size // self._strategy.num_replicas_in_sync) if self._widths else None

        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return batches.dataset(
                data.inputs, data.targets, data.lengths, global_batches, context, self._widths, replica_rows
            )

        return iter(self._strategy.distribute_datasets_from_function(worker_dataset))

    def _train_epoch(self, iterator: Any) -> None:
        """Trains to the end of the current epoch."""
        state = self._state
        end = (len(state.history) + 1) * self._steps_per_epoch
        self._mark = self._saved = time.monotonic()
        while state.step < end:
            self._pending.append(self._steps.train(iterator, tf.constant(state.step, tf.int64)))
            state.step += 1
            now = time.monotonic()
            if not self._traced or state.step == end or now - self._mark >= _REPORT_INTERVAL_S:
                self._report_step(self._collect())
            if state.step < end and now - self._saved >= self._config.checkpoint_seconds:
                self._collect()
                self._save()

    def _collect(self) -> float:
        """Waits for the device and adds its sums to the totals; returns the rows per second since the last call."""
        state = self._state
        self._extend_curve([each.numpy().tolist() for each in self._pending])
        sums = _add_up(self._pending)
        self._pending.clear()
        state.totals = [before + new for before, new in zip(state.totals, sums, strict=True)]
        seconds, self._mark = time.monotonic() - self._mark, time.monotonic()
        state.seconds += seconds
        if self._traced:
            state.timed_rows += sums[2]
            state.timed_seconds += seconds
        self._traced = True
        return sums[2] / seconds

    def _extend_curve(self, sums: Sequence[list[float]]) -> None:
        """Adds the sums of the last steps to the curve. Its points are at fixed steps, whenever sums are collected."""
        state = self._state
        interval = -(-self._steps_per_epoch // _CURVE_POINTS)
        for step, step_sums in enumerate(sums, state.step - len(sums) + 1):
            state.point = [before + new for before, new in zip(state.point, step_sums, strict=True)]
            if (step - 1) % self._steps_per_epoch % interval == interval - 1 or step % self._steps_per_epoch == 0:
                loss, score, rows = state.point
                state.curve.append({"step": step, "loss": loss / rows, self._metric: score / rows})
                state.point = [0.0, 0.0, 0.0]

    def _end_epoch(self, dev_sums: Sequence[tf.Tensor]) -> None:
        """Adds the epoch to the history, saves its weights if they are the best, and writes a checkpoint."""
        state, metric = self._state, self._metric
        totals = {"": state.totals, "dev_": _add_up(dev_sums)}
        row: dict[str, float] = {"epoch": len(state.history) + 1}
        for prefix, (loss, score, rows) in totals.items():
            row |= {f"{prefix}loss": loss / rows, f"{prefix}{metric}": score / rows}
        # Of equal epochs, the one that is surer of the right answers.
        quality, *before = ((each[f"dev_{metric}"], -each["dev_loss"]) for each in (row, *state.history))
        if state.best_step is None or quality > max(before):
            state.best_step = state.step
            self._checkpoints.save_best(state.step)
        state.history.append(row)
        state.totals = [0.0, 0.0, 0.0]
        self._save()
        figures = {name: value for name, value in row.items() if name != "epoch"}
        self._report_progress(len(state.history), {**figures, "examples_per_s": state.examples_per_s}, keep=True)

    def _save(self) -> None:
        self._checkpoints.save(self._state.step, dataclasses.asdict(self._state))
        # The time for writing does not count as training.
        self._mark = self._saved = time.monotonic()

    def _report_step(self, examples_per_s: float) -> None:
        loss, score, rows = self._state.totals
        figures = {"loss": loss / rows, self._metric: score / rows, "examples_per_s": examples_per_s}
        self._report_progress(len(self._state.history) + 1, figures)

    def _report_progress(self, epoch: int, figures: Mapping[str, float], keep: bool = False) -> None:
        progress.report(
            f"epoch {epoch}/{self._config.epochs}", self._state.step, self._total_steps, keep=keep, **figures
        )

    def _report_resumption(self) -> None:
        epochs, step, total = self._config.epochs, self._state.step, self._total_steps
        epoch = min(len(self._state.history) + 1, epochs)
        progress.report(f"resumed after step {step} of {total}, in epoch {epoch}/{epochs}", step, total, keep=True)


def _add_up(sums: Sequence[tf.Tensor]) -> list[float]:
    """Adds up sums of `Steps` in float64; the result is zeros if there are none."""
    return np.sum([np.zeros(3), *(each.numpy() for each in sums)], axis=0).tolist()
