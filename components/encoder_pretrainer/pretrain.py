"""Trains an encoder on reviews: vocabulary, masked language model, export."""

import itertools
import os
import tempfile
import time
from typing import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from official.modeling import tf_utils
from official.nlp import optimization
from official.nlp.configs import encoders
from official.nlp.modeling import models
from official.nlp.tools import export_tfhub_lib

from artifacts import encoder as encoder_artifact
from components.encoder_pretrainer import masking, vocabulary
from core import progress
from core.config import PretrainConfig
from core.errors import UserError
from trainer import batches, tracing
from trainer.tokens import WORD_IDS, Tokens, tokenise

_STAGE = "pre-training"
_REPORT_INTERVAL_S = 1.0
_POSITIONS = "masked_lm_positions"

# BERT's own ratios (Devlin et al. 2019).
_FEED_FORWARD_RATIO = 4
_WARMUP_SHARE = 0.1
# More than `max_length`, so that the Trainer can use longer reviews than the pre-training.
_MAX_POSITIONS = 512

TrainStep = Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], tf.Tensor]


def make_encoder(texts: Sequence[bytes], config: PretrainConfig, folder: str) -> np.ndarray:
    """Trains a vocabulary and an encoder, and writes both SavedModels.

    The same texts, in any order, and the same configuration result in the same weights on the same CPU.

    Args:
      texts: UTF-8 reviews.
      config: sizes and training.
      folder: an existing folder for `preprocess/` and `encoder/`.

    Returns:
      float32[steps], the loss of each step.

    Raises:
      UserError: there are no texts.
    """
    if not texts:
        raise UserError("data.train: the training split has no texts to train an encoder on")
    texts = sorted(texts)
    with tracing.libraries_as_written(), tempfile.TemporaryDirectory() as scratch:
        progress.report("learning a vocabulary", 0, 0)
        file = os.path.join(scratch, "vocab.txt")
        pieces = vocabulary.learn(texts, config.vocabulary, config.lower_case)
        vocabulary.write(file, pieces)
        _export_preprocess(file, config, encoder_artifact.preprocess_dir(folder))
        pretrainer = build(config, len(pieces))
        preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(folder))
        losses = train(pretrainer, tokenise(preprocess, texts, config.max_length), config)
        _export_encoder(pretrainer.encoder_network, file, config, encoder_artifact.encoder_dir(folder))
    return losses


def build(config: PretrainConfig, pieces: int) -> models.BertPretrainerV2:
    """Builds a BERT with a masked-language-model head; the seed determines its weights.

    Args:
      config: sizes.
      pieces: number of pieces in the vocabulary.
    """
    tf_keras.utils.set_random_seed(config.seed)
    encoder_config = _encoder_config(config, pieces)
    network = encoders.build_encoder(encoder_config)
    # A masked language model does not train the pooler. Make it the identity, as in TF Hub's ELECTRAs and BERT experts,
    # instead of a random projection of the first token.
    network.pooler_layer.kernel.assign(tf.eye(config.hidden))
    activation = tf_utils.get_activation(encoder_config.get().hidden_activation)
    return models.BertPretrainerV2(network, mlm_activation=activation)


def train(pretrainer: models.BertPretrainerV2, tokens: Tokens, config: PretrainConfig) -> np.ndarray:
    """Trains a model to predict masked tokens.

    Args:
      pretrainer: the model, trained in place.
      tokens: the texts' tokens.
      config: `steps`, `batch_size`, `learning_rate` and `seed`.

    Returns:
      float32[steps], the loss of each step: mean cross-entropy of the masked tokens, in nats.
    """
    pieces = pretrainer.masked_lm.embedding_table.shape[0]
    generator = np.random.default_rng(config.seed)
    step = _train_step(pretrainer, config)
    losses, reported_at = [], time.monotonic()
    for rows in itertools.islice(_row_batches(tokens.lengths, config), config.steps):
        inputs = tokens.padded(rows)
        masked = masking.mask_tokens(inputs[WORD_IDS], pieces, generator)
        inputs |= {WORD_IDS: masked.word_ids, _POSITIONS: masked.positions}
        losses.append(step(inputs, masked.labels, masked.weights))
        if time.monotonic() - reported_at >= _REPORT_INTERVAL_S:
            progress.report(_STAGE, len(losses), config.steps, loss=float(losses[-1]))
            reported_at = time.monotonic()
    if losses:
        progress.report(_STAGE, len(losses), config.steps, loss=float(losses[-1]))
    return np.array([loss.numpy() for loss in losses], np.float32)


