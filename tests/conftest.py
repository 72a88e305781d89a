"""TensorFlow set up as the product uses it, and `--fast`: the tests that need neither it nor another process."""

import os
import signal
import sys

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell makes its background jobs ignore Ctrl-C, and their children inherit that: tests start programs to interrupt
# them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Seconds to import. TFX imports both.
_HEAVY = ("tensorflow", "tfx", "apache_beam")


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help="skip what imports TensorFlow, TFX or Beam, or starts a program"
    )


def pytest_configure(config):
    if config.getoption("fast"):
        sys.addaudithook(_skip_slow)


def _skip_slow(event, arguments):
    """Skips the test, or at collection its module, at the import or the start itself: no list of tests to maintain."""
    if event == "import" and arguments[0].partition(".")[0] in _HEAVY:
        pytest.skip(f"imports {arguments[0]}", allow_module_level=True)
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        pytest.skip("starts a program", allow_module_level=True)


def pytest_collection_finish():
    """Gives tests of distributed training two devices on any machine; only possible before TensorFlow makes its own."""
    if tf := sys.modules.get("tensorflow"):
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
