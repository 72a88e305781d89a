"""A whole training in a separate process: the Trainer's `run_fn` on examples on disk, and its figures."""

import dataclasses
import json
import os
import subprocess
import sys
from typing import IO, Any, Union

import tensorflow as tf

from artifacts import model_run
from benchmarks.training.data import Rows
from core.config import TrainerConfig
from schema import features
from trainer import run

TASK = {"text_columns": ["document"], "labels": {"0": "부정", "1": "긍정"}}

_SCRIPT = "import json, sys; from trainer import run; run.run_fn(run.TrainingJob(**json.load(open(sys.argv[1]))))"


def write_examples(folder: str, train: Rows, dev: Rows) -> None:
    """Writes both splits as gzipped TFRecords, as TsvExampleGen does."""
    os.makedirs(folder)
    for rows, split in ((train, features.TRAIN_SPLIT), (dev, features.DEV_SPLIT)):
        with tf.io.TFRecordWriter(os.path.join(folder, f"{split}.gz"), "GZIP") as writer:
            for number, (text, label) in enumerate(zip(rows.texts, rows.labels.tolist(), strict=True)):
                example = tf.train.Example()
                example.features.feature[features.ID].bytes_list.value.append(str(number).encode())
                example.features.feature[features.DOCUMENT].bytes_list.value.append(text)
                example.features.feature[features.LABEL].int64_list.value.append(label)
                writer.write(example.SerializeToString())


@dataclasses.dataclass(frozen=True)
class Training:
    """One training; a killed process can be followed by another attempt.

    Attributes:
      folder: folder for its model, figures and checkpoints; created if missing.
      examples: folder that `write_examples` made.
      encoder: an encoder's folder.
      config: how to train.
    """

    folder: str
    examples: str
    encoder: str
    config: TrainerConfig

    @property
    def checkpoints(self) -> str:
        """The folder of its checkpoints."""
        return os.path.join(self.folder, "checkpoints")

    @property
    def model(self) -> str:
        """The folder of the exported model."""
        return os.path.join(self.folder, "model")

    @property
    def job(self) -> run.TrainingJob:
        """The Trainer's arguments."""
        return run.TrainingJob(
            [os.path.join(self.examples, f"{features.TRAIN_SPLIT}.gz")],
            [os.path.join(self.examples, f"{features.DEV_SPLIT}.gz")],
            self.encoder,
            self.model,
            os.path.join(self.folder, "run"),
            {"trainer": self.config.model_dump(), "task": TASK, "data": {}, "checkpoints": self.checkpoints},
        )

    def start(self, output: Union[int, IO[Any]] = subprocess.DEVNULL) -> subprocess.Popen:
        """Starts an attempt; its output goes to `output`."""
        os.makedirs(self.folder, exist_ok=True)
        file = os.path.join(self.folder, "job.json")
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(dataclasses.asdict(self.job), stream)
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TF_USE_LEGACY_KERAS": "1"}
        return subprocess.Popen([sys.executable, "-c", _SCRIPT, file], env=environment, stdout=output, stderr=output)

    def last_checkpoint(self) -> int:
        """Returns the number of steps of the newest checkpoint on disk; 0 without one."""
        files = tf.io.gfile.glob(os.path.join(self.checkpoints, "*", "state-*.index"))
        return max((int(file.rsplit("-", 1)[1].removesuffix(".index")) for file in files), default=0)

    def figures(self) -> model_run.TrainingFigures:
        """Returns the figures of the finished training."""
        return model_run.read_training(os.path.join(self.folder, "run"))

    def answers(self) -> model_run.GoldenAnswers:
        """Returns the finished model's answers to some dev rows."""
        return model_run.read_golden(os.path.join(self.folder, "run"))
