"""A tiny real encoder for tests: trained once per process by the executor of EncoderPretrainer, then copied."""

import atexit
import functools
import os
import shutil
import tempfile
from typing import Sequence, TypeVar

import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.encoder_pretrainer import executor
from core.config import PretrainConfig
from schema import features

Artifact = TypeVar("Artifact")

CONFIG = PretrainConfig(vocabulary=300, layers=1, hidden=16, heads=2, steps=8, batch_size=8, max_length=16)

TEXTS = (
    "정말 재미있는 영화",
    "정말 재미없는 영화",
    "배우들 연기가 좋았다",
    "배우들 연기가 별로였다",
    "시간 가는 줄 몰랐다",
    "시간이 아까웠다!",
    "다시 보고 싶은 영화...",
    "두 번은 못 보겠다 ㅠㅠ",
    "음악과 영상이 좋았다",
    "음악도 영상도 별로",
    "great movie",
    "굿",
)


def save(folder: str) -> str:
    """Copies the tiny encoder (`CONFIG`, trained on `TEXTS`) to a new folder and returns it.

    The folder holds `preprocess/`, `encoder/` and `encoder.json`.
    """
    shutil.copytree(path_utils.serving_model_dir(_train_once()), folder)
    return folder


def save_artifact(uri: str) -> standard_artifacts.Model:
    """Copies the tiny encoder into the folder of a `Model` artifact and returns the artifact."""
    save(path_utils.serving_model_dir(uri))
    return _artifact(standard_artifacts.Model(), uri)


def pretrain(
    uri: str, shards: Sequence[Sequence[str]], config: PretrainConfig = CONFIG, test: Sequence[str] = ()
) -> standard_artifacts.Model:
    """Runs EncoderPretrainer's executor on reviews.

    Args:
      uri: an empty folder, for `examples/` and `encoder/`.
      shards: the texts of each shard of the training split.
      config: the component's configuration.
      test: the texts of the test split; empty for no such split.
    """
    examples = write_examples(os.path.join(uri, "examples"), shards)
    if test:
        _write_split(os.path.join(uri, "examples"), features.TEST_SPLIT, [test])
        examples.split_names = artifact_utils.encode_split_names([features.TRAIN_SPLIT, features.TEST_SPLIT])
    encoder = _artifact(standard_artifacts.Model(), os.path.join(uri, "encoder"))
    os.makedirs(encoder.uri)
    executor.Executor().Do(
        {executor.EXAMPLES: [examples]}, {executor.ENCODER: [encoder]}, {executor.CONFIG: config.model_dump_json()}
    )
    return encoder


def write_examples(uri: str, shards: Sequence[Sequence[str]]) -> standard_artifacts.Examples:
    """Writes an `Examples` artifact whose `train` split has these shards; labels are 0."""
    _write_split(uri, features.TRAIN_SPLIT, shards)
    examples = _artifact(standard_artifacts.Examples(), uri)
    examples.split_names = artifact_utils.encode_split_names([features.TRAIN_SPLIT])
    return examples


def _write_split(uri: str, name: str, shards: Sequence[Sequence[str]]) -> None:
    split = os.path.join(uri, f"Split-{name}")
    os.makedirs(split)
    for number, texts in enumerate(shards):
        file = os.path.join(split, f"data_tfrecord-{number:05d}-of-{len(shards):05d}.gz")
        with tf.io.TFRecordWriter(file, "GZIP") as writer:
            for text in texts:
                writer.write(_example(text).SerializeToString())


def _example(text: str) -> tf.train.Example:
    example = tf.train.Example()
    example.features.feature[features.ID].bytes_list.value.append(text.encode()[:8])
    example.features.feature[features.DOCUMENT].bytes_list.value.append(text.encode())
    example.features.feature[features.LABEL].int64_list.value.append(0)
    return example


def _artifact(artifact: Artifact, uri: str) -> Artifact:
    artifact.uri = uri
    return artifact


@functools.cache
def _train_once() -> str:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pretrain(folder, [TEXTS]).uri
