"""What a training gets."""

import dataclasses
from typing import Any, Mapping, Sequence

from core.config import TrainerConfig
from schema.task import Task, task_from_json
from trainer import reviews

# Arguments of a `Job` that are paths to read, and folders that worker 0 writes.
INPUTS = ("train_files", "eval_files", "base_model")
OUTPUTS = ("serving_model_dir", "model_run_dir")


@dataclasses.dataclass(frozen=True)
class Job:
    """A training as worker processes get it; JSON values only.

    Attributes:
      train_files: patterns of the train split's files.
      eval_files: the dev split's.
      base_model: the encoder's folder.
      serving_model_dir: where the exported model goes.
      model_run_dir: where `artifacts.model_run`'s files go.
      custom_config: `trainer` (TrainerConfig), `task`, `data` (for the model's card), `checkpoints` (a folder
        that outlives this execution and that all workers share), `tfjob` where the workers are a cluster's pods, and
        `run` where others may train the same at the same time: whose checkpoints it goes on from.
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    base_model: str
    serving_model_dir: str
    model_run_dir: str
    custom_config: Mapping[str, Any]

    @property
    def config(self) -> TrainerConfig:
        """How to train."""
        return TrainerConfig.model_validate(self.custom_config["trainer"])

    @property
    def task(self) -> Task:
        """What is predicted."""
        return task_from_json(self.custom_config["task"])


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Both splits, and the encoder's own tokenisation."""

    preprocess: Any
    train: reviews.Split
    dev: reviews.Split
