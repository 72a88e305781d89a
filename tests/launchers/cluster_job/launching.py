"""A process that launches a job: `python -m tests.launchers.cluster_job.launching SETTINGS JOB`, both JSON."""

import json
import sys

from launchers.base import WorkerJob
from launchers.cluster_job import ClusterJob, ClusterJobConfig

if __name__ == "__main__":
    settings, job = (json.loads(argument) for argument in sys.argv[1:])
    ClusterJob(ClusterJobConfig(**settings), poll_s=0.05).launch(WorkerJob(**job), 2)
