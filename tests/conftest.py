"""Settings for TensorFlow, made before it starts; tests that don't use TensorFlow don't import it."""

import os
import signal
import sys

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell starts background processes with Ctrl-C ignored, which their children inherit: tests interrupt programs.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Makes two replicas of the CPU, for tests of distributed training."""
    if tf := sys.modules.get("tensorflow"):
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
