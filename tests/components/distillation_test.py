"""Distillation: teachers, their labels, the student's training and its bound."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.orchestration.portable import data_types
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils, proto_utils

from artifacts import encoder as encoder_artifact
from artifacts import model_card, model_files, model_run, teacher_labels
from components.model_gate import metric_checks, teacher
from components.pusher import record
from components.run_report import summary, titles
from components.teacher_labels import driver, executor, teachers
from components.trainer import executor as student_trainer
from core.checks import Check
from core.config import DistillConfig, TeacherBound, TextsConfig, TrainerConfig, load_config
from core.errors import UserError
from launchers.base import import_path
from pipeline import graph
from schema import features
from schema.task import make_task, task_to_json
from tests import encoders
from trainer import distillation, model, reviews, run, tokens
from trainer.job import Reviews, TrainingJob

TASK = make_task(("document",), {"0": "bad", "1": "good"})
TRAIN = [("정말 재미있는 영화", 1), ("시간이 아까웠다!", 0)] * 4
DEV = [("다시 보고 싶은 영화...", 1), ("음악도 영상도 별로", 0)]
TEST = [("great movie", 1), ("굿", 1), ("두 번은 못 보겠다 ㅠㅠ", 0)]
PASSED = [Check(gate, "loads", True, None, None, "") for gate in ("model", "serving")]


class Table(tf.Module):
    """A model whose logit of a text is its number of bytes times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def __call__(self, text):
        return self.factor * tf.cast(tf.strings.length(text), tf.float32)[:, tf.newaxis]


def push(folder, factor, checks=PASSED, task=TASK):
    """Writes a model as a pipeline pushes it."""
    tf.saved_model.save(Table(factor), folder)
    model_card.write(folder, model_card.ModelCard(task, {}))
    origin = record.Origin(checks=checks)
    record.write(folder, record.PushRecord("1" * 32, model_files.model_sha256(folder), origin=origin))
    return folder


def write_split(folder, split, rows):
    path = os.path.join(folder, f"Split-{split}")
    os.makedirs(path)
    with tf.io.TFRecordWriter(os.path.join(path, "data.gz"), "GZIP") as writer:
        for i, (text, label) in enumerate(rows):
            feature = {
                features.ID: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(i).encode()])),
                features.DOCUMENT: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
                features.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


@pytest.fixture(name="examples", scope="module")
def fixture_examples(tmp_path_factory):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    for split, rows in zip(features.SPLITS, (TRAIN, DEV, TEST), strict=True):
        write_split(artifact.uri, split, rows)
    return artifact


@pytest.fixture(name="pushed", scope="module")
def fixture_pushed(tmp_path_factory):
    """Two teachers: the logits of one are the texts' bytes, of the other three times as many."""
    folder = tmp_path_factory.mktemp("serving")
    return [push(str(folder / str(factor)), factor) for factor in (1, 3)]


@pytest.fixture(name="table", scope="module")
def fixture_table(tmp_path_factory):
    file = tmp_path_factory.mktemp("table") / "texts.tsv"
    file.write_text("document\n새 영화\n굿\n다시 보고 싶은 영화...\n정말 재미있는 영화\n\n")
    return TextsConfig(file=str(file))


@pytest.fixture(name="labels", scope="module")
def fixture_labels(tmp_path_factory, examples, pushed, table):
    labels = standard_artifacts.Examples()
    labels.uri = str(tmp_path_factory.mktemp("labels"))
    config = DistillConfig(teachers=pushed, texts=(table,))
    properties = {
        executor.CONFIG: config.model_dump_json(include=executor.SETTINGS),
        executor.TASK: json.dumps(task_to_json(TASK)),
    }
    executor.Executor().Do({executor.EXAMPLES: [examples]}, {executor.LABELS: [labels]}, properties)
    return labels


def rows_of(labels, split):
    (chunk,) = teacher_labels.read_rows(teacher_labels.patterns(labels.uri, split), 100)
    texts, values, logits = chunk
    return {row[0].decode(): (label, *logit) for row, label, logit in zip(texts, values, logits.tolist(), strict=True)}


# The labels.


def test_texts_have_the_mean_logits_of_the_teachers_and_none_is_of_dev_or_test(labels):
    rows = rows_of(labels, teacher_labels.UNLABELLED_SPLIT)
    assert rows == {text: (1, 2.0 * len(text.encode())) for text in ("새 영화", TRAIN[0][0], TRAIN[1][0])}
    figures = teacher_labels.read_figures(labels.uri)
    assert (figures.rows, figures.left_out, figures.rejected) == (3, {"dev": 1, "test": 1}, {"blank_line": 1})


