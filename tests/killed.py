"""A push that is killed at a chosen moment, in a separate process, for tests."""

import os
import shutil
import signal

from tfx.utils import io_utils

from benchmarks import serving_watcher
from components.pusher import publication

# Moment -> the call that kills the process.
MOMENTS = {
    "the SavedModel's last file is missing": (io_utils, "copy_file"),
    "all is copied": (publication, "_flush"),
    "the state is not written yet": (os, "replace"),
    "the state is written": (os, "rename"),
    "the version is in serving": (publication, "retire"),
    "an old version is out of sight": (shutil, "rmtree"),
}


def publish(moment: str, model_uri: str, serving_dir: str, keep: int) -> None:
    """Pushes a model and kills the process at a moment."""
    owner, name = MOMENTS[moment]
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    serving_watcher.publish(model_uri, serving_dir, keep)
