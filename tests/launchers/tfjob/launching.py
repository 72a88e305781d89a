"""A process that launches a TFJob: `python -m tests.launchers.tfjob.launching SETTINGS JOB`, both JSON."""

import json
import sys

from launchers.base import WorkerJob
from launchers.tfjob import TFJob, TFJobConfig

if __name__ == "__main__":
    settings, job = (json.loads(argument) for argument in sys.argv[1:])
    TFJob(TFJobConfig(**settings), poll_s=0.05).launch(WorkerJob(**job), 2)
