"""`python -m cluster.entrypoint`: the command of every task's container.

Takes the arguments that TFX's compiler writes, and runs the task (`cluster.task`). Exit status: 0 for success; 2 for an
error of the user, with the message on the last line; 1 for any other failure.

KFP's launcher turns every status into 1, so Argo also tries a task again after a mistake of the user. The first attempt
leaves a note in the run's folder; the others end with its message before they import TensorFlow.
"""

import argparse
import contextlib
import json
import os
import sys
import warnings
from typing import Optional, Sequence

# Before the first TensorFlow import: TFX, TFMA and Hub need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from cluster import executor_input, task_protocol  # noqa: E402
from components.run_outcome import notes  # noqa: E402
from components.run_report.summary import run_folder  # noqa: E402
from core import escape, streams  # noqa: E402
from core.errors import UserError  # noqa: E402

# Of files on the volume. The group keeps its access: the cluster may give each pod another user of the same group.
_UMASK = 0o002

# Errors of a file system about a path that the user has to correct. Others, such as a full disk or a lost connection
# (requests' errors are OSErrors too), may be gone at the next attempt.
_ABOUT_PATHS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)

# Packages that raise other errors of the network.
_NETWORK_PACKAGES = ("urllib3", "tensorflow")

# HTTP statuses below 500 that may be gone at the next attempt: time-out and too many requests.
_PASSING_STATUSES = (408, 429)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one task; returns the exit status."""
    # Argo's emissary sets 0: every user of the volume could change the served model.
    os.umask(_UMASK)
    if not sys.warnoptions:
        # Of libraries about each other; those that import later would print them between the task's own lines.
        warnings.simplefilter("ignore")
    options, flags = _parser().parse_known_args(arguments)
    task_id = os.environ[task_protocol.TASK_VARIABLE]
    invocation = json.loads(options.json_serialized_invocation_args)
    run = executor_input.run_id(invocation, task_id)
    folder = run_folder(os.environ[task_protocol.REPORTS_VARIABLE], run)
    with contextlib.suppress(OSError):
        earlier = notes.take_retry(folder, task_id)
        if earlier is not None:
            return _report(earlier.error)
    try:
        with streams.hold_output():
            from cluster import task  # Takes seconds.

        task.run(options, flags, invocation, task_id, run)
    except Exception as error:
        # If that fails, the task's own error is still reported.
        with contextlib.suppress(OSError):
            notes.write(folder, _describe(task_id, error))
        if not isinstance(error, UserError):
            raise
        return _report(str(error))
    # The note of an earlier attempt. A task that succeeded must not fail because its note can't be removed.
    with contextlib.suppress(OSError):
        notes.remove(folder, task_id)
    return 0


def _report(message: str) -> int:
    print(f"{task_protocol.ERROR_PREFIX}{escape.line(message)}", file=sys.stderr)
    return 2


def _describe(task_id: str, error: Exception) -> notes.Failure:
    """Describes the failure of a task."""
    if not isinstance(error, UserError):
        return notes.Failure(task_id, f"{type(error).__name__}: {error}".splitlines()[0], False)
    retries = 0 if _may_pass(error) else int(os.environ.get(task_protocol.RETRIES_VARIABLE, 0))
    # Only DataGate's error has checks; its class imports TensorFlow.
    return notes.Failure(task_id, str(error), True, getattr(error, "checks", ()), retries)


def _may_pass(error: BaseException) -> bool:
    """Whether the next attempt may succeed, because the network, a server or a disk caused the error."""
    cause = error.__cause__
    if cause is None:
        return False
    response = getattr(cause, "response", None)
    if response is not None:
        return response.status_code >= 500 or response.status_code in _PASSING_STATUSES
    if isinstance(cause, OSError) and not isinstance(cause, _ABOUT_PATHS):
        return True
    return type(cause).__module__.partition(".")[0] in _NETWORK_PACKAGES or _may_pass(cause)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster.entrypoint", description=__doc__.splitlines()[0])
    parser.add_argument("--executor_class_path", required=True, help="import path of the executor")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="the backend's ExecutorInput as JSON")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="the component's inputDefinitions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
