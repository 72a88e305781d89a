"""A training that takes long enough to be killed."""

import pathlib
from typing import Any, Union

import tensorflow as tf

from core.config import TrainerConfig
from schema import features
from tests import encoders
from trainer.job import TrainingJob

TASK = {"text_columns": ["document"], "labels": {"0": "나쁨", "1": "좋음"}}
# 15 steps per epoch, with a checkpoint after each.
_SETTINGS = {"epochs": 12, "batch_size": 4, "learning_rate": 0.01, "max_length": 16, "checkpoint_seconds": 1e-9}


def write_inputs(folder: pathlib.Path) -> pathlib.Path:
    """Writes the files of both splits and an encoder."""
    rows = [((("정말 재미있는 영화 {}", "시간이 아까웠다 {}")[i % 2]).format(i), 1 - i % 2) for i in range(60)]
    for split in ("train", "dev"):
        with tf.io.TFRecordWriter(str(folder / f"{split}.gz"), "GZIP") as writer:
            for i, (text, label) in enumerate(rows):
                example = tf.train.Example()
                example.features.feature[features.ID].bytes_list.value.append(str(i).encode())
                example.features.feature[features.DOCUMENT].bytes_list.value.append(text.encode())
                example.features.feature[features.LABEL].int64_list.value.append(label)
                writer.write(example.SerializeToString())
    encoders.save(str(folder / "encoder"))
    return folder


def job(
    inputs: pathlib.Path,
    model: Union[str, pathlib.Path],
    run_folder: Union[str, pathlib.Path],
    checkpoints: Union[str, pathlib.Path],
    **settings: Any,
) -> TrainingJob:
    """Returns the job of a training on these inputs."""
    config = TrainerConfig(**{**_SETTINGS, "precision": "float32", "device": "cpu", **settings})
    return TrainingJob(
        [str(inputs / "train.gz")],
        [str(inputs / "dev.gz")],
        str(inputs / "encoder"),
        str(model),
        str(run_folder),
        {"trainer": config.model_dump(), "task": TASK, "data": {}, "checkpoints": str(checkpoints)},
    )
