"""A training job and its data."""

import dataclasses
from typing import Any, Mapping, Optional, Sequence

from core.config import TrainerConfig
from schema.task import Task, task_from_json
from trainer import reviews
from trainer.distillation import Distillation

# Fields of a `TrainingJob` that are paths to read, and folders that worker 0 writes.
INPUTS = ("train_files", "eval_files", "base_model", "teacher_files")
OUTPUTS = ("serving_model_dir", "model_run_dir")


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """The arguments of a training, JSON values that can be sent to worker processes.

    Attributes:
      train_files: file patterns of the train split.
      eval_files: file patterns of the dev split.
      base_model: the encoder's folder.
      serving_model_dir: folder to export the model to.
      model_run_dir: folder for the files of `artifacts.model_run`.
      custom_config: `trainer` (TrainerConfig), `task`, `data` (for the model card), `format` (`export.FORMAT`),
        `checkpoints` (a folder that outlives this execution and that all workers share), `cluster_job`
        (ClusterJobConfig) if the workers are pods of a cluster, `run`, an id that separates the checkpoints of
        identical trainings that run at the same time, and `distill` (`Distillation`) if there are teachers.
      teacher_files: file patterns of the texts that teachers have labelled; empty without teachers.
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    base_model: str
    serving_model_dir: str
    model_run_dir: str
    custom_config: Mapping[str, Any]
    teacher_files: Sequence[str] = ()

    @property
    def config(self) -> TrainerConfig:
        """The section `trainer` of the configuration."""
        return TrainerConfig.model_validate(self.custom_config["trainer"])

    @property
    def task(self) -> Task:
        """The task."""
        return task_from_json(self.custom_config["task"])

    @property
    def distillation(self) -> Optional[Distillation]:
        """How to learn from teachers; None without teachers."""
        return Distillation(**self.custom_config["distill"]) if self.teacher_files else None


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Both splits, and the encoder's preprocess model."""

    preprocess: Any
    train: reviews.Split
    dev: reviews.Split
