"""What a push adds beside the model: the model card for people, and requests to warm up with."""

import dataclasses
import json
import os
import pathlib

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx.types import standard_artifacts

from artifacts import evaluation, model_card, model_files
from artifacts.model_run import TrainingFigures
from components.pusher import warm_up
from components.run_report import model_page
from components.run_report.summary import DataSummary, EncoderSummary, SplitRows, Summary
from components.serving_validator import request_set
from core.checks import Check
from schema.task import make_task
from tests import saved_models
from tests.components.report_test import EVALUATION
from tests.pushes import digest_of, push, versions

SUMMARY = Summary(
    pipeline="reviews of films",
    status="not_blessed",
    rows={"train": SplitRows(70, {"bad_label": 2}, 1), "test": SplitRows(30, {})},
    data=DataSummary({"train": ["/data/a|b.tsv", "https://x.org/c.tsv"], "test": []}, "f" * 64, "/examples"),
    encoder=EncoderSummary("hub", "bert_multi_cased", "e" * 64, "/encoder", 12, 768, 119_547),
    training=TrainingFigures(1.0, 0.1, 1.0, 2, [{"epoch": 1}, {"epoch": 2}], "float32", 1, "native", threshold=0.4),
    metrics={"candidate": {"accuracy": 0.7778, "example_count": 9}, "baseline": {"accuracy": 0.75}},
    gates=[
        Check("data", "x", False, 1, 2, "3 texts of <b>test</b> are in train", "warn"),
        Check("data", "y", True, 1, 2, "the check passed"),
    ],
    versions={"python": "3.10"},
)


def save_model(folder, task=saved_models.TASK, packing=model_card.PLAIN_PACKING):
    model_card.write(saved_models.save(str(folder)), model_card.ModelCard(task, {}, 128, packing))
    return str(folder)


def render(folder, summary=SUMMARY, evaluated=EVALUATION, profile=None):
    return model_page.render(summary, evaluated, profile, folder)


def test_the_page_has_data_metrics_slices_limits_and_licence(tmp_path):
    page = render(save_model(tmp_path / "model"))
    assert page.startswith("# reviews of films\n\nPredicts 부정, 긍정 from a text")
    for line in (
        "Files: train: a|b.tsv, https://x.org/c.tsv. SHA-256 of their content: `" + "f" * 64 + "`.",
        "| train | 70 | 2 | 1 |",
        "| accuracy | 0.7778 | 0.453 to 0.937 | 0.7500 |",
        "| length 1-9 | 9 | 0.7778 | 0.450 to 0.940 | 0.55 |",
        "- Of a text only the first 128 tokens are read.",
        "- Warning of the run: 3 texts of &lt;b&gt;test&lt;/b&gt; are in train",
        "`label` is a number from 0: 0 is 부정, 1 is 긍정.",
        "| `label_name` | string[n] |",
        "**What it needs:** TensorFlow Serving 2.14 or newer, or TensorFlow 2.14 or newer with TF Text.",
        "Fine-tuned in float32; epoch 2 of 2 was kept.",
    ):
        assert line in page.splitlines(), page
    assert "Licence of its weights: Apache-2.0." in page
    assert "at a threshold of 0.4" in page and "the check passed" not in page
    (request,) = [line for line in page.splitlines() if line.startswith("curl")]
    assert json.loads(request.split("'")[1]) == {"instances": [{"text": "이것은 놀라운 영화입니다!"}]}


def test_a_run_that_recorded_nothing_has_a_page_too(tmp_path):
    page = render(save_model(tmp_path / "model"), Summary("", "not_blessed"), None)
    assert page.startswith("# Model\n") and page.count("Not recorded.") == 2 and "Encoder: not recorded." in page


