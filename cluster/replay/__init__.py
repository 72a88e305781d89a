"""Runs a compiled pipeline on this machine, without a cluster.

A replay emulates what `kubeflow_runner.py compile` writes, and refuses everything else of the pipeline spec.
"""

from cluster.replay.pipeline_run import run

__all__ = ["run"]
