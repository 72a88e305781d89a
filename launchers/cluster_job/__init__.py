"""Workers as pods of a job on a cluster: a TFJob or a TrainJob of Kubeflow."""

from launchers.cluster_job.config import ClusterJobConfig
from launchers.cluster_job.job import ClusterJob

__all__ = ["ClusterJob", "ClusterJobConfig"]
