"""Executes a compiled pipeline on this machine, without a cluster."""

from cluster.replay.runner import run

__all__ = ["run"]
