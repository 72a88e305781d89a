"""The graph of the pipeline."""
