"""Set before any test imports TensorFlow: TFX, TFMA and Hub want Keras 2."""

import os
import signal

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf  # noqa: E402

# A shell lets what it starts in the background ignore Ctrl-C, and what that starts in turn: tests start programs to
# interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two replicas on any machine, for what is trained on several; said before TensorFlow makes its devices.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
