"""Training with TFX's Trainer on a tiny real encoder, and the exported model."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  Registers the exported model's ops.
from tfx.components.trainer import executor
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils, proto_utils

from artifacts import model_card, model_run
from core.config import TrainerConfig
from core.errors import UserError
from launchers.base import import_path
from schema import features
from tests import encoders
from tests.trainer import tiny_training
from trainer import inference, pooled, reduced, reviews, run
from trainer.bert import Bert
from trainer.model import SavedEncoder, load_encoder
from trainer.tokens import MASK, TYPE_IDS, WORD_IDS

TASK = {"text_columns": ["document"], "labels": {"0": "나쁨", "1": "좋음"}}
DATA = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8"}
compute = pooled._compute
GOOD, BAD = "정말 재미있는 영화 {}", "시간이 아까웠다 {}"


def write_examples(folder, rows, shards=1):
    """Writes (id, text, label) rows as an Examples artifact with the splits train and dev."""
    for split in (features.TRAIN_SPLIT, features.DEV_SPLIT):
        os.makedirs(os.path.join(folder, f"Split-{split}"))
        for shard in range(shards):
            path = os.path.join(folder, f"Split-{split}", f"data-{shard}.gz")
            with tf.io.TFRecordWriter(path, "GZIP") as writer:
                for row_id, text, label in rows[shard::shards]:
                    example = tf.train.Example()
                    example.features.feature[features.ID].bytes_list.value.append(row_id.encode())
                    example.features.feature[features.DOCUMENT].bytes_list.value.append(text.encode())
                    example.features.feature[features.LABEL].int64_list.value.append(label)
                    writer.write(example.SerializeToString())
    examples = standard_artifacts.Examples()
    examples.uri = str(folder)
    examples.split_names = artifact_utils.encode_split_names([features.TRAIN_SPLIT, features.DEV_SPLIT])
    return examples


ROWS = [(str(i), (GOOD if i % 2 else BAD).format(i), i % 2) for i in range(40)]


def train(folder, rows=ROWS, shards=1, **config):
    """Runs the Trainer's executor; returns (model folder, model run folder)."""
    os.makedirs(folder)
    model, training_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
    model.uri, training_run.uri = os.path.join(folder, "model"), os.path.join(folder, "run")
    settings = TrainerConfig(**{"epochs": 6, "batch_size": 4, "learning_rate": 0.02, "max_length": 16, **config})
    executor.GenericExecutor().Do(
        {
            "examples": [write_examples(os.path.join(folder, "examples"), rows, shards)],
            "base_model": [encoders.save_artifact(os.path.join(folder, "encoder"))],
        },
        {"model": [model], "model_run": [training_run]},
        {
            "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
            "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["dev"])),
            "run_fn": import_path(run.run_fn),
            "custom_config": json.dumps(
                {"trainer": settings.model_dump(), "task": TASK, "data": DATA, "checkpoints": f"{folder}/checkpoints"}
            ),
        },
    )
    return path_utils.serving_model_dir(model.uri), training_run.uri


@pytest.fixture(scope="module", name="trained")
def _trained(tmp_path_factory):
    return train(str(tmp_path_factory.mktemp("trained") / "run"))


@pytest.fixture(scope="module", name="served")
def _served(trained):
    return tf.saved_model.load(trained[0])


def test_six_epochs_learn_to_classify(trained):
    history = model_run.read_training(trained[1]).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert set(history[0]) == {"epoch", "loss", "accuracy", "dev_loss", "dev_accuracy"}
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["dev_accuracy"] for row in history) > 0.9


def test_the_best_epoch_on_dev_is_exported(trained):
    training, golden = model_run.read_training(trained[1]), model_run.read_golden(trained[1])
    best = training.history[training.best_epoch - 1]["dev_accuracy"]
    assert best == max(row["dev_accuracy"] for row in training.history)
    right = [label == ("재미" in text) for text, label in zip(golden.text, golden.outputs["label"], strict=True)]
    assert np.mean(right) == pytest.approx(best)


