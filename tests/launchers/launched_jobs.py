"""The jobs of the launchers' tests.

`act` is the target: worker i calls `arguments["acts"][i]`, a function of this module. As a script,
`python -m tests.launchers.launched_jobs FOLDER ACT...`, the module launches such a job.
"""

import json
import os
import signal
import sys
import threading
import time

import numpy as np

from core import progress
from core.errors import UserError
from launchers import local_processes
from launchers.base import WorkerJob

# Longer than any test, but not forever: a launcher that fails its test may leave a worker running.
LONG_S = 60

# Not `import_path`: as a script this module is `__main__`.
ACT = f"{__spec__.name}.act"


class UnavailableError(Exception):
    """Has the name of the error that TensorFlow raises when another worker is gone."""


def act(arguments):
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    note = {"pid": os.getpid(), "folder": os.getcwd(), "environment": dict(os.environ)}
    path = note_file(arguments["folder"], index)
    with open(path + ".part", "w", encoding="utf-8") as stream:
        json.dump(note, stream)
    os.replace(path + ".part", path)
    while not all(os.path.exists(note_file(arguments["folder"], i)) for i in range(len(arguments["acts"]))):
        time.sleep(0.01)
    globals()[arguments["acts"][index]]()


def note_file(folder, index):
    return os.path.join(folder, f"note-{index}.json")


def finish():
    pass


def sleep():
    time.sleep(LONG_S)


def sleep_ignoring_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(LONG_S)


def finish_but_linger():
    threading.Thread(target=time.sleep, args=(LONG_S,)).start()


def fork_and_sleep():
    os.fork()
    time.sleep(LONG_S)


def fork_and_be_killed():
    if os.fork() == 0:
        time.sleep(LONG_S)
    kill_self()


def fork_and_finish():
    if os.fork() == 0:
        time.sleep(LONG_S)


def report_as_first():
    progress.report("epoch 1/2", np.int64(1), 4, loss=np.float32(0.5), kind="slow")
    progress.report("epoch 2/2", 4, 4)


def report_as_second():
    progress.report("not the first worker's", 1, 4)


def report_and_sleep():
    progress.report("epoch 1/2", 3, 10)
    sleep()


def report_for_two_seconds():
    for done in range(20):
        progress.report("epoch 1/1", done, 20)
        time.sleep(0.1)


def raise_value_error():
    raise ValueError("the learning rate is -1\nand this is a second line")


def raise_value_error_later():
    time.sleep(0.5)
    raise_value_error()


def raise_user_error():
    raise UserError("trainer.epochs = 학습: should be a number\n" + "x" * 200_000)


def raise_collective_error():
    raise UnavailableError("Socket closed")


def raise_collective_error_later():
    time.sleep(2.5)
    raise_collective_error()


def exit_early():
    sys.exit(0)


def exit_immediately():
    os._exit(3)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def stop_self():
    os.kill(os.getpid(), signal.SIGSTOP)
    sleep()


def write():
    print("printed 영화")
    print("an error", file=sys.stderr)
    os.system("echo from another program")


def write_and_be_killed():
    print("the last line")
    kill_self()


if __name__ == "__main__":
    # A shell that starts the tests in the background makes them ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, acts = sys.argv[1], sys.argv[2:]
    job = WorkerJob(ACT, {"folder": folder, "acts": acts}, folder)
    local_processes.LocalProcesses(silence_timeout_s=2.5).launch(job, len(acts))
