"""Set before any test imports TensorFlow: TFX, TFMA and Hub want Keras 2."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
