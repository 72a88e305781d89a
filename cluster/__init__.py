"""Runs the pipeline on Kubeflow Pipelines v2: compiles, replays, submits and schedules it."""
