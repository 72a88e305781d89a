"""Binds this machine to the pipeline: a run, its metadata store, the terminal, serving folders and predictions."""
