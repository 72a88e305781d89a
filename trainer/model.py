"""The classifier: a TF Hub text encoder, dropout and a dense layer, and its optimizer."""

import logging
from typing import Any, Collection, Mapping, Optional, Protocol

import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  Registers the ops that preprocess models are made of.
import tf_keras
from official.nlp import optimization

from artifacts import saved_encoder
from core.config import Pooling
from schema.task import Task
from trainer import bert, native
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS


class Encoder(Protocol):
    """Computes a vector for each row, float32[batch, hidden], from int32[batch, seq] inputs by name.

    `seed` is as in `bert.Dropout`: None for no dropout.
    """

    name: str
    weights: list[tf.Variable]

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the rows' vectors; `dtype` is the data type of the matrix products."""


class SavedEncoder(tf.Module):
    """An encoder used as a SavedModel: in float32, with a dropout that does not depend on the seed."""

    def __init__(self, folder: str, pooling: Pooling, unused: Collection[int]):
        """Loads the SavedModel.

        Args:
          folder: its folder.
          pooling: how a row's vector is computed.
          unused: indices of the trainable variables on which the vector does not depend.
        """
        super().__init__("encoder")
        self._layer = hub.KerasLayer(folder, trainable=True)
        self._pooling = pooling
        self._unused = frozenset(unused)

    @property
    def weights(self) -> list[tf.Variable]:
        return [weight for i, weight in enumerate(self._layer.trainable_weights) if i not in self._unused]

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        outputs = self._layer(dict(inputs), training=seed is not None)
        return native.pooled(outputs, inputs[MASK], self._pooling)


def _unused_variables(loaded: Any, pooling: Pooling) -> dict[int, str]:
    """Returns index -> name of the trainable variables without a gradient, such as those of an unused pooler."""
    # A name is not unique, and Keras counts a variable once.
    variables = list({id(each): each for each in getattr(loaded, "trainable_variables", ())}.values())
    ones = tf.ones([1, 2], tf.int32)
    # Some encoders have only segment 0.
    inputs = {WORD_IDS: ones, MASK: ones, TYPE_IDS: tf.zeros_like(ones)}
    with tf.GradientTape() as tape:
        vectors = native.pooled(saved_encoder.call(loaded, inputs), inputs[MASK], pooling)
    gradients = tape.gradient(vectors, variables)
    return {i: variables[i].name for i, gradient in enumerate(gradients) if gradient is None}


def load_encoder(
    folder: str, strategy: Optional[tf.distribute.Strategy] = None, pooling: Pooling = "pooler"
) -> Encoder:
    """Loads an encoder of TF Hub's common text API.

    A BERT is rebuilt (`native.rebuild_bert`); any other encoder is used as a SavedModel.

    Args:
      folder: the SavedModel's folder.
      strategy: the training's strategy, whose scope must not be active. Default: one device.
      pooling: how a row's vector is computed.
    """
    strategy = strategy or tf.distribute.get_strategy()
    # A SavedModel that is loaded in a scope can't be called outside of a step, which rebuilding does.
    loaded = tf.saved_model.load(folder)
    network = native.rebuild_bert(loaded, pooling)
    unused = _unused_variables(loaded, pooling) if network is None else {}
    with strategy.scope():
        if network is None:
            logging.warning("%s: can't be rebuilt as a BERT; trained as a SavedModel in float32", folder)
            if unused:
                names = ", ".join(unused.values())
                logging.warning("%s: not trained, since the output does not use them: %s", folder, names)
            return SavedEncoder(folder, pooling, unused)
        return network.copy() if strategy.num_replicas_in_sync > 1 else network


class Head(tf.Module):
    """Dropout and a dense layer: pooled output float32[batch, hidden] -> logits float32[batch, head_units]."""

    def __init__(self, task: Task, hidden: int, dropout: float, seed: int):
        super().__init__("head")
        # BERT's initialiser for new layers (Devlin et al. 2019, run_classifier.py).
        initial = tf.random.stateless_truncated_normal([hidden, task.head_units], [seed, 0], stddev=0.02, alg="philox")
        self.kernel = tf.Variable(initial, name="logits/kernel")
        self.bias = tf.Variable(task.initial_bias, name="logits/bias", dtype=tf.float32)
        self._dropout = dropout

    @property
    def weights(self) -> list[tf.Variable]:
        """The trainable variables."""
        return [self.kernel, self.bias]

    def __call__(self, pooled: tf.Tensor, seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Computes the logits, always in float32."""
        # Other random numbers than the encoder's, which uses the seed itself.
        dropout = bert.Dropout(None if seed is None else ~seed, self._dropout)
        return tf.matmul(dropout(pooled), self.kernel) + self.bias


class Classifier(tf.Module):
    """The head on the encoder: int32[batch, seq] inputs by name -> logits float32[batch, head_units]."""

    def __init__(self, encoder: Encoder, head: Head):
        super().__init__("classifier")
        self.encoder = encoder
        self.head = head

    @property
    def weights(self) -> list[tf.Variable]:
        """The trainable variables."""
        return [*self.encoder.weights, *self.head.weights]

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the logits; arguments as in `Encoder`."""
        return self.head(self.encoder(inputs, seed, dtype), seed)


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


def make_schedule(learning_rate: float, steps: int, warmup_fraction: float) -> WarmUpDecay:
    """Returns the learning rate's schedule; arguments as in `build_optimizer`."""
    return WarmUpDecay(learning_rate, steps, round(warmup_fraction * steps))


def build_optimizer(learning_rate: float, steps: int, warmup_fraction: float) -> tf_keras.optimizers.Optimizer:
    """Builds AdamW (Loshchilov & Hutter 2019) with linear warm-up, then linear decay to 0.

    Args:
      learning_rate: the peak, reached after `warmup_fraction * steps`.
      steps: number of steps of the training.
      warmup_fraction: 0 to 1.
    """
    # BERT's constants (Devlin et al. 2019, optimization.py).
    return optimization.AdamWeightDecay(
        learning_rate=make_schedule(learning_rate, steps, warmup_fraction),
        weight_decay_rate=0.01,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        exclude_from_weight_decay=["layer_norm", "bias"],
    )
