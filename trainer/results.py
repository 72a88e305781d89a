"""Writes a training's results: the exported model with its card, and the files of the `model_run` artifact."""

import os

import numpy as np
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import model_card, model_run, pictures
from schema.task import Task
from trainer import export, model, packing, reviews
from trainer.job import Reviews, TrainingJob


def write(job: TrainingJob, data: Reviews, classifier: model.Classifier, figures: model_run.TrainingFigures) -> None:
    """Exports a model and writes the files of the `model_run` artifact.

    Args:
      job: names the folders.
      data: the reviews that the model was trained on.
      classifier: the trained model, on variables of this process.
      figures: the figures of the training.
    """
    golden = _predict_golden(classifier, job.task, data.dev)
    packer = packing.Packer(data.preprocess, len(job.task.text_inputs), job.config.max_length)
    export.export(job.serving_model_dir, export.ServedClassifier(packer, classifier, job.task))
    packing_name = model_card.PLAIN_PACKING if packer.special else model_card.PREPROCESS_PACKING
    card = model_card.ModelCard(job.task, job.custom_config["data"], job.config.max_length, packing_name)
    model_card.write(job.serving_model_dir, card)
    folder = job.model_run_dir
    os.makedirs(folder, exist_ok=True)
    model_run.write_training(folder, figures)
    model_run.write_golden(folder, golden)
    _draw_pictures(folder, job, classifier, figures)
    _write_tensorboard(os.path.join(folder, model_run.LOGS_DIR), figures)


def _predict_golden(classifier: model.Classifier, task: Task, dev: reviews.Split) -> model_run.GoldenAnswers:
    """Predicts the served outputs of some dev rows."""
    rows = np.arange(len(dev.first_texts))
    # On the CPU, since model servers on any device have to agree with it, and a GPU would compute in TF32.
    with tf.device("/CPU:0"):
        outputs = task.served_outputs(classifier(dev.tokens.padded(rows)))
    columns = dict(zip(task.text_inputs, zip(*dev.first_texts, strict=True), strict=True))
    return model_run.GoldenAnswers(
        **{name: [text.decode("utf-8") for text in column] for name, column in columns.items()},
        # Without those that are words.
        outputs={name: value.numpy().tolist() for name, value in outputs.items() if value.dtype != tf.string},
    )


def _draw_pictures(
    folder: str, job: TrainingJob, classifier: model.Classifier, figures: model_run.TrainingFigures
) -> None:
    history_file, model_file = (
        os.path.join(folder, name) for name in (model_run.HISTORY_PICTURE, model_run.MODEL_PICTURE)
    )
    pictures.draw_history(figures.history, figures.best_epoch, job.task.training_metric, history_file)
    parts = {part.name: sum(int(tf.size(w)) for w in part.weights) for part in (classifier.encoder, classifier.head)}
    pictures.draw_model(parts, encoder_artifact.read(job.base_model), model_file)


def _write_tensorboard(folder: str, figures: model_run.TrainingFigures) -> None:
    """Writes the curves for TensorBoard over the steps, with train and dev as two of its runs."""
    steps_per_epoch = figures.curve[-1]["step"] // len(figures.history)
    dev = [
        {"step": row["epoch"] * steps_per_epoch}
        | {name.removeprefix("dev_"): value for name, value in row.items() if name.startswith("dev_")}
        for row in figures.history
    ]
    for run, points in (("train", figures.curve), ("dev", dev)):
        with tf.summary.create_file_writer(os.path.join(folder, run)).as_default():
            for point in points:
                for name in point.keys() - {"step"}:
                    tf.summary.scalar(name, point[name], int(point["step"]))
