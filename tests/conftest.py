"""Sets up TensorFlow as in production, and defines `--fast`: skip tests that need TensorFlow or another process."""

import os
import signal
import sys

import hypothesis
import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell makes its background jobs ignore Ctrl-C, and their children inherit that. Some tests interrupt programs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Importing these takes seconds. TFX imports both.
_HEAVY = ("tensorflow", "tfx", "apache_beam")


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help="skip tests that import TensorFlow, TFX or Beam, or start a program"
    )


def pytest_configure(config):
    if config.getoption("fast"):
        # `make test` generates the usual hundred.
        hypothesis.settings.register_profile("fast", max_examples=20)
        hypothesis.settings.load_profile("fast")
        sys.addaudithook(_skip_slow)


def _skip_slow(event, arguments):
    """Skips the test (during collection, the module) when it imports or starts something; no list is needed."""
    if event == "import" and arguments[0].partition(".")[0] in _HEAVY:
        pytest.skip(f"imports {arguments[0]}", allow_module_level=True)
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        pytest.skip("starts a program", allow_module_level=True)


def pytest_collection_finish():
    """Gives tests of distributed training two devices on any machine, before TensorFlow initialises its own."""
    if tf := sys.modules.get("tensorflow"):
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
