"""ServingValidator: real models through the real executor; each faulty one is stopped by one check."""

import dataclasses
import json
import os

import pytest
import tensorflow as tf
from tfx.dsl.compiler import compiler
from tfx.dsl.components.common import importer
from tfx.orchestration import pipeline
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from artifacts.model_run import GoldenAnswers
from components import gate_config
from components.serving_validator import executor, judge, process, references, request_set
from components.serving_validator.component import ServingValidator
from components.serving_validator.model_server import NotRun
from core import checks
from core.config import ServingGateConfig
from core.errors import UserError
from schema import features
from tests import saved_models
from tests.saved_models import TASK

REVIEWS = [f"정말 {word} 영화였다 {'!' * i}" for i, word in enumerate(["좋은", "나쁜", "긴", "슬픈"])]
LATENCIES = ["latency_p50_ms", "latency_p99_ms"]


def failed(checks):
    return [check.check for check in checks if not check.passed]


def reason_of(checks, name):
    return next(check.reason for check in checks if check.check == name)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names([features.TEST_SPLIT])
    folder = artifact_utils.get_split_uri([artifact], features.TEST_SPLIT)
    os.makedirs(folder)
    with tf.io.TFRecordWriter(os.path.join(folder, "data-00000-of-00001.gz"), "GZIP") as writer:
        for review in REVIEWS:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[review.encode()]))
            example = tf.train.Example(features=tf.train.Features(feature={features.DOCUMENT: value}))
            writer.write(example.SerializeToString())
    return artifact


def golden_answers(folder):
    """The answers of a SavedModel, in one batch."""
    outputs = saved_models.predict(folder, [review.encode() for review in REVIEWS])
    numbers = {name: values.tolist() for name, values in outputs.items() if values.dtype != object}
    return GoldenAnswers(REVIEWS, numbers)


def validate(tmp_path, model, examples, golden, **bounds):
    """Runs the executor."""
    model_run, blessing = standard_artifacts.ModelRun(), standard_artifacts.InfraBlessing()
    model_run.uri, blessing.uri = str(tmp_path / "model_run"), str(tmp_path / "blessing")
    for artifact in (model_run, blessing):
        os.makedirs(artifact.uri)
    (tmp_path / "model_run" / "golden.json").write_text(json.dumps(dataclasses.asdict(golden)))
    config = ServingGateConfig(**{"model_server": "off", **bounds})
    inputs = {"model": [model], "model_run": [model_run], "examples": [examples]}
    executor.Executor().Do(inputs, {"blessing": [blessing]}, {"gate": gate_config.dump(TASK, config)})
    return blessing, checks.read_checks(blessing.uri)


def validate_changed(tmp_path, examples, change, **bounds):
    """Runs the executor on a faulty model that agrees with its training process on single reviews."""
    model = saved_models.save_artifact(str(tmp_path / "model"), change=change)
    return validate(tmp_path, model, examples, golden_answers(path_utils.serving_model_path(model.uri)), **bounds)


