"""ServingValidator: each verdict by literal answers, then real models through the real process."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tfx.dsl.compiler import compiler
from tfx.dsl.components.common import importer
from tfx.orchestration import pipeline
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.serving_validator import answers, executor, judge, process, request_set
from components.serving_validator.answers import Answer, Output, Response
from components.serving_validator.component import ServingValidator
from components.serving_validator.request_set import ALONE, GOLDEN, HOSTILE, TOGETHER, Request
from pipeline import gates
from pipeline.config import ServingGateConfig
from pipeline.errors import UserError
from schema import features
from tests import saved_models
from tests.saved_models import TASK
from trainer.model_run import GoldenAnswers

BOUNDS = ServingGateConfig()
CHECKS = [
    "loads",
    "answers_real_rows",
    "answers_hostile_rows",
    "agrees_with_training",
    "batch_independent",
    "latency_p99_ms",
    "memory_mb",
]
GOLDEN_ANSWERS = GoldenAnswers(
    text=["a", "b"], outputs={"probability": [0.5, 0.75], "label": [0, 1], "logit": [0.0, 1.0986123]}
)


def outputs(*probabilities, **replaced):
    values = np.array(probabilities)
    of = {
        "probability": Output("float32", values),
        "label": Output("int64", (values > 0.5).astype(np.float64)),
        "logit": Output("float32", np.log(values / (1 - values))),
    }
    return {**of, **replaced}


def response(*probabilities, **replaced):
    return Response(outputs(*probabilities, **replaced), latency_ms=2.0, peak_memory_mb=500.0)


def good():
    """Requests with the answers of a model that passes every check."""
    return {
        Request("a alone", ALONE, (b"a",)): response(0.5),
        Request("b alone", ALONE, (b"b",)): response(0.75),
        Request("together", TOGETHER, (b"b", b"a")): response(0.75, 0.5),
        Request("from training", GOLDEN, (b"a", b"b")): response(0.5, 0.75),
        Request("empty string", HOSTILE, (b"",)): response(0.3),
        Request("batch of 0", HOSTILE, ()): response(),
        Request("mixed", HOSTILE, (b"", b"a")): response(0.3, 0.5),
    }


def judged(answered=None, bounds=BOUNDS, golden=GOLDEN_ANSWERS, **changed):
    """Judges the good answers, with the responses to the named requests changed (`_` for a space)."""
    pairs = {request: changed.get(request.name.replace(" ", "_"), r) for request, r in good().items()}
    return judge.judge(answered or Answer(list(pairs), list(pairs.values())), golden, bounds, TASK)


def failed(checks):
    return [check.check for check in checks if not check.passed]


def reason_of(checks, name):
    return next(check.reason for check in checks if check.check == name)


def test_good_answers_pass_every_check():
    checks = judged()
    assert [check.check for check in checks] == CHECKS
    assert failed(checks) == []
    assert {check.gate for check in checks} == {"serving"}


@pytest.mark.parametrize(
    "only, changed, told",
    [
        ("answers_hostile_rows", {"empty_string": response(np.nan)}, "empty string: probability is not a finite"),
        ("answers_hostile_rows", {"batch_of_0": Response(error="InvalidArgumentError: no")}, "batch of 0: Invalid"),
        ("answers_hostile_rows", {"empty_string": None, "batch_of_0": None}, "empty string, batch of 0: it was never"),
        ("answers_hostile_rows", {"mixed": response(0.3)}, "float32[1], should be float32[2]"),
        ("answers_hostile_rows", {"mixed": response(0.3, 0.5, label=Output("int64", np.array([0.0, 5.0])))}, "label"),
        ("answers_real_rows", {"together": response(0.75, 0.5, logit=Output("float16", np.zeros(2)))}, "float16[2]"),
        ("answers_real_rows", {"b_alone": response(1.5)}, "b alone: logit is not a finite"),
        ("agrees_with_training", {"from_training": response(0.5, 0.7501)}, "differ by 0.0"),
        ("agrees_with_training", {"from_training": response(0.5, 0.75, label=Output("int64", np.ones(2) - 1))}, "0.5"),
        ("agrees_with_training", {"from_training": Response(error="boom")}, "could not be compared: boom"),
        ("batch_independent", {"together": response(0.75, 0.5001)}, "(together)"),
        ("batch_independent", {"mixed": response(0.3, 0.5001)}, "(mixed)"),
        (
            "latency_p99_ms",
            {"b_alone": dataclasses.replace(response(0.75), latency_ms=2000.0)},
            "over 2 requests; more than 1000 allows",
        ),
        ("memory_mb", {"mixed": dataclasses.replace(response(0.3, 0.5), peak_memory_mb=9000.0)}, "9000 MiB"),
    ],
)
def test_one_fault_fails_one_check(only, changed, told):
    checks = judged(**changed)
    assert failed(checks) == [only]
    assert told in reason_of(checks, only)


def test_label_may_turn_over_at_the_boundary_only():
    turned = response(0.5, 0.75, label=Output("int64", np.array([1.0, 1.0])))
    assert failed(judged(from_training=turned)) == []


def test_differences_are_relative_beyond_one():
    golden = GoldenAnswers(text=["a", "b"], outputs={**GOLDEN_ANSWERS.outputs, "logit": [0.0, 50.0]})
    near = response(0.5, 0.75, logit=Output("float32", np.array([0.0, 50.0004])))
    far = response(0.5, 0.75, logit=Output("float32", np.array([0.0, 50.001])))
    assert failed(judged(golden=golden, from_training=near)) == []
    assert failed(judged(golden=golden, from_training=far)) == ["agrees_with_training"]


@pytest.mark.parametrize("value, passes", [(1e-3, True), (1.001e-3, False)])
def test_a_bound_is_the_last_good_value(value, passes):
    bounds = ServingGateConfig(tolerance=1e-3)
    wrong = response(0.5, 0.75, logit=Output("float32", np.array([value, 1.0986123])))
    assert (failed(judged(bounds=bounds, from_training=wrong)) == []) is passes


def test_training_without_answers_or_with_nan_is_no_agreement():
    pairs = {request: r for request, r in good().items() if request.group != GOLDEN}
    assert failed(judged(Answer(list(pairs), list(pairs.values())))) == ["agrees_with_training"]
    golden = GoldenAnswers(text=["a", "b"], outputs={**GOLDEN_ANSWERS.outputs, "logit": [0.0, float("nan")]})
    (check,) = [check for check in judged(golden=golden) if not check.passed]
    assert (check.check, check.value) == ("agrees_with_training", None)


def test_model_that_does_not_load_has_one_check():
    (check,) = judged(Answer([], [], loaded=False, fault="OSError: no such model"))
    assert (check.check, check.passed) == ("loads", False)
    assert "OSError: no such model" in check.reason


def test_many_faulty_requests_are_counted():
    requests = [Request(f"review {i}", ALONE, (b"a",)) for i in range(25)]
    checks = judged(Answer(requests, [Response(error="boom")] * 25))
    assert "review 19 and 5 more: boom" in reason_of(checks, "answers_real_rows")


def lines(*records):
    return [json.dumps(record) + "\n" for record in records]


def test_answers_of_a_process_that_died():
    requests = [Request(name, HOSTILE, (b"",)) for name in ("first", "second", "third")]
    logit = {"dtype": "float32", "shape": [1], "values": [float("nan")]}
    written = lines(
        {"loaded": True},
        {"asked": 0},
        {"answered": 0, "latency_ms": 1.0, "peak_memory_mb": 2.0, "outputs": {"logit": logit}},
        {"asked": 1},
    )
    answer = answers.parse_answers([*written, '{"answered": 1, "outp'], requests, "was ended by SIGSEGV")
    assert answer.loaded
    assert np.isnan(answer.responses[0].outputs["logit"].values).all()
    assert answer.responses[1].error == "the process was ended by SIGSEGV"
    assert answer.responses[2] is None


@pytest.mark.parametrize(
    "written, end, fault",
    [
        (lines({"load_error": "OSError: x"}), None, "OSError: x"),
        ([], "was ended by SIGKILL", "the process was ended by SIGKILL"),
    ],
)
def test_answers_of_a_process_that_could_not_load(written, end, fault):
    answer = answers.parse_answers(written, [], end)
    assert (answer.loaded, answer.fault) == (False, fault)


@pytest.mark.parametrize("status, told", [(0, None), (1, "ended with exit status 1"), (-11, "was ended by SIGSEGV")])
def test_exit_status_in_words(status, told):
    assert process.describe_exit(status) == told


@pytest.fixture
def ask_script(tmp_path, monkeypatch):
    """Runs Python code in place of the probe, after it has loaded and asked."""

    def ask(code, **limits):
        (tmp_path / "probe.py").write_text(
            "import os, signal, sys, time\nanswers = open(sys.argv[2], 'w', buffering=1)\n"
            """answers.write('{"loaded": true}\\n{"asked": 0}\\n')\n""" + code
        )
        monkeypatch.setattr(process, "PROBE", str(tmp_path / "probe.py"))
        return process.ask_in_fresh_process(str(tmp_path), [Request("long", HOSTILE, (b"",))], **limits)

    return ask


def test_crash_is_told_with_its_signal_and_last_words(ask_script):
    code = (
        "sys.stderr.write('Check failed:\\x1b[31m boom\\n'); sys.stderr.flush(); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    answer = ask_script(code, startup_timeout_s=60.0)
    assert answer.loaded
    told = "the process was ended by SIGSEGV; its last words: Check failed:?[31m boom"
    assert (answer.fault, answer.responses[0].error) == (told, told)


def test_hanging_process_is_ended(ask_script, monkeypatch):
    monkeypatch.setattr(process, "ANSWER_TIMEOUT_S", 0.1)
    answer = ask_script("time.sleep(600)", startup_timeout_s=3.0)
    assert answer.responses[0].error.startswith("the process had not answered all requests after ")


def test_requests_hold_what_they_are_named_for():
    requests = {r.name: r for r in request_set.build_requests([b"long text", b"short"], [b"g"] * 65)}
    assert requests["batch of 0"].texts == ()
    assert requests["batch of 1,000"].texts == (b"short",) * 1000
    assert len(requests["100,000 characters"].texts[0].decode()) == 100_000
    with pytest.raises(UnicodeDecodeError):
        requests["invalid UTF-8"].texts[0].decode()
    assert [len(r.texts) for r in requests.values() if r.group == GOLDEN] == [64, 1]
    assert {r.texts for r in requests.values() if r.group == ALONE} == {(b"long text",), (b"short",)}
    assert list(requests)[-4:] == ["hostile texts and reviews together", "batch of 0", "batch of 1", "batch of 1,000"]


REVIEWS = [f"정말 {word} 영화였다 {'!' * i}" for i, word in enumerate(["좋은", "나쁜", "긴", "슬픈"])]


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


def validate(tmp_path, model, examples, golden_of, **bounds):
    """Runs the executor; the golden answers are those of the SavedModel in `golden_of`, asked all at once."""
    model_run, blessing = standard_artifacts.ModelRun(), standard_artifacts.InfraBlessing()
    model_run.uri, blessing.uri = str(tmp_path / "model_run"), str(tmp_path / "blessing")
    for artifact in (model_run, blessing):
        os.makedirs(artifact.uri)
    golden = saved_models.ask(golden_of, [review.encode() for review in REVIEWS])
    content = {"text": REVIEWS, "outputs": {name: values.tolist() for name, values in golden.items()}}
    (tmp_path / "model_run" / "golden.json").write_text(json.dumps(content))
    gate = {"serving": ServingGateConfig(**bounds).model_dump(), "task": dataclasses.asdict(TASK)}
    inputs = {"model": [model], "model_run": [model_run], "examples": [examples]}
    executor.Executor().Do(inputs, {"blessing": [blessing]}, {"gate": json.dumps(gate)})
    return blessing, gates.read_checks(blessing.uri)


def test_good_model_is_blessed(tmp_path, examples, caplog):
    caplog.set_level("INFO", "reviews.progress")
    model = saved_models.save_artifact(str(tmp_path / "model"))
    blessing, checks = validate(tmp_path, model, examples, path_utils.serving_model_path(model.uri))
    assert failed(checks) == []
    assert [check.check for check in checks] == CHECKS
    assert blessing.get_int_custom_property("blessed") == 1
    assert sorted(os.listdir(blessing.uri)) == ["INFRA_BLESSED", "checks.json"]
    values = {check.check: check.value for check in checks}
    assert values["agrees_with_training"] <= 1e-5
    assert 0.0 < values["latency_p99_ms"] < 1000.0
    assert 100.0 < values["memory_mb"] < 4000.0
    assert "asking the exported model" in caplog.text


def faulty(text, logit):
    """Depends on the size of the batch, and is not a number for an empty text."""
    logit += 0.01 * tf.cast(tf.shape(text)[0], tf.float32)
    return tf.where(tf.equal(text, ""), float("nan"), logit)


def test_faults_of_a_real_model_are_found(tmp_path, examples):
    model = saved_models.save_artifact(str(tmp_path / "model"), change=faulty)
    path = path_utils.serving_model_path(model.uri)
    blessing, checks = validate(tmp_path, model, examples, path, max_p99_ms=1e-3)
    assert failed(checks) == ["answers_hostile_rows", "batch_independent", "latency_p99_ms"]
    assert "empty string, hostile texts and reviews together: " in reason_of(checks, "answers_hostile_rows")
    assert blessing.get_int_custom_property("blessed") == 0
    assert sorted(os.listdir(blessing.uri)) == ["INFRA_NOT_BLESSED", "checks.json"]


def test_truncated_model_does_not_load(tmp_path, examples):
    whole = saved_models.save(str(tmp_path / "whole"))
    model = saved_models.save_artifact(str(tmp_path / "model"))
    os.truncate(os.path.join(path_utils.serving_model_path(model.uri), "saved_model.pb"), 1000)
    blessing, checks = validate(tmp_path, model, examples, whole)
    assert failed(checks) == ["loads"]
    assert blessing.get_int_custom_property("blessed") == 0


def test_model_that_takes_too_long_to_load_is_ended(tmp_path, examples):
    model = saved_models.save_artifact(str(tmp_path / "model"))
    path = path_utils.serving_model_path(model.uri)
    _, checks = validate(tmp_path, model, examples, path, startup_timeout_s=0.3)
    assert failed(checks) == ["loads"]
    assert "had not loaded the model after 0.3 s (gates.serving.startup_timeout_s)" in reason_of(checks, "loads")


def test_no_row_to_ask(tmp_path):
    empty = standard_artifacts.Examples()
    empty.uri = str(tmp_path / "examples")
    empty.split_names = artifact_utils.encode_split_names([features.TEST_SPLIT])
    model = saved_models.save_artifact(str(tmp_path / "model"))
    with pytest.raises(UserError, match="data.test"):
        validate(tmp_path, model, empty, path_utils.serving_model_path(model.uri))


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