def test_the_exported_model_agrees_with_the_training_process(trained, served):
    golden = model_run.read_golden(trained[1])
    outputs = served.signatures["serving_default"](text=tf.constant(golden.text))
    assert {name: (t.dtype.name, t.shape.rank) for name, t in outputs.items()} == {
        "probability": ("float32", 1),
        "label": ("int64", 1),
        "label_name": ("string", 1),
        "logit": ("float32", 1),
    }
    for name, values in golden.outputs.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-5)
    names = [("나쁨", "좋음")[label] for label in golden.outputs["label"]]
    assert [name.decode() for name in outputs["label_name"].numpy()] == names


def test_both_signatures_agree(served):
    example = tf.train.Example()
    example.features.feature[features.DOCUMENT].bytes_list.value.append("재미있는".encode())
    by_example = served.signatures["serving_examples"](examples=tf.constant([example.SerializeToString()]))
    by_text = served.signatures["serving_default"](text=tf.constant(["재미있는"]))
    assert float(by_example["logit"][0]) == pytest.approx(float(by_text["logit"][0]), abs=1e-6)


@pytest.mark.parametrize(
    "texts", [[], [""], [b"\xff\xfe"], ["a\0b"], ["가" * 100_000], ["😀"], ["좋다", "x" * 500, ""]]
)
def test_predictions_are_finite_for_any_bytes(served, texts):
    outputs = served.signatures["serving_default"](text=tf.constant(texts, tf.string))
    assert outputs["probability"].shape == [len(texts)]
    assert np.isfinite(outputs["logit"].numpy()).all()


def scalars(folder, run):
    """Returns TensorBoard's scalars of one of its runs: tag -> {step: value}."""
    (file,) = tf.io.gfile.glob(os.path.join(folder, model_run.LOGS_DIR, run, "events*"))
    values = {}
    for event in tf.compat.v1.train.summary_iterator(file):
        for value in event.summary.value:
            values.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return values


def test_the_curve_has_the_learning_rate_of_each_step(trained):
    figures = model_run.read_training(trained[1])
    rates = {point["step"]: point["learning_rate"] for point in figures.curve}
    assert scalars(trained[1], "train")["learning_rate"] == pytest.approx(rates, rel=1e-6)
    steps = figures.curve[-1]["step"]
    assert rates[1] == 0.0 and max(rates.values()) <= 0.02 and rates[steps] < rates[steps - 1]
    last = figures.history[-1]
    assert scalars(trained[1], "dev")["accuracy"][steps] == pytest.approx(last["dev_accuracy"], rel=1e-6)


def test_logs_pictures_and_the_model_card_are_written(trained):
    for name in (model_run.HISTORY_PICTURE, model_run.MODEL_PICTURE):
        with open(os.path.join(trained[1], name), "rb") as stream:
            assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    assert scalars(trained[1], "train").keys() == {"loss", "accuracy", "learning_rate"}
    assert scalars(trained[1], "dev").keys() == {"loss", "accuracy"}
    card = model_card.read(trained[0])
    assert card.task.label_names == ("나쁨", "좋음") and card.data == DATA and card.max_length == 16


def test_the_same_seed_gives_the_same_weights_for_any_shards(trained, tmp_path):
    again = model_run.read_golden(train(str(tmp_path / "again"), rows=ROWS[::-1], shards=3)[1])
    assert again == model_run.read_golden(trained[1])


def test_a_large_table_is_trained_on_the_pieces_that_occur_and_exported_whole(trained, served, tmp_path, monkeypatch):
    monkeypatch.setattr(reduced, "LARGE_TABLE", 1)
    folder, training_run = train(str(tmp_path / "reduced"))
    for ours, theirs in zip(
        *(model_run.read_training(each).history for each in (training_run, trained[1])), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-3)
    exported = tf.saved_model.load(folder)
    golden = model_run.read_golden(training_run)
    outputs = exported.signatures["serving_default"](text=tf.constant(golden.text))
    np.testing.assert_allclose(outputs["logit"], golden.outputs["logit"], atol=1e-5)
    np.testing.assert_allclose(outputs["logit"], model_run.read_golden(trained[1]).outputs["logit"], atol=1e-2)
    # Pieces that training never saw.
    unseen = tf.constant(["great movie 굿"])
    answers = [each.signatures["serving_default"](text=unseen)["logit"] for each in (exported, served)]
    np.testing.assert_allclose(*answers, atol=1e-2)