def test_what_a_model_needs_follows_from_its_operations(tmp_path):
    import tensorflow_text

    class Trimming(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def trim(self, text):
            tokens = tf.strings.bytes_split(text)
            return tensorflow_text.RoundRobinTrimmer(3).trim([tokens, tokens])[0].to_tensor()

    tf.saved_model.save(Trimming(), str(tmp_path / "model"))
    pairs = make_task(("question", "sentence"), {"0": "no", "1": "yes"})
    card = model_card.ModelCard(pairs, {}, 128)
    model_card.write(str(tmp_path / "model"), card)
    page = render(str(tmp_path / "model"))
    assert "TensorFlow Serving 2.20 or newer, or TensorFlow with TF Text 2.13 or newer: pairs are packed" in page
    assert "Texts are packed by the encoder's own preprocess model." in page
    assert 'model(tf.constant(["이것은 놀라운 영화입니다!"]), tf.constant(["정말 최고다"]))' in page


@pytest.mark.parametrize(
    "encoder, licence",
    [
        (dataclasses.replace(SUMMARY.encoder, handle="/encoders/mine"), "The licence of its weights is not known"),
        (dataclasses.replace(SUMMARY.encoder, handle="experts_pubmed"), "The licence of its weights is not known"),
        (dataclasses.replace(SUMMARY.encoder, source="pretrain", handle="2 x 128"), "Its weights were trained on the"),
    ],
)
def test_licences_of_other_encoders(encoder, licence):
    assert model_page.describe_licence(encoder).startswith(licence)


@pytest.fixture(name="pushed")
def _pushed(tmp_path):
    model = saved_models.save_artifact(str(tmp_path / "model"))
    save_model(os.path.join(model.uri, "Format-Serving"))
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(tmp_path / "blessing")
    os.makedirs(blessing.uri)
    blessing.set_int_custom_property("blessed", 1)
    evaluation.write(blessing.uri, EVALUATION)
    push(model, tmp_path / "serving", inputs={"model_blessing": [blessing]}, name="films")
    return model, tmp_path / "serving" / str(versions(tmp_path / "serving")[0])


def test_a_pushed_version_has_its_page_and_the_digest_of_the_candidate(pushed):
    model, version = pushed
    page = (version / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# films\n") and "| length 1-9 | 9 | 0.7778 |" in page
    assert model_files.model_sha256(str(version)) == digest_of(model)
    assert saved_models.predict(str(version), [b"a"])["label"].shape == (1,)


def read_warm_up(version):
    file = str(version / model_files.WARM_UP_REQUESTS)
    logs = [prediction_log_pb2.PredictionLog.FromString(each.numpy()) for each in tf.data.TFRecordDataset(file)]
    return [log.predict_log.request for log in logs]


def test_requests_to_warm_up_are_those_of_the_gate_without_reviews(pushed):
    requests = read_warm_up(pushed[1])
    assert {(each.model_spec.name, each.model_spec.signature_name) for each in requests} == {
        ("films", "serving_default")
    }
    texts = [tuple(tf.make_ndarray(each.inputs["text"]).tolist()) for each in requests]
    sent = {request.texts for request in request_set.build_requests([(b"a review",)], [(b"another",)])}
    assert len(texts) == 3 and set(texts) <= sent and not any(b"review" in text for row in texts for text in row)
    serve = tf.saved_model.load(str(pushed[1])).signatures["serving_default"]
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        assert serve(**inputs)["label"].shape == [1]


def test_requests_of_pairs_have_both_texts(tmp_path):
    warm_up.write(str(tmp_path), "pairs", 2)
    assert {tuple(sorted(request.inputs)) for request in read_warm_up(tmp_path)} == {("text", "text_pair")}
    sent = request_set.build_requests([(b"a", b"b")], [(b"a", b"b")])
    for request in request_set.requests_without_reviews(2):
        assert request.inputs in [each.inputs for each in sent]


def test_a_model_without_a_card_is_pushed_alone(tmp_path):
    model = saved_models.save_artifact(str(tmp_path / "model"))
    push(model, tmp_path / "serving")
    (version,) = (tmp_path / "serving").glob("[0-9]*")
    assert sorted(os.listdir(version / "assets.extra")) == ["push.json"]
    assert not pathlib.Path(version, "README.md").exists()
