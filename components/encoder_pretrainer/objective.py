"""What pre-training minimises, and what it measures on held-out texts.

`mlm`: the encoder guesses hidden pieces (Devlin et al. 2019). `electra`: a small generator guesses them, its guesses
are put in their place, and the encoder judges of every token whether it was replaced (Clark et al. 2020). A guess that
happens to be right counts as not replaced. Both can have the texts' scores as a further target.
"""

import math
from typing import Mapping, Optional

import tensorflow as tf

from components.encoder_pretrainer import masking
from components.encoder_pretrainer.network import Network
from core.config import PretrainConfig
from trainer.tokens import MASK, WORD_IDS

# The weight of the encoder's loss beside the generator's (Clark et al. 2020): it is that much smaller.
DETECTION_WEIGHT = 50.0

# Added to a replica's seed, so that no two of a step's draws share random numbers.
_GENERATOR, _CHOICE, _HIDING, _GUESS = ([k << 52, 0] for k in range(1, 5))

# Keeps the logit of a share finite.
_MIN_SHARE = 1e-6

_MOMENTS = ("score", "estimate", "score_score", "estimate_estimate", "score_estimate")

Measures = dict[str, tuple[tf.Tensor, tf.Tensor]]


class Objective:
    """The loss of a batch, and measurements of it as sums that can be added up over batches and replicas."""

    def __init__(self, network: Network, config: PretrainConfig, pieces: masking.Pieces, has_scores: bool):
        """Uses a network without copying it.

        Args:
          network: the network.
          config: the objective and its shares.
          pieces: what the ids of the vocabulary stand for.
          has_scores: whether scores are predicted.
        """
        self._network, self._config, self._has_scores = network, config, has_scores
        self._pieces = pieces
        self._encoder_weight = DETECTION_WEIGHT if config.objective == "electra" else 1.0
        by_objective = {
            "mlm": ("loss", "accuracy"),
            "electra": ("generator_loss", "generator_accuracy", "loss", "found", "left"),
        }[config.objective]
        # Names of the measurements, in their order.
        self.names = (*by_objective, *(("score_loss", *_MOMENTS) if has_scores else ()))

    def __call__(
        self,
        inputs: Mapping[str, tf.Tensor],
        scores: tf.Tensor,
        seed: tf.Tensor,
        dtype: tf.DType = tf.float32,
        training: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes a batch.

        Args:
          inputs: int32[batch, seq] by input name.
          scores: float32[batch], 0 to 1, nan for none.
          seed: int64[2], from which all random numbers come.
          dtype: data type of the matrix products.
          training: whether there is dropout, and gradients are needed.

        Returns:
          The loss float32[], and (sum, count) of each measurement, float32[names, 2].
        """
        dropout = seed if training else None
        compute = self._mlm if self._config.objective == "mlm" else self._electra
        loss, measures, outputs = compute(inputs, seed, dropout, dtype)
        if self._has_scores:
            score_loss, score_measures = self._score(outputs, scores, dtype)
            loss += self._encoder_weight * self._config.score_weight * score_loss
            measures |= score_measures
        return loss, tf.stack([tf.stack(measures[name]) for name in self.names])

    def corrupt(self, word_ids: tf.Tensor, seed: tf.Tensor) -> tuple[masking.Choice, tf.Tensor]:
        """Chooses the pieces to guess; returns them, and the batch in which they are hidden."""
        config = self._config
        shares = masking.Shares(config.mask_share, config.mask_token_share, config.random_share)
        choice = masking.choose(word_ids, self._pieces, shares.chosen, seed + _CHOICE)
        return choice, masking.hide(word_ids, choice, shares, self._pieces, seed + _HIDING)

    def _mlm(
        self, inputs: Mapping[str, tf.Tensor], seed: tf.Tensor, dropout: Optional[tf.Tensor], dtype: tf.DType
    ) -> tuple[tf.Tensor, Measures, tf.Tensor]:
        choice, hidden = self.corrupt(inputs[WORD_IDS], seed)
        outputs = self._network.encoder.sequence_output({**inputs, WORD_IDS: hidden}, dropout, dtype)
        loss, measures, _ = self._guesses(outputs, choice, inputs[WORD_IDS], dtype, dropout is not None)
        return loss, measures, outputs

    def _electra(
        self, inputs: Mapping[str, tf.Tensor], seed: tf.Tensor, dropout: Optional[tf.Tensor], dtype: tf.DType
    ) -> tuple[tf.Tensor, Measures, tf.Tensor]:
        word_ids, network = inputs[WORD_IDS], self._network
        choice, hidden = self.corrupt(word_ids, seed)
        assert network.generator is not None
        generator_dropout = None if dropout is None else dropout + _GENERATOR
        guessed = network.generator.sequence_output({**inputs, WORD_IDS: hidden}, generator_dropout, dtype)
        generator_loss, generator, logits = self._guesses(guessed, choice, word_ids, dtype, dropout is not None)
        replaced = masking.put(word_ids, choice, sample(tf.stop_gradient(logits), seed + _GUESS))
        outputs = network.encoder.sequence_output({**inputs, WORD_IDS: replaced}, dropout, dtype)
        labels = tf.reshape(tf.cast(tf.not_equal(replaced, word_ids), tf.float32), [-1])
        judged = network.detect(outputs, dtype, dropout is not None)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, judged)
        tokens = tf.reshape(tf.cast(inputs[MASK], tf.float32), [-1])
        detection = _sum_and_count(losses, tokens)
        # Few tokens are replaced. With one half as the boundary, nothing would be called replaced for a long time.
        share = tf.clip_by_value(_mean(_sum_and_count(labels, tokens)), _MIN_SHARE, 1.0 - _MIN_SHARE)
        is_called = judged > tf.math.log(share / (1.0 - share))
        measures = {
            "generator_loss": generator["loss"],
            "generator_accuracy": generator["accuracy"],
            "loss": detection,
            "found": _sum_and_count(tf.cast(is_called, tf.float32), tokens * labels),
            "left": _sum_and_count(tf.cast(~is_called, tf.float32), tokens * (1.0 - labels)),
        }
        return generator_loss + self._encoder_weight * _mean(detection), measures, outputs

    def _guesses(
        self, outputs: tf.Tensor, choice: masking.Choice, word_ids: tf.Tensor, dtype: tf.DType, explicit: bool
    ) -> tuple[tf.Tensor, Measures, tf.Tensor]:
        """Returns the loss of guessing the chosen pieces, its measurements, and the logits float32[k, vocabulary]."""
        states = tf.gather(tf.reshape(outputs, [-1, outputs.shape[-1]]), choice.positions)
        logits = self._network.guess(states, dtype, explicit)
        labels = tf.gather(tf.reshape(word_ids, [-1]), choice.positions)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        is_right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), labels), tf.float32)
        loss = _sum_and_count(losses, choice.weights)
        return _mean(loss), {"loss": loss, "accuracy": _sum_and_count(is_right, choice.weights)}, logits

    def _score(self, outputs: tf.Tensor, scores: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, Measures]:
        """Returns the cross-entropy of the scores, which are targets between 0 and 1, and its measurements."""
        has_score = tf.cast(~tf.math.is_nan(scores), tf.float32)
        targets = tf.where(has_score > 0, scores, 0.0)
        logits = self._network.rate(outputs, dtype)
        loss = _sum_and_count(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), has_score)
        estimates = tf.sigmoid(logits)
        moments = (targets, estimates, targets**2, estimates**2, targets * estimates)
        measures = {name: _sum_and_count(x, has_score) for name, x in zip(_MOMENTS, moments, strict=True)}
        return _mean(loss), {"score_loss": loss, **measures}


def sample(logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws a piece int32[k] from each row of logits float32[k, vocabulary], with the Gumbel-max trick."""
    # A fixed algorithm gives the same numbers on every device; 0 has no logarithm.
    uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=1e-20, alg="philox")
    return tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), -1, tf.int32)