def test_teachers_are_measured_on_the_test_rows(labels, pushed):
    assert rows_of(labels, features.TEST_SPLIT) == {t: (label, 2.0 * len(t.encode())) for t, label in TEST}
    figures = teacher_labels.read_figures(labels.uri)
    assert (figures.metric, figures.test_rows, figures.value) == ("accuracy", 3, pytest.approx(2 / 3))
    assert [each["path"] for each in figures.teachers] == pushed
    assert [each["sha256"] for each in figures.teachers] == teachers.check(pushed, TASK)


def test_the_cache_key_has_the_content_of_teachers_and_tables(tmp_path, pushed, table):
    def fingerprint(*folders, texts=()):
        config = DistillConfig(teachers=folders, texts=texts)
        info = data_types.ExecutionInfo(exec_properties={executor.CONFIG: config.model_dump_json()})
        return driver.Driver(None).run(info).exec_properties[executor.FINGERPRINT].string_value

    copy = push(str(tmp_path / "copy"), 1)
    before = fingerprint(copy)
    assert before == fingerprint(copy) != fingerprint(pushed[1]) and before != fingerprint(copy, texts=[table])
    tf.saved_model.save(Table(2), copy)
    assert fingerprint(copy) != before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: os.remove(os.path.join(folder, "saved_model.pb")), "has no SavedModel"),
        (lambda folder: os.remove(os.path.join(folder, model_files.PUSH_RECORD)), "names no passed gates"),
        (lambda folder: push(folder, 1, checks=PASSED[:1]), "names no passed gates"),
        (lambda folder: push(folder, 1, [*PASSED, Check("model", "auc", False, 0.1, 0.7, "")]), "did not pass auc"),
        (lambda folder: tf.saved_model.save(Table(9), folder), "changed after the push"),
        (
            lambda folder: push(folder, 1, task=make_task(("document",), {"0": "good", "1": "bad"})),
            "predicts good, bad from text, should be bad, good from text",
        ),
        (lambda folder: push(folder, 1, task=make_task(("a", "b"), {"0": "bad", "1": "good"})), "text and text_pair"),
    ],
)
def test_a_teacher_has_to_be_a_pushed_model_with_the_same_labels(tmp_path, change, words):
    folder = push(str(tmp_path / "1"), 1)
    assert len(teachers.check([folder], TASK)) == 1
    change(folder)
    with pytest.raises(UserError, match=f"distill.teachers: {folder}: .*{words}"):
        teachers.check([folder], TASK)


# The loss.

CLASSES = {"0": "a", "1": "b", "2": "c"}
TASKS = (
    TASK,
    make_task(("document",), CLASSES),
    make_task(("document",), CLASSES, "ordinal"),
    make_task(("document",), {}, "regression", (0, 10)),
)


