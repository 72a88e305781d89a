"""Measures the share of tokens that are unknown to a model, with the tokeniser in its SavedModel."""

import os
from typing import Any, Optional, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the tokeniser's operations)

from components.data_gate.quality import upper_bounded
from components.data_gate.reference import Reference
from core import progress
from core.checks import Check
from core.config import DataGateConfig
from core.errors import UserError

# Letters of two dead scripts. If the tokens of both end with the same one, it is the tokeniser's unknown token.
_PROBES = ("\N{EGYPTIAN HIEROGLYPH A001}", "\N{RUNIC LETTER FEHU FEOH FE F}")


def check_unknown_tokens(texts: Sequence[str], reference: Reference, bounds: DataGateConfig) -> Check:
    """Passes if few tokens are unknown to the model in serving; its tokeniser may differ from the next model's.

    Args:
      texts: texts of training rows, at least one.
      reference: the model in serving, if any.
      bounds: `unknown_tokens`.

    Raises:
      UserError: the model can't be loaded.
    """
    if reference.model_path is None:
        return upper_bounded("unknown_tokens", None, bounds, f"not checked: {reference.description}")
    progress.report("tokenising with the model in serving", 0, len(texts))
    share = unknown_token_share(reference.model_path, texts)
    version = f"serving version {os.path.basename(reference.model_path)}"
    reason = f"not checked: {version} has no tokeniser with an unknown token"
    if share is not None:
        reason = f"train: {share:.2%} of the tokens are unknown to {version}"
    return upper_bounded("unknown_tokens", share, bounds, reason)


def unknown_token_share(model_path: str, texts: Sequence[str]) -> Optional[float]:
    """Returns the share of the texts' tokens that are unknown to a model.

    Args:
      model_path: folder of a SavedModel written by `trainer.export`.
      texts: the texts, at least one.

    Returns:
      0 to 1; None if the model has no accessible tokeniser, or one without an unknown token.

    Raises:
      UserError: the model can't be loaded.
    """
    model = _load(model_path)
    # Models of earlier releases hold the whole preprocess model instead.
    tokenise = getattr(getattr(model, "_preprocess", model), "tokenize", None)
    if tokenise is None:
        return None
    tokens = [tokenise(tf.constant(part)).flat_values.numpy() for part in ([_PROBES[0]], [_PROBES[1]], list(texts))]
    unknown = {part[-1] for part in tokens[:2] if part.size}
    if len(unknown) != 1 or not tokens[2].size:
        return None
    return float(np.isin(tokens[2], list(unknown)).mean())


def _load(model_path: str) -> Any:
    try:
        return tf.saved_model.load(model_path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"serving.dir: the newest version {model_path} can't be loaded ({reason}); repair or remove that folder"
        ) from error