def figures(means: Mapping[str, float]) -> dict[str, float]:
    """Converts the means of an objective's measurements to those for people.

    Returns:
      `loss` and `accuracy` of the encoder: the share of hidden pieces that it guesses, 0 to 1; or of ELECTRA the mean
      of the shares of replaced and of other tokens that it judges rightly, 0.5 by chance; a token is called replaced
      if its probability is above the share of replaced tokens. `generator_loss` and
      `generator_accuracy` of ELECTRA's generator; `score_loss`, and `score_correlation`, -1 to 1.
    """
    shown = {name: value for name, value in means.items() if name not in ("found", "left", *_MOMENTS)}
    if "found" in means:
        shown["accuracy"] = (means["found"] + means["left"]) / 2
    if "score" in means:
        variances = (means[f"{name}_{name}"] - means[name] ** 2 for name in ("score", "estimate"))
        covariance = means["score_estimate"] - means["score"] * means["estimate"]
        scale = math.sqrt(max(math.prod(variances), 0.0))
        shown["score_correlation"] = covariance / scale if scale > 0 else 0.0
    return shown


def _sum_and_count(values: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reduce_sum(values * weights), tf.reduce_sum(weights)


def _mean(sum_and_count: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    # A batch with only unknown words has nothing to guess.
    return tf.math.divide_no_nan(*sum_and_count)
