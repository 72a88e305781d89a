"""The classifier: a TF Hub text encoder, dropout and a dense layer, and its optimizer."""

import logging

import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  Registers the ops that preprocess models are made of.
import tf_keras
from official.nlp import optimization

from schema.task import Task
from trainer import native
from trainer.batches import MASK, TYPE_IDS, WORD_IDS


def load_encoder(folder: str, trainable: bool) -> tf_keras.layers.Layer:
    """Loads an encoder of TF Hub's common text API as a Keras layer.

    A BERT becomes a network of this process (`native.rebuild_bert`), whose dropout follows the seed; anything
    else stays the SavedModel that it is.

    Args:
      folder: the SavedModel's folder.
      trainable: whether its weights are trained along.

    Returns:
      A layer named `encoder`, from inputs by name, int32[batch, seq], to outputs by name.
    """
    network = native.rebuild_bert(tf.saved_model.load(folder))
    if network is None:
        logging.info("%s is no BERT that can be rebuilt: it is trained as the SavedModel it is", folder)
        return hub.KerasLayer(folder, trainable=trainable, name="encoder")
    inputs = _encoder_inputs()
    encoder = tf_keras.Model(inputs, network(list(inputs.values())), name="encoder")
    encoder.trainable = trainable
    return encoder


def build_head(task: Task, hidden: int, dropout: float) -> tf_keras.Model:
    """Builds dropout and dense layer: pooled output float32[batch, hidden] -> logits float32[batch, head_units]."""
    pooled = tf_keras.Input([hidden], name="pooled_output")
    dropped = tf_keras.layers.Dropout(dropout, name="dropout")(pooled)
    # BERT's own initialiser for new layers (Devlin et al. 2019, run_classifier.py).
    initializer = tf_keras.initializers.TruncatedNormal(stddev=0.02)
    logits = tf_keras.layers.Dense(task.head_units, kernel_initializer=initializer, name="logits")(dropped)
    return tf_keras.Model(pooled, logits, name="head")


def build_classifier(encoder: tf_keras.layers.Layer, head: tf_keras.Model) -> tf_keras.Model:
    """Puts the head on the encoder: int32[batch, seq] inputs by name -> logits float32[batch, head_units]."""
    inputs = _encoder_inputs()
    return tf_keras.Model(inputs, head(encoder(inputs)["pooled_output"]), name="classifier")


def build_optimizer(learning_rate: float, steps: int, warmup_fraction: float) -> tf_keras.optimizers.Optimizer:
    """Builds AdamW (Loshchilov & Hutter 2019) with linear warm-up, then linear decay to 0.

    Args:
      learning_rate: the peak, reached after `warmup_fraction * steps`.
      steps: all steps of the training.
      warmup_fraction: 0 to 1.
    """
    return optimization.create_optimizer(
        init_lr=learning_rate,
        num_train_steps=steps,
        num_warmup_steps=round(warmup_fraction * steps),
        optimizer_type="adamw",
    )


def _encoder_inputs() -> dict[str, tf.Tensor]:
    """Inputs in the order in which tf-models' networks take them."""
    return {name: tf_keras.Input([None], dtype=tf.int32, name=name) for name in (WORD_IDS, MASK, TYPE_IDS)}
