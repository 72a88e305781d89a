"""Workers as pods of a TFJob, which Kubeflow's Training Operator v1 (kubeflow.org/v1) starts."""

from trainer.tfjob.config import TFJobConfig
from trainer.tfjob.launcher import TFJob

__all__ = ["TFJob", "TFJobConfig"]
