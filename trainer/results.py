"""What a training leaves: the exported model with its card, and the `model_run` artifact's files."""

import os
from typing import Mapping, Sequence

import numpy as np
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import model_card, model_run
from schema.task import Task
from trainer import export, model, pictures, reviews
from trainer.job import Job, Reviews


def write(job: Job, read: Reviews, classifier: model.Classifier, figures: model_run.TrainingFigures) -> None:
    """Exports a model and writes all that stands beside it.

    Args:
      job: says where to.
      read: the reviews it was trained on.
      classifier: the trained model, on one process's own variables.
      figures: how training went.
    """
    golden = golden_answers(classifier, job.task, read.dev)
    served = export.ServedClassifier(read.preprocess, classifier, job.task, job.config.max_length)
    export.export(job.serving_model_dir, served)
    model_card.write(job.serving_model_dir, model_card.ModelCard(job.task, job.custom_config["data"]))
    folder = job.model_run_dir
    os.makedirs(folder, exist_ok=True)
    model_run.write_json(folder, model_run.TRAINING_FILE, figures)
    model_run.write_json(folder, model_run.GOLDEN_FILE, golden)
    _draw(folder, job, classifier, figures)
    _write_board(os.path.join(folder, model_run.LOGS_DIR), figures.history)


def golden_answers(classifier: model.Classifier, task: Task, dev: reviews.Split) -> model_run.GoldenAnswers:
    """Asks the model in this process for the served outputs of some dev rows."""
    rows = np.arange(len(dev.first_texts))
    # In plain float32, as a model server on any device may be asked to agree with it: a GPU's own is TF32.
    with tf.device("/CPU:0"):
        outputs = task.served_outputs(classifier(dev.tokens.padded(rows)))
    return model_run.GoldenAnswers(
        text=[text.decode("utf-8") for text in dev.first_texts],
        outputs={name: value.numpy().tolist() for name, value in outputs.items()},
    )


def _draw(folder: str, job: Job, classifier: model.Classifier, figures: model_run.TrainingFigures) -> None:
    history_file, model_file = (
        os.path.join(folder, name) for name in (model_run.HISTORY_PICTURE, model_run.MODEL_PICTURE)
    )
    pictures.draw_history(figures.history, figures.best_epoch, job.task.training_metric, history_file)
    parts = {part.name: sum(int(tf.size(w)) for w in part.weights) for part in (classifier.encoder, classifier.head)}
    pictures.draw_model(parts, encoder_artifact.read(job.base_model), model_file)


def _write_board(folder: str, history: Sequence[Mapping[str, float]]) -> None:
    """Writes the history for TensorBoard, train and dev as two runs of it."""
    for run, prefix in (("train", ""), ("dev", "dev_")):
        with tf.summary.create_file_writer(os.path.join(folder, run)).as_default():
            for row in history:
                names = [name for name in row if name.startswith("dev_") == bool(prefix) and name != "epoch"]
                for name in names:
                    tf.summary.scalar(f"epoch_{name.removeprefix('dev_')}", row[name], row["epoch"])