def test_good_model_is_blessed_despite_warnings(tmp_path, examples, caplog):
    caplog.set_level("INFO", "reviews.progress")
    model = saved_models.save_artifact(str(tmp_path / "model"))
    golden = golden_answers(path_utils.serving_model_path(model.uri))
    bounds = {"max_p50_ms": 1e-3, "severity": {"latency_p50_ms": "warn"}}
    blessing, checks = validate(tmp_path, model, examples, golden, **bounds)
    assert failed(checks) == ["latency_p50_ms"]
    assert blessing.get_int_custom_property("blessed") == 1
    assert sorted(os.listdir(blessing.uri)) == ["INFRA_BLESSED", "checks.json"]
    values = {check.check: check.value for check in checks}
    assert values["agrees_with_training"] <= 1e-5
    assert values["concurrent_callers"] <= 1e-5
    assert 0.0 < values["latency_p50_ms"] <= values["latency_p99_ms"] < 1000.0
    assert 100.0 < values["memory_mb"] < 4000.0
    assert values["model_server"] == "not run"
    assert "no input, an unknown input" in reason_of(checks, "refuses_bad_input")
    assert "querying the exported model" in caplog.text


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The transcript of a good model in a fresh process, and its answers in this one."""
    folder = saved_models.save(str(tmp_path_factory.mktemp("model")))
    rows = [(review.encode(),) for review in REVIEWS]
    requests = request_set.build_requests(rows, rows)
    return process.query_in_fresh_process(folder, requests, ServingGateConfig()), golden_answers(folder)


def run_checks(transcript, golden, **bounds):
    return judge.judge(transcript, [], NotRun("off"), golden, ServingGateConfig(**bounds), TASK)


def test_correct_but_slow_model_fails_latency_only(good):
    assert failed(run_checks(*good)) == []
    assert failed(run_checks(*good, max_p50_ms=1e-3, max_p99_ms=1e-3)) == LATENCIES


def test_model_that_uses_too_much_memory_fails_memory_only(good):
    assert failed(run_checks(*good, max_memory_mb=50.0)) == ["memory_mb"]


def test_graph_that_is_not_the_trained_one_fails_agreement_only(good, tmp_path):
    trained = golden_answers(saved_models.save(str(tmp_path), seed=1))
    assert failed(run_checks(good[0], trained)) == ["agrees_with_training"]


def depends_on_batch(text, logit):
    return logit + 0.01 * tf.cast(tf.shape(text)[0], tf.float32)


def test_batch_dependent_model_fails_batch_independence_only(tmp_path, examples):
    blessing, checks = validate_changed(tmp_path, examples, depends_on_batch)
    assert failed(checks) == ["batch_independent"]
    assert blessing.get_int_custom_property("blessed") == 0
    assert sorted(os.listdir(blessing.uri)) == ["INFRA_NOT_BLESSED", "checks.json"]


def crashes_on_empty_text(text, logit):
    def abort():
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="no text")]):
            return tf.identity(logit)

    return tf.cond(tf.reduce_any(tf.equal(text, "")), abort, lambda: logit)


def test_crash_on_a_hostile_text_fails_those_only(tmp_path, examples):
    _, checks = validate_changed(tmp_path, examples, crashes_on_empty_text)
    assert failed(checks) == ["answers_hostile_rows"]
    reason = reason_of(checks, "answers_hostile_rows")
    assert "empty string: the process was killed by SIGABRT" in reason
    assert "batch of 1,000: not sent" in reason
    assert reason_of(checks, "model_server").endswith("the model failed in a fresh process")


class StatefulModel(tf.Module):
    """Keeps the logits in a variable during other work, which is correct for one caller at a time only."""

    def __init__(self):
        super().__init__()
        self.kept = tf.Variable(tf.zeros([0]), shape=[None])

    def __call__(self, text, logit):
        with tf.control_dependencies([self.kept.assign(logit)]):
            # A few milliseconds of work that can't be folded into a constant, so that callers overlap.
            work = tf.fill([256, 256], tf.reduce_sum(logit))
        for _ in range(4):
            work = tf.tanh(tf.linalg.matmul(work, work))
        with tf.control_dependencies([work]):
            # Without this dependency, the work would be pruned from the graph.
            return self.kept.read_value() + 1e-30 * work[0, 0]


def test_thread_unsafe_model_fails_concurrency_only(tmp_path, examples):
    _, checks = validate_changed(tmp_path, examples, StatefulModel())
    assert failed(checks) == ["concurrent_callers"]


def test_model_that_reads_a_file_where_it_was_made_is_not_self_contained(tmp_path, examples):
    words = tmp_path / "model" / "Format-Serving" / "words.txt"
    words.parent.mkdir(parents=True)
    words.write_text("말")

    def reads(text, logit):
        return logit + 0.0 * tf.cast(tf.strings.length(tf.io.read_file(str(words))), tf.float32)

    _, checks = validate_changed(tmp_path, examples, reads)
    assert failed(checks) == ["self_contained"]
    assert str(words) in reason_of(checks, "self_contained")


def test_model_that_joins_a_path_to_its_own_folder_is_not_self_contained(tmp_path):
    folder = str(tmp_path / "model")

    def reads(text, logit):
        path = tf.strings.join([folder, "/", tf.strings.substr(text[0], 0, 2)])
        return logit + tf.cast(tf.strings.length(tf.io.read_file(path)), tf.float32)

    assert references.outside_files(saved_models.save(folder, change=reads)) == [folder]


def test_strings_that_look_like_paths_pass(tmp_path):
    def looks(text, logit):
        return logit + tf.cast(tf.reduce_any(text[0] == tf.constant(["/", "/no/such", "/a\0b", "말"])), tf.float32)

    assert references.outside_files(saved_models.save(str(tmp_path / "model"), change=looks)) == []


def test_truncated_model_does_not_load(tmp_path, examples):
    model = saved_models.save_artifact(str(tmp_path / "model"))
    path = path_utils.serving_model_path(model.uri)
    golden = golden_answers(path)
    os.truncate(os.path.join(path, "saved_model.pb"), 1000)
    blessing, checks = validate(tmp_path, model, examples, golden)
    assert failed(checks) == ["loads"]
    assert blessing.get_int_custom_property("blessed") == 0


def test_model_that_takes_too_long_to_load_is_ended(tmp_path, examples):
    _, checks = validate_changed(tmp_path, examples, lambda text, logit: logit, startup_timeout_s=0.3)
    assert failed(checks) == ["loads"]
    assert "did not load the model within 0.3 s (gates.serving.startup_timeout_s)" in reason_of(checks, "loads")


def test_empty_test_split(tmp_path, good):
    empty = standard_artifacts.Examples()
    empty.uri = str(tmp_path / "examples")
    empty.split_names = artifact_utils.encode_split_names([features.TEST_SPLIT])
    model = saved_models.save_artifact(str(tmp_path / "model"))
    with pytest.raises(UserError, match="data.test"):
        validate(tmp_path, model, empty, good[1])


def test_component_compiles():
    inputs = {
        key: importer.Importer("/nowhere", artifact_class).with_id(key)
        for key, artifact_class in (
            ("model", standard_artifacts.Model),
            ("model_run", standard_artifacts.ModelRun),
            ("examples", standard_artifacts.Examples),
        )
    }
    validator = ServingValidator(**{key: node.outputs["result"] for key, node in inputs.items()}, gate="{}")
    compiled = compiler.Compiler().compile(pipeline.Pipeline("p", "/nowhere", components=[*inputs.values(), validator]))
    node = next(n.pipeline_node for n in compiled.nodes if n.pipeline_node.node_info.id == "ServingValidator")
    assert set(node.inputs.inputs) == {"model", "model_run", "examples"}
    assert node.outputs.outputs["blessing"].artifact_spec.type.name == "InfraBlessing"
    assert node.parameters.parameters["gate"].field_value.string_value == "{}"
