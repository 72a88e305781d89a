"""A process that launches a TFJob: `python -m tests.launchers.tfjob.launching SETTINGS JOB`, both JSON."""

import json
import sys

from launchers import local_processes
from launchers.tfjob import TFJob, TFJobConfig

if __name__ == "__main__":
    settings, job = (json.loads(argument) for argument in sys.argv[1:])
    TFJob(TFJobConfig(**settings), poll_s=0.05).launch(local_processes.Job(**job), 2)
