"""Binds a cluster with Kubeflow Pipelines v2 to the pipeline."""
