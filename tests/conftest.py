"""Settings for TensorFlow, made before it starts; tests that don't use TensorFlow don't import it."""

import importlib.abc
import os
import signal
import sys

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell starts background processes with Ctrl-C ignored, which their children inherit: tests interrupt programs.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Each takes seconds to import, by itself or because it imports TensorFlow.
SLOW_IMPORTS = ("tensorflow", "tf_keras", "tfx", "apache_beam", "ml_metadata", "kfp")


class SkipSlowImports(importlib.abc.MetaPathFinder):
    """Skips a test, or the test file that is being collected, when it imports one of `SLOW_IMPORTS`."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in SLOW_IMPORTS:
            pytest.skip(f"imports {name}", allow_module_level=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that don't import TensorFlow, TFX, Beam or kfp")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):
        sys.meta_path.insert(0, SkipSlowImports())


def pytest_collection_finish() -> None:
    """Makes two replicas of the CPU, for tests of distributed training."""
    if tf := sys.modules.get("tensorflow"):
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