def test_a_finished_training_leaves_no_checkpoints(trained):
    folder = os.path.join(os.path.dirname(trained[1]), "checkpoints")
    assert os.listdir(folder) == []


def test_feature_based_training_does_not_change_the_encoder(tmp_path):
    folder, run = train(str(tmp_path / "frozen"), mode="feature_based", head_learning_rate=0.05, epochs=4)
    history = model_run.read_training(run).history
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(point["learning_rate"] for point in model_run.read_training(run).curve) > 0.03
    before = load_encoder(os.path.join(path_utils.serving_model_dir(str(tmp_path / "frozen" / "encoder")), "encoder"))
    after = {v.name: v for v in tf.saved_model.load(folder)._classifier.encoder._variables}
    folded = {weight.name: weight for weight in inference.FoldedBert(before).weights}
    assert after.keys() == folded.keys() and len(folded) > 10
    for name, weight in folded.items():
        np.testing.assert_array_equal(after[name], weight)


def test_a_model_with_mean_pooling_is_served_as_it_was_trained(tmp_path):
    folder, training_run = train(str(tmp_path / "mean"), pooling="mean", epochs=3)
    figures, golden = model_run.read_training(training_run), model_run.read_golden(training_run)
    assert figures.encoder == "native" and figures.history[-1]["dev_accuracy"] > 0.9
    outputs = tf.saved_model.load(folder).signatures["serving_default"](text=tf.constant(golden.text))
    np.testing.assert_allclose(outputs["logit"], golden.outputs["logit"], atol=1e-5)


def test_another_rate_or_dropout_reuses_the_vectors_of_a_frozen_encoder(tmp_path, monkeypatch):
    def tune(name, **settings):
        settings = {"mode": "feature_based", "epochs": 1, "batch_size": 4, **settings}
        run.run_fn(tiny_training.job(inputs, tmp_path / name, tmp_path / f"{name} run", tmp_path / "root", **settings))
        return model_run.read_golden(str(tmp_path / f"{name} run"))

    inputs = tiny_training.write_inputs(tmp_path)
    first = tune("first", head_learning_rate=0.05)
    computed = []
    monkeypatch.setattr(pooled, "_compute", lambda *arguments: computed.append(1) or compute(*arguments))
    assert tune("second", head_learning_rate=0.001, dropout=0.0) != first
    assert not computed
    tune("other", head_learning_rate=0.05, pooling="mean")
    assert len(computed) == 2
    # The trainings themselves have left nothing.
    assert {name[:9] for name in os.listdir(tmp_path / "root")} == {"features-"}


def test_reviews_are_read_in_an_order_that_does_not_depend_on_shards(tmp_path):
    preprocess = tf.saved_model.load(encoders.save(str(tmp_path / "encoder")) + "/preprocess")
    one = write_examples(str(tmp_path / "one"), ROWS).uri
    three = write_examples(str(tmp_path / "three"), ROWS[::-1], shards=3).uri
    first, second = (
        reviews.read_split([os.path.join(uri, "Split-train", "*")], preprocess, 16, "train") for uri in (one, three)
    )
    assert first.first_texts == second.first_texts and first.labels.tolist() == second.labels.tolist()
    assert first.digest == second.digest
    rows = np.arange(len(ROWS))
    np.testing.assert_array_equal(first.tokens.padded(rows)[WORD_IDS], second.tokens.padded(rows)[WORD_IDS])
    # Each text is in the same row as its tokens and label.
    own = preprocess.bert_pack_inputs(
        [preprocess.tokenize(tf.constant([text for (text,) in first.first_texts]))], tf.constant(16)
    )
    np.testing.assert_array_equal(first.tokens.padded(rows, 16)[WORD_IDS], own[WORD_IDS])
    labels = {text.encode(): label for _, text, label in ROWS}
    assert first.labels.tolist() == [labels[text] for (text,) in first.first_texts]
    other = write_examples(str(tmp_path / "other"), [(*ROWS[0][:2], 1), *ROWS[1:]]).uri
    assert reviews.read_split([os.path.join(other, "Split-train", "*")], preprocess, 16, "train").digest != first.digest


