"""Workers as pods of a TFJob, which Kubeflow's Training Operator v1 (kubeflow.org/v1) starts."""

from launchers.tfjob.config import TFJobConfig
from launchers.tfjob.tfjob import TFJob

__all__ = ["TFJob", "TFJobConfig"]