def _row_batches(lengths: np.ndarray, config: PretrainConfig) -> Iterator[np.ndarray]:
    """Yields the row numbers of batches, epoch after epoch; texts without a piece to mask are skipped."""
    usable = np.flatnonzero(lengths > len((vocabulary.START, vocabulary.END)))
    if not usable.size:
        return
    for epoch in itertools.count():
        for rows in batches.epoch_batches(lengths[usable], config.batch_size, config.seed, epoch):
            yield usable[rows]


def _train_step(pretrainer: models.BertPretrainerV2, config: PretrainConfig) -> TrainStep:
    optimizer = optimization.create_optimizer(
        init_lr=config.learning_rate,
        num_train_steps=config.steps,
        num_warmup_steps=round(_WARMUP_SHARE * config.steps),
        optimizer_type="adamw",
    )
    pooler = {weight.ref() for weight in pretrainer.encoder_network.pooler_layer.trainable_weights}
    weights = [weight for weight in pretrainer.trainable_weights if weight.ref() not in pooler]
    ids = tf.TensorSpec([None, None], tf.int32)
    names = (*encoder_artifact.INPUT_NAMES, _POSITIONS)
    signature = [{name: ids for name in names}, ids, tf.TensorSpec([None, None], tf.float32)]

    # The signature makes one trace serve batches of all lengths.
    @tf.function(input_signature=signature, autograph=False)
    def step(inputs: dict[str, tf.Tensor], labels: tf.Tensor, label_weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = pretrainer(inputs, training=True)["mlm_logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            # A batch with only unknown words has no labels.
            loss = tf.math.divide_no_nan(tf.reduce_sum(losses * label_weights), tf.reduce_sum(label_weights))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return step


def _encoder_config(config: PretrainConfig, pieces: int) -> encoders.EncoderConfig:
    bert = encoders.BertEncoderConfig(
        vocab_size=pieces,
        hidden_size=config.hidden,
        num_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=_FEED_FORWARD_RATIO * config.hidden,
        max_position_embeddings=_MAX_POSITIONS,
    )
    return encoders.EncoderConfig(type="bert", bert=bert)


def _export_preprocess(vocabulary_file: str, config: PretrainConfig, folder: str) -> None:
    progress.report("exporting the tokenizer", 0, 0)
    export_tfhub_lib.export_preprocessing(
        folder,
        vocab_file=vocabulary_file,
        do_lower_case=config.lower_case,
        tokenize_with_offsets=False,
        default_seq_length=config.max_length,
        # Like TF Hub's own preprocess models. Without the assertions of ragged tensors the model is half the size, and
        # exporting and loading take half the time.
        experimental_disable_assert=True,
    )


def _export_encoder(network: tf_keras.Model, vocabulary_file: str, config: PretrainConfig, folder: str) -> None:
    progress.report("exporting the encoder", 0, 0)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = tf.train.Checkpoint(model=network, encoder=network).save(os.path.join(scratch, "encoder"))
        export_tfhub_lib.export_model(
            folder,
            encoder_config=_encoder_config(config, network.get_embedding_table().shape[0]),
            model_checkpoint_path=checkpoint,
            with_mlm=False,
            vocab_file=vocabulary_file,
            do_lower_case=config.lower_case,
        )
