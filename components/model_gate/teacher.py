"""Compares a student with its teachers on the test rows."""

import numpy as np

from artifacts import teacher_labels
from components.model_gate import metric_checks
from components.teacher_labels import teachers
from core.checks import Check
from core.config import TeacherBound
from core.errors import first_line
from schema import features
from schema.task import Task
from trainer import tokens


def check_student(model_path: str, labels_path: str, bound: TeacherBound, task: Task) -> Check:
    """Runs the student on the test rows, and compares its answers with the teachers'.

    Args:
      model_path: folder of the student's SavedModel.
      labels_path: folder of the artifact of TeacherLabels.
      bound: the largest drop allowed.
      task: the task of both.
    """
    patterns = teacher_labels.patterns(labels_path, features.TEST_SPLIT)
    chunks = list(teacher_labels.read_rows(patterns, tokens.CHUNK_ROWS))
    texts = [row for rows, *_ in chunks for row in rows]
    labels, taught = (np.concatenate([chunk[i] for chunk in chunks]) for i in (1, 2))
    try:
        logits = teachers.compute_logits(model_path, texts, "comparing with the teachers")
    except Exception as error:  # A model may raise any error, which fails the check.
        name = task.training_metric + metric_checks.BELOW_TEACHER
        reason = f"the model failed to answer the test rows: {type(error).__name__}: {first_line(error)}"
        return Check(metric_checks.GATE, name, False, None, bound.max_drop, reason, bound.severity)
    student, teacher = (np.asarray(task.example_scores(labels, each)) for each in (logits, taught))
    return metric_checks.check_student(student, teacher, bound, task)
