"""How much of a text a model does not know: asked of its own tokeniser, which its SavedModel carries."""

from typing import Any, Optional, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the tokeniser's operations)

from core.errors import UserError

# Letters of two dead scripts: whoever gives both the same last token has a token for what it does not know.
_PROBES = ("\N{EGYPTIAN HIEROGLYPH A001}", "\N{RUNIC LETTER FEHU FEOH FE F}")


def unknown_token_share(model_path: str, texts: Sequence[str]) -> Optional[float]:
    """Returns the share of a text's tokens that stand for what the model does not know.

    Args:
      model_path: a SavedModel as `trainer.export` makes it.
      texts: at least one.

    Returns:
      0 to 1; None where the model has no tokeniser that can be asked, or one that knows every letter.

    Raises:
      UserError: the model can't be loaded.
    """
    tokenise = getattr(getattr(_load(model_path), "_preprocess", None), "tokenize", None)
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
            f"serving.dir: its newest version {model_path} can't be loaded ({reason}); mend or remove that folder"
        ) from error
