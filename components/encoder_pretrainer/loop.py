"""The training loop of pre-training: steps, measurements on held-out texts, checkpoints.

As in the Trainer's, the rows of a step's batch, its random numbers and its learning rate are functions of the step's
number and the seed, so a pre-training that continues from a checkpoint computes the same as one that was never
interrupted.
"""

import dataclasses
import itertools
import math
import time
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from components.encoder_pretrainer import objective
from core import progress
from core.config import PretrainConfig
from core.errors import UserError
from trainer import batches, distribution
from trainer.checkpoints import Checkpoints
from trainer.loop import EVALUATION_BATCH, replica_seed, update_weights
from trainer.tokens import Tokens

_STAGE = "pre-training"
_REPORT_INTERVAL_S = 1.0

# Of the figures, those in the progress.
_SHOWN = ("loss", "accuracy", "score_correlation")

# Points of the training curve, each a mean over its steps, and measurements on held-out texts.
CURVE_POINTS = 200
HISTORY_POINTS = 20


@dataclasses.dataclass(frozen=True)
class Data:
    """Tokenised texts.

    Attributes:
      tokens: tokens of n texts.
      scores: float32[n], 0 to 1, nan for none.
    """

    tokens: Tokens
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a pre-training; the attributes are those of `artifacts.pretraining.PretrainingFigures`."""

    curve: Sequence[dict[str, float]]
    history: Sequence[dict[str, float]]
    seconds: float
    examples_per_s: float


@dataclasses.dataclass
class _State:
    """What a checkpoint contains besides variables.

    Attributes:
      step: number of steps done.
      curve: as in `Result`.
      history: as in `Result`.
      point: sums over the steps since the last point of the curve, [names, 2] flattened.
      seconds: as in `Result`.
      timed_rows: number of rows trained in `timed_seconds`.
      timed_seconds: time spent on the steps that did not trace the graph.
      best_step: None; the last step's weights are the result.
    """

    step: int = 0
    curve: list[dict[str, float]] = dataclasses.field(default_factory=list)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    point: list[list[float]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    timed_rows: float = 0.0
    timed_seconds: float = 0.0
    best_step: None = None


class Steps:
    """The compiled steps of an objective: one for training, one for measuring."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        target: objective.Objective,
        weights: Sequence[tf.Variable],
        optimizer: tf_keras.optimizers.Optimizer,
        seed: int,
        dtype: tf.DType,
        xla: bool,
    ):
        """Prepares the steps; nothing is traced yet.

        Args:
          strategy: the strategy in whose scope the network and the optimizer were created.
          target: the objective.
          weights: the weights to train.
          optimizer: from `model.build_optimizer`, or its loss-scaling wrapper.
          seed: seed of all random numbers.
          dtype: data type of the matrix products.
          xla: whether XLA compiles the forward and backward passes.
        """
        self._strategy, self._target, self._weights = strategy, target, weights
        self._optimizer, self._seed, self._dtype = optimizer, seed, dtype
        self.names = target.names
        self._gradients = tf.function(self._gradients_of, jit_compile=xla, autograph=False)
        self._measure = tf.function(self._measures_of, jit_compile=xla, autograph=False)
        self.train = tf.function(self._train, autograph=False)
        self.evaluate = tf.function(self._evaluate, autograph=False)

    def _train(self, iterator: Iterator[Any], step: tf.Tensor) -> tf.Tensor:
        """Trains on the next global batch; returns its measurements as (sum, count), float32[names, 2]."""
        sums = self._strategy.run(self._replica_step, args=(next(iterator), step))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _evaluate(self, iterator: Iterator[Any], batch: tf.Tensor) -> tf.Tensor:
        """Returns the measurements of the next global batch, whose number is the seed of what is hidden."""

        def measure(inputs: Any, scores: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return self._measure(inputs, scores, replica_seed(self._seed, batch))

        sums = self._strategy.run(measure, args=next(iterator))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _replica_step(self, batch: Any, step: tf.Tensor) -> tf.Tensor:
        gradients, sums = self._gradients(*batch, replica_seed(self._seed, step))
        update_weights(self._optimizer, gradients, self._weights)
        return sums

    def _gradients_of(
        self, inputs: Any, scores: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor, seed: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            loss, sums = self._target(inputs, scores, seed, self._dtype)
            # Summed over the replicas, this is the mean of their losses.
            loss *= tf.reduce_sum(weights) / rows
            if isinstance(self._optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
                loss = self._optimizer.get_scaled_loss(loss)
        return tape.gradient(loss, self._weights), sums

    def _measures_of(self, inputs: Any, scores: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self._target(inputs, scores, seed, self._dtype, training=False)[1]


class Loop:
    """Trains for all steps, starting from a checkpoint if there is one."""

    def __init__(
        self,
        config: PretrainConfig,
        steps: Steps,
        strategy: tf.distribute.Strategy,
        checkpoints: Checkpoints,
        train: Data,
        held_out: Data,
        widths: Sequence[int] = (),
    ):
        """Prepares the loop.

        Args:
          config: steps, batch size, seed and the time between checkpoints.
          steps: the compiled steps.
          strategy: the strategy of the steps.
          checkpoints: the pre-training's checkpoints.
          train: texts to train on.
          held_out: texts for measuring; may be empty.
          widths: ascending widths to which batches are padded; if empty, each is padded to its longest row.
        """
        self._config, self._steps, self._strategy, self._checkpoints = config, steps, strategy, checkpoints
        self._train, self._held_out, self._widths = train, held_out, widths
        self._steps_per_epoch = -(-len(train.scores) // config.batch_size)
        self._curve_interval, self._history_interval = (
            max(1, -(-config.steps // points)) for points in (CURVE_POINTS, HISTORY_POINTS)
        )
        self._state = _State()
        # Sums that the device may still be computing; reading them waits for it.
        self._pending: list[tf.Tensor] = []
        self._mark = self._saved = 0.0
        self._traced = False

    def run(self) -> Result:
        """Trains to the last step.

        Raises:
          UserError: the loss is not a number.
          RuntimeError: the workers found different checkpoints, so they do not share one folder.
        """
        restored, total = self._checkpoints.restore(), self._config.steps
        if restored is not None:
            self._state = _State(**restored)
        state = self._state
        if not distribution.all_equal(self._strategy, state.step):
            raise RuntimeError("the workers found different checkpoints; all should share one folder")
        if restored is not None:
            progress.report(f"resumed {_STAGE} after step {state.step} of {total}", state.step, total, keep=True)
        if not len(self._train.scores):
            return Result([], [], 0.0, 0.0)
        iterator = self._iterator(self._train, self._config.batch_size, self._train_batches)
        measure = self._make_measure()
        self._mark = self._saved = time.monotonic()
        while state.step < total:
            self._pending.append(self._steps.train(iterator, tf.constant(state.step, tf.int64)))
            state.step += 1
            self._attend(measure)
        return Result(state.curve, state.history, state.seconds, self._examples_per_s)

    @property
    def _examples_per_s(self) -> float:
        return self._state.timed_rows / self._state.timed_seconds if self._state.timed_seconds else 0.0

    def _attend(self, measure: Optional[Callable[[], dict[str, float]]]) -> None:
        """Reports, measures and saves if it is time."""
        state, now = self._state, time.monotonic()
        is_last = state.step == self._config.steps
        measures = measure is not None and (is_last or state.step % self._history_interval == 0)
        saves = not is_last and now - self._saved >= self._config.checkpoint_seconds
        if measures or saves or is_last or not self._traced or now - self._mark >= _REPORT_INTERVAL_S:
            self._collect()
        if measures and measure is not None:
            row = measure()
            state.history.append({"step": state.step, **row})
            held_out = {f"held_out_{name}": row[name] for name in _SHOWN if name in row}
            progress.report(_STAGE, state.step, self._config.steps, keep=True, **held_out)
        if saves:
            self._checkpoints.save(state.step, dataclasses.asdict(state))
            self._saved = time.monotonic()
        if measures or saves:
            # The time for measuring and writing does not count as training.
            self._mark = time.monotonic()

    def _train_batches(self) -> Iterator[np.ndarray]:
        config = self._config
        lengths = self._train.tokens.lengths
        return batches.endless_batches(lengths, config.batch_size, config.seed, self._state.step, self._steps_per_epoch)

    def _make_measure(self) -> Optional[Callable[[], dict[str, float]]]:
        """Returns a function that measures all held-out texts; None without such texts."""
        order = batches.sorted_batches(self._held_out.tokens.lengths, EVALUATION_BATCH)
        if not order:
            return None
        iterator = self._iterator(self._held_out, EVALUATION_BATCH, lambda: itertools.cycle(order))

        def measure() -> dict[str, float]:
            numbers = (tf.constant(number, tf.int64) for number in range(len(order)))
            sums = np.sum([self._steps.evaluate(iterator, number).numpy() for number in numbers], axis=0, dtype=float)
            return self._figures(sums)

        return measure

    def _iterator(self, data: Data, batch_size: int, global_batches: Callable[[], Iterator[np.ndarray]]) -> Any:
        replica_rows = -(-batch_size // self._strategy.num_replicas_in_sync) if self._widths else None
        inputs = batches.token_inputs(data.tokens)

        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return batches.dataset(
                inputs, data.scores, data.tokens.lengths, global_batches, context, self._widths, replica_rows
            )

        return iter(self._strategy.distribute_datasets_from_function(worker_dataset))

    def _collect(self) -> None:
        """Waits for the device, adds its sums to the curve, and reports.

        Raises:
          UserError: the loss is not a number.
        """
        state, steps, first = self._state, len(self._pending), self._state.step - len(self._pending)
        for step, sums in enumerate([each.numpy() for each in self._pending], first + 1):
            self._require_number(sums, step)
            self._extend_curve(step, sums.astype(float))
        self._pending.clear()
        seconds, self._mark = time.monotonic() - self._mark, time.monotonic()
        rows = self._rows(first, state.step)
        state.seconds += seconds
        if self._traced:
            state.timed_rows += rows
            state.timed_seconds += seconds
        self._traced = True
        point = state.curve[-1] if state.curve else {}
        latest = {name: value for name, value in point.items() if name in _SHOWN}
        if steps:
            progress.report(_STAGE, state.step, self._config.steps, keep=False, **latest, examples_per_s=rows / seconds)

    def _rows(self, first: int, end: int) -> int:
        """Returns the number of rows in the steps from `first` to before `end`."""
        rows, size = len(self._train.scores), self._config.batch_size
        whole, rest = (np.array([divmod(step, self._steps_per_epoch) for step in (first, end)])).T
        # The smaller batch may be any of an epoch's; counted as the last one.
        done = whole * rows + np.minimum(rest * size, rows)
        return int(done[1] - done[0])

    def _extend_curve(self, step: int, sums: np.ndarray) -> None:
        """Adds a step's sums to the curve, whose points are at fixed steps."""
        state = self._state
        state.point = (sums if not state.point else np.array(state.point) + sums).tolist()
        if step % self._curve_interval == 0 or step == self._config.steps:
            state.curve.append({"step": step, **self._figures(np.array(state.point))})
            state.point = []

    def _figures(self, sums: np.ndarray) -> dict[str, float]:
        means = {
            name: total / count if count else 0.0
            for name, (total, count) in zip(self._steps.names, sums.tolist(), strict=True)
        }
        return objective.figures(means)

    def _require_number(self, sums: np.ndarray, step: int) -> None:
        if not all(math.isfinite(value) for value in sums.ravel()):
            raise UserError(
                f"encoder.pretrain.learning_rate = {self._config.learning_rate}: the loss is not a number in step "
                f"{step} of the pre-training; set a lower learning rate"
            )
