"""Runs the pipeline on this machine: metadata store, terminal, serving folders and predictions."""
