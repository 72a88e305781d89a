"""The optimizer: AdamW with warm-up and decay, which updates only the rows of a large embedding table that it met.

A batch of 32 short texts contains a few hundred different pieces, so nearly all rows of a multilingual encoder's
embedding table have no gradient. The usual AdamW still moves them, by old momentum and weight decay, and reads and
writes the whole table and its moments in every step. For tables above `LAZY_WEIGHTS`, rows that no text of the batch
contains stay as they are, with their moments, as in LazyAdam. A row that every batch contains is updated as usual.
"""

from typing import Any, Optional, Sequence, Union

import tensorflow as tf
import tf_keras
from official.nlp import optimization

# BERT's value (Devlin et al. 2019, optimization.py).
MAX_GRADIENT_NORM = 1.0

# Embedding tables with more weights than this are updated lazily.
LAZY_WEIGHTS = 10_000_000

Gradient = Union[tf.Tensor, tf.IndexedSlices]


class WarmUpDecay(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then the rest of a linear decay from the peak at step 0 to 0 at the last step.

    The values are those of tf-models' schedule, computed without a branch, because a GPU would have to send its
    condition to the host in every step.
    """

    def __init__(self, peak: float, steps: int, warmup_steps: int):
        """Sets the peak, the total number of steps, and the number of warm-up steps."""
        self._peak, self._steps, self._warmup_steps = peak, steps, warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate float32[] of a step, from 0."""
        step = tf.cast(step, tf.float32)
        warming = step / max(self._warmup_steps, 1)
        decaying = tf.maximum(1.0 - step / max(self._steps, 1), 0.0)
        return self._peak * tf.where(step < self._warmup_steps, warming, decaying)

    def get_config(self) -> dict[str, float]:
        return {"peak": self._peak, "steps": self._steps, "warmup_steps": self._warmup_steps}


class AdamW(optimization.AdamWeightDecay):
    """AdamW that updates only the rows of a sparse gradient; a dense gradient is tf-models' own case."""

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor, apply_state: Optional[Any] = None
    ) -> tf.Operation:
        """Updates some rows, in the order of computation of the dense update.

        Args:
          grad: [n, width], the gradients of the rows.
          var: the table [rows, width].
          indices: int[n], the rows, all different.
          apply_state: the optimizer's coefficients for this step.
        """
        coefficients = apply_state[(var.device, var.dtype.base_dtype)]
        slots = [self.get_slot(var, name) for name in ("m", "v")]
        rows, m, v = (tf.gather(each, indices) for each in (var, *slots))
        if self._do_use_weight_decay(var.name):
            rows -= coefficients["lr_t"] * rows * coefficients["weight_decay_rate"]
        m += (grad - m) * coefficients["one_minus_beta_1_t"]
        v += (grad * grad - v) * coefficients["one_minus_beta_2_t"]
        rows -= coefficients["lr"] * m / (tf.sqrt(v) + coefficients["epsilon"])
        pairs = zip((var, *slots), (rows, m, v), strict=True)
        return tf.group(
            *(
                tf.raw_ops.ResourceScatterUpdate(resource=each.handle, indices=indices, updates=updates)
                for each, updates in pairs
            )
        )


def make_schedule(learning_rate: float, steps: int, warmup_fraction: float) -> WarmUpDecay:
    """Returns the learning rate's schedule; arguments as in `build_optimizer`."""
    return WarmUpDecay(learning_rate, steps, round(warmup_fraction * steps))


def build_optimizer(learning_rate: float, steps: int, warmup_fraction: float) -> AdamW:
    """Builds AdamW (Loshchilov & Hutter 2019) with linear warm-up, then linear decay to 0.

    Args:
      learning_rate: the peak, reached after `warmup_fraction * steps`.
      steps: number of steps of the training.
      warmup_fraction: 0 to 1.
    """
    # BERT's constants (Devlin et al. 2019, optimization.py).
    return AdamW(
        learning_rate=make_schedule(learning_rate, steps, warmup_fraction),
        weight_decay_rate=0.01,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        exclude_from_weight_decay=["layer_norm", "bias"],
    )


def is_lazy(weight: tf.Variable) -> bool:
    """Whether a weight is large enough for a lazy update, if its gradient is that of a look-up of rows."""
    return weight.shape.num_elements() > LAZY_WEIGHTS


def clip_gradients(gradients: Sequence[Gradient], weights: Sequence[tf.Variable]) -> list[Gradient]:
    """Clips gradients by their global norm.

    Args:
      gradients: of the whole batch, summed over the replicas.
      weights: the variables that they belong to.

    Returns:
      Dense gradients, except that a lazy table's has one row for each that the batch contains.
    """
    summed = [
        _sum_rows(gradient)
        if isinstance(gradient, tf.IndexedSlices) and is_lazy(weight)
        # With a dense gradient, AdamW is one fused operation.
        else tf.convert_to_tensor(gradient)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
    return tf.clip_by_global_norm(summed, MAX_GRADIENT_NORM)[0]


def _sum_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Sums the gradients of equal rows, so that the norm is that of the dense gradient."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)