def test_a_rebuilt_encoder_computes_the_same_as_the_saved_model(tmp_path):
    folder = os.path.join(encoders.save(str(tmp_path / "encoder")), "encoder")
    rebuilt, loaded = load_encoder(folder), tf.saved_model.load(folder)
    ids = np.array([[2, 7, 9, 3, 0], [2, 5, 3, 0, 0]], np.int32)
    types = np.array([[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]], np.int32)
    inputs = {WORD_IDS: tf.constant(ids), MASK: tf.constant((ids > 0).astype(np.int32)), TYPE_IDS: tf.constant(types)}
    np.testing.assert_allclose(rebuilt(inputs), loaded(inputs)["pooled_output"], atol=1e-5)
    assert isinstance(rebuilt, Bert)
    names = {variable.name for variable in loaded.trainable_variables}
    assert {weight.name for weight in rebuilt.weights} == names


def test_an_encoder_other_than_bert_is_trained_as_a_saved_model(tmp_path):
    table = tf.Variable(np.eye(10, 4, dtype=np.float32), name="table")
    inputs = {name: tf.TensorSpec([None, None], tf.int32) for name in (WORD_IDS, MASK, TYPE_IDS)}

    @tf.function(input_signature=[inputs, tf.TensorSpec([], tf.bool)])
    def call(inputs, training):
        sequence = tf.gather(table, inputs[WORD_IDS])
        return {"pooled_output": tf.reduce_mean(sequence, 1), "sequence_output": sequence}

    bag = tf.train.Checkpoint(variables=[table], trainable_variables=[table], regularization_losses=[])
    bag.__call__ = call
    tf.saved_model.save(bag, str(tmp_path / "bag"))
    encoder = load_encoder(str(tmp_path / "bag"))
    ids = tf.constant([[1, 2]])
    outputs = encoder({WORD_IDS: ids, MASK: tf.ones_like(ids), TYPE_IDS: tf.zeros_like(ids)})
    np.testing.assert_allclose(outputs, [[0, 0.5, 0.5, 0]])
    assert isinstance(encoder, SavedEncoder) and len(encoder.weights) == 1


def test_a_damaged_encoder_is_rejected_before_it_is_loaded(tmp_path, monkeypatch):
    save = encoders.save_artifact

    def save_damaged(uri):
        artifact = save(uri)
        with open(os.path.join(path_utils.serving_model_dir(uri), "encoder", "saved_model.pb"), "ab") as file:
            file.write(b"x")
        monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("the encoder was loaded"))
        return artifact

    monkeypatch.setattr(encoders, "save_artifact", save_damaged)
    with pytest.raises(UserError, match="encoder: has the digest .*, but encoder.json records .*: delete .* and run"):
        train(str(tmp_path / "run"))


def test_a_threshold_moves_the_logits_and_nothing_else(tmp_path, trained):
    model, training_run = train(str(tmp_path / "run"), threshold=0.9)
    assert model_run.read_training(training_run).threshold == 0.9
    moved, golden = (model_run.read_golden(folder) for folder in (training_run, trained[1]))
    # As likely as nine to one.
    expected = np.array(golden.outputs["logit"]) - np.log(9)
    np.testing.assert_allclose(moved.outputs["logit"], expected, atol=1e-5)
    assert moved.outputs["label"] == (expected > 0).astype(int).tolist()


def test_balanced_weights_find_a_rare_class(tmp_path):
    rows = [(str(i), (GOOD if i % 10 == 0 else BAD).format(i), int(i % 10 == 0)) for i in range(60)]
    logits = []
    for weights in ("none", "balanced"):
        _, training_run = train(str(tmp_path / weights), rows, epochs=1, class_weights=weights)
        logits.append(np.array(model_run.read_golden(training_run).outputs["logit"]))
    # After one epoch, the prior: nine to one without weights, even with them.
    assert logits[1].mean() > logits[0].mean() + 0.2