@pytest.mark.parametrize("task", TASKS, ids=["binary", "classes", "ordinal", "score"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_students_loss_is_smallest_at_the_teachers_logits(task, temperature):
    rng = np.random.default_rng(0)
    taught = tf.constant(rng.normal(size=[5, task.head_units]), tf.float32)
    logits = tf.Variable(taught)
    with tf.GradientTape() as tape:
        losses = task.distillation_losses(taught, logits, temperature)
    assert losses.shape == [5]
    np.testing.assert_allclose(tape.gradient(losses, logits), np.zeros(logits.shape), atol=1e-6)
    for _ in range(5):
        other = taught + tf.constant(rng.normal(size=taught.shape), tf.float32)
        assert np.all(task.distillation_losses(taught, other, temperature) > losses)


@pytest.mark.parametrize("task", TASKS[:3], ids=["binary", "classes", "ordinal"])
def test_a_sure_teacher_is_a_label(task):
    """With one-hot probabilities the loss is that of the label, and the answer is the label."""
    sure = {1: [[-40.0], [40.0]], 3: [[40.0, 0, 0], [0, 40.0, 0]], 2: [[-40.0, 0], [40.0, -40.0]]}[task.head_units]
    logits = np.random.default_rng(1).normal(size=[2, task.head_units]).astype(np.float32)
    expected = task.example_losses(np.array([0, 1]), logits)
    np.testing.assert_allclose(task.distillation_losses(tf.constant(sure), logits, 1.0), expected, rtol=1e-5)
    answers = task.answers_of(np.array(sure, np.float32))
    assert answers.tolist() == [0, 1] and answers.dtype == np.int64


# The training.


def train(folder, examples, labels, weight=1.0, **settings):
    """Runs the executor of the student's Trainer; returns the artifacts of the model and of its run."""
    trained, training = standard_artifacts.Model(), standard_artifacts.ModelRun()
    trained.uri, training.uri = str(folder / "model"), str(folder / "run")
    config = TrainerConfig(**{"epochs": 3, "batch_size": 4, "learning_rate": 0.02, "max_length": 16, **settings})
    custom = {
        "trainer": config.model_dump(),
        "task": task_to_json(TASK),
        "data": {},
        "checkpoints": str(folder / "checkpoints"),
        "distill": {"weight": weight, "temperature": 1.0},
    }
    student_trainer.Executor().Do(
        {
            "examples": [examples],
            "base_model": [encoders.save_artifact(str(folder / "encoder"))],
            student_trainer.TEACHER_LABELS: [labels],
        },
        {"model": [trained], "model_run": [training]},
        {
            "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
            "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["dev"])),
            "run_fn": import_path(run.run_fn),
            "custom_config": json.dumps(custom),
        },
    )
    return trained, training


def write_labels(folder, logit):
    """Labels of a teacher for texts that are not in the training split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    texts = [(f"배우들 연기가 좋았다 {i}".encode(),) for i in range(40)]
    logits = np.full([40, 1], logit, np.float32)
    teacher_labels.write_rows(artifact.uri, teacher_labels.UNLABELLED_SPLIT, texts, TASK.answers_of(logits), logits)
    return artifact


def test_a_student_learns_what_only_the_teacher_knows(tmp_path, examples):
    model_artifact, training = train(tmp_path, examples, write_labels(tmp_path / "labels", -2.0), epochs=8)
    served = path_utils.serving_model_dir(model_artifact.uri)
    logits = teachers.compute_logits(served, [("배우들 연기가 좋았다".encode(),)], "")
    # Half of the labelled rows are good, and none is like this text.
    assert logits[0, 0] < -1
    # 8 labelled rows and 40 of the teacher, in batches of 4.
    assert model_run.read_training(training.uri).curve[-1]["step"] == 8 * 12


def test_rows_of_the_teacher_follow_the_labelled_ones(tmp_path):
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(encoders.save(str(tmp_path / "encoder"))))
    labelled = reviews.Split(tokens.tokenise(preprocess, [b"great movie"], 16), np.array([1]), [], "digest")

    def add(name, logit):
        files = teacher_labels.patterns(write_labels(tmp_path / name, logit).uri, teacher_labels.UNLABELLED_SPLIT)
        return distillation.add_teacher_rows(labelled, files, preprocess, 16)

    added = add("a", -1.5)
    targets = distillation.targets_of(added)
    assert targets.labels.tolist() == [1] + 40 * [0]
    assert targets.is_labelled.tolist() == [True] + 40 * [False]
    assert targets.logits.tolist() == [[0.0]] + 40 * [[-1.5]]
    one = tokens.tokenise(preprocess, ["배우들 연기가 좋았다 7".encode()], 16)
    for name, expected in one.padded(np.array([0])).items():
        np.testing.assert_array_equal(added.tokens.padded(np.array([8]))[name], expected)
    assert added.digest == add("b", -1.5).digest != add("c", -1.6).digest


def test_a_labelled_row_has_its_own_loss_and_the_others_that_of_the_teacher():
    targets = distillation.Targets(np.array([1, 1]), np.array([[0.0], [2.0]], np.float32), np.array([True, False]))
    logits = tf.constant([[0.5], [0.5]])
    losses = distillation.losses(TASK, distillation.Distillation(weight=3.0, temperature=2.0), targets, logits)
    taught = TASK.distillation_losses(targets.logits, logits, 2.0)
    expected = [TASK.example_losses(targets.labels, logits)[0], 3.0 * taught[1]]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_a_trainings_key_has_the_weight_and_the_temperature(tmp_path):
    encoder = encoders.save(str(tmp_path / "encoder"))
    data = Reviews(None, *(reviews.Split(None, None, [], name) for name in ("train", "dev")))

    def key(**distill):
        custom = {"trainer": {}, "task": task_to_json(TASK), "checkpoints": str(tmp_path), "distill": distill}
        job = TrainingJob([], [], encoder, "", "", custom, ["files"] if distill else [])
        optimizer = model.build_optimizer(0.1, 1, 0.0)
        return run._open_checkpoints(job, data, tf.distribute.get_strategy(), optimizer, []).folder

    keys = [key(), key(weight=1.0, temperature=1.0), key(weight=2.0, temperature=1.0), key(weight=1.0, temperature=2.0)]
    assert len(set(keys)) == 4 and keys[1] == key(weight=1.0, temperature=1.0)


# The gate.


@pytest.mark.parametrize(
    ("right", "max_drop", "passed", "words"),
    [
        (900, 0.02, True, "accuracy 0.9000 is no worse than the 0.9000 of the teachers"),
        (890, 0.02, True, "accuracy 0.8900 is 0.0100 below the 0.9000 of the teachers, within gates.teacher.max_drop"),
        (870, 0.02, False, "below the 0.9000 of the teachers, more than gates.teacher.max_drop = 0.0200; with"),
        (899, 0.0, True, "more than gates.teacher.max_drop = 0.0000, but not significant"),
    ],
)
def test_a_student_may_lose_at_most_the_bound(right, max_drop, passed, words):
    student, taught = (np.arange(1000) < count for count in (right, 900))
    bound = TeacherBound(max_drop=max_drop)
    check = metric_checks.check_student(student.astype(float), taught.astype(float), bound, TASK)
    assert (check.gate, check.check, check.passed, check.bound) == ("model", "accuracy_below_teacher", passed, max_drop)
    assert words in check.reason
    assert titles.title_check(check.check, TASK.metric_titles) == "accuracy, below teacher"


def test_the_gate_runs_the_student_on_the_test_rows(labels, pushed, tmp_path):
    same = teacher.check_student(pushed[0], labels.uri, TeacherBound(), TASK)
    assert same.passed and same.value == 0
    # Two of three rows right, then one; 0.33 is far beyond the bound.
    worse = teacher.check_student(push(str(tmp_path / "worse"), -1), labels.uri, TeacherBound(max_drop=0.0), TASK)
    assert worse.value == pytest.approx(1 / 3)
    broken = teacher.check_student(str(tmp_path), labels.uri, TeacherBound(severity="warn"), TASK)
    assert not broken.passed and not broken.blocks and "failed to answer the test rows" in broken.reason


# The graph, the configuration and the summary.

CONFIG = os.path.join(os.path.dirname(__file__), "..", "..", "configs", "sample.yaml")


def test_only_a_configuration_with_teachers_has_their_node():
    def nodes(*overrides):
        config = load_config(CONFIG, ["serving.dir=/tmp/serving", *overrides])
        return {node.id: node for node in graph.create_pipeline(config, "root", "checkpoints").components}

    plain, taught = nodes(), nodes("distill.teachers=[/models/1]", "distill.weight=0.5")
    assert taught.keys() - plain.keys() == {"TeacherLabels"}
    takers = {name for name, node in taught.items() if "teacher_labels" in node.inputs}
    assert takers == {"Trainer", "ModelGate", "RunReport"}
    assert not any("teacher_labels" in node.inputs for node in plain.values())
    assert "max_drop" in json.loads(taught["ModelGate"].exec_properties["gate"])["bounds"]["teacher"]
    assert "distill" not in plain["Trainer"].exec_properties["custom_config"]
    custom = json.loads(taught["Trainer"].exec_properties["custom_config"])
    # The teachers and tables are in the key of TeacherLabels alone.
    assert custom["distill"] == {"weight": 0.5, "temperature": 1.0}
    assert isinstance(taught["TeacherLabels"].outputs["labels"], types.BaseChannel)


def test_relative_teachers_and_tables_are_those_of_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "name: r\ndata: {train: t.tsv}\ndistill: {teachers: [serving/1], texts: [{file: more.tsv}]}\n"
    )
    distill = load_config(str(tmp_path / "run.yaml")).distill
    assert distill.teachers == (str(tmp_path / "serving" / "1"),)
    assert distill.texts[0].file == str(tmp_path / "more.tsv")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("distill={}", "distill.teachers"),
        ("distill={teachers: [a], texts: [{file: b, text: [c, d]}]}", "text = c, d: should be as many columns"),
        ("distill={teachers: [a], texts: [{file: b, score: c}]}", "score = c: only a pre-training uses it"),
    ],
)
def test_a_wrong_section_is_refused(override, words):
    with pytest.raises(UserError, match=words):
        load_config(CONFIG, [override])


def test_the_summary_says_who_taught_and_what_was_lost(labels):
    figures = teacher_labels.read_figures(labels.uri)
    check = Check("model", "accuracy_below_teacher", True, 0.0123, 0.02, "")
    run_summary = summary.Summary("n", "pushed", distillation=figures, gates=[check])
    assert summary.describe_distillation(run_summary) == (
        "learned from 2 teachers with accuracy 0.6667, on 3 texts; the student is 0.0123 below them"
    )
    better = dataclasses.replace(run_summary, gates=[dataclasses.replace(check, value=-0.0123)])
    assert summary.describe_distillation(better).endswith("; the student is 0.0123 above them")
    assert summary.describe_distillation(dataclasses.replace(run_summary, distillation=None)) == ""
