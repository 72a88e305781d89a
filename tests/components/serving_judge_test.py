"""ServingValidator's checks on literal responses."""

import dataclasses
import json

import numpy as np
import pytest

from artifacts.model_run import GoldenAnswers
from components.serving_validator import answers, judge, request_set
from components.serving_validator.answers import Output, Response, Transcript
from components.serving_validator.model_server import GRPC, REST, NotRun, Served
from components.serving_validator.request_set import (
    ALONE,
    CONCURRENT,
    GOLDEN,
    HOSTILE,
    MALFORMED,
    RECOVERY,
    TOGETHER,
    WRONG_SHAPE,
    Request,
)
from core.config import ServingGateConfig
from tests.saved_models import TASK

BOUNDS = ServingGateConfig()
CHECKS = [
    "loads",
    "self_contained",
    "answers_real_rows",
    "agrees_with_training",
    "batch_independent",
    "concurrent_callers",
    "latency_p50_ms",
    "latency_p99_ms",
    "refuses_bad_input",
    "answers_hostile_rows",
    "memory_mb",
    "model_server",
]
GOLDEN_ANSWERS = GoldenAnswers(
    text=["a", "b"], outputs={"probability": [0.5, 0.75], "label": [0, 1], "logit": [0.0, 1.0986123]}
)
NOT_RUN = NotRun("none here")


def outputs(*probabilities, **replaced):
    values = np.array(probabilities)
    with np.errstate(invalid="ignore"):
        logits = np.log(values / (1 - values))
    of = {
        "probability": Output("float32", values),
        "label": Output("int64", (values > 0.5).astype(np.float64)),
        "logit": Output("float32", logits),
    }
    labels = {**of, **replaced}["label"].values
    return {**of, "label_name": words(labels), **replaced}


def words(labels):
    """The output `label_name` for some labels."""
    names = dict(enumerate(TASK.label_names))
    return Output("string", np.array([names.get(int(label), "?") for label in labels], str))


def response(*probabilities, **replaced):
    return Response(outputs(*probabilities, **replaced), latency_ms=2.0, peak_memory_mb=500.0)


def refusal(message="InvalidArgumentError: no"):
    return Response(error=message, latency_ms=1.0, peak_memory_mb=500.0)


def death(message="the process was killed by SIGSEGV"):
    return Response(error=message, fatal=True)


def good():
    """Requests with the answers of a model that passes every check."""
    return {
        Request("a alone", ALONE, (b"a",)): response(0.5),
        Request("b alone", ALONE, (b"b",)): response(0.75),
        Request("together", TOGETHER, (b"b", b"a")): response(0.75, 0.5),
        Request("from training", GOLDEN, (b"a", b"b")): response(0.5, 0.75),
        Request("a at once", CONCURRENT, (b"a",)): response(0.5),
        Request("together at once", CONCURRENT, (b"b", b"a")): response(0.75, 0.5),
        Request("number", MALFORMED, malformed={"text": [1.5]}): refusal(),
        Request("table", WRONG_SHAPE, malformed={"text": [[b"a"]]}): response(0.5),
        Request("afterwards", RECOVERY, (b"a",)): response(0.5),
        Request("empty string", HOSTILE, (b"",)): response(0.3),
        Request("batch of 0", HOSTILE, ()): response(),
        Request("mixed", HOSTILE, (b"", b"a")): response(0.3, 0.5),
    }


def server_transcript(**changed):
    """A model server's transcript: the good one, changed as in `run_checks`."""
    pairs = {request: r for request, r in good().items() if request.group not in (CONCURRENT, RECOVERY)}
    return Transcript(list(pairs), [changed.get(request.name.replace(" ", "_"), r) for request, r in pairs.items()])


def served(rest=None, **changed):
    return Served("tensorflow_model_server", {REST: rest or server_transcript(), GRPC: server_transcript(**changed)})


def run_checks(transcript=None, bounds=BOUNDS, golden=GOLDEN_ANSWERS, server=NOT_RUN, outside=(), **changed):
    """Checks the good responses, with those to the named requests changed (`_` for a space)."""
    pairs = {request: changed.get(request.name.replace(" ", "_"), r) for request, r in good().items()}
    transcript = transcript or Transcript(list(pairs), list(pairs.values()))
    return judge.judge(transcript, outside, server, golden, bounds, TASK)


def failed(checks):
    return [check.check for check in checks if not check.passed]


def reason_of(checks, name):
    return next(check.reason for check in checks if check.check == name)


def test_good_answers_pass_every_check():
    checks = run_checks(server=served())
    assert [check.check for check in checks] == CHECKS
    assert failed(checks) == []
    assert {(check.gate, check.severity) for check in checks} == {("serving", "fail")}


def test_every_check_can_warn_instead():
    bounds = ServingGateConfig(severity={check: "warn" for check in CHECKS})
    checks = run_checks(bounds=bounds, afterwards=refusal("boom"))
    assert {check.severity for check in checks} == {"warn"}
    assert failed(checks) == ["refuses_bad_input"]
    assert not any(check.blocks for check in checks)


@pytest.mark.parametrize(
    "only, changed, words",
    [
        ("answers_hostile_rows", {"empty_string": response(np.nan)}, "empty string: probability is not finite"),
        ("answers_hostile_rows", {"batch_of_0": refusal()}, "batch of 0: Invalid"),
        ("answers_hostile_rows", {"empty_string": death(), "batch_of_0": None}, "batch of 0: not sent"),
        ("answers_hostile_rows", {"mixed": response(0.3)}, "float32[1], should be float32[2]"),
        ("answers_hostile_rows", {"mixed": response(0.3, 0.5, label=Output("int64", np.array([0.0, 5.0])))}, "label"),
        ("agrees_with_training", {"from_training": response(0.5, 0.7501)}, "differ by at most 0.0"),
        ("agrees_with_training", {"from_training": response(0.5, 0.75, label=Output("int64", np.ones(2) - 1))}, "0.5"),
        ("agrees_with_training", {"from_training": refusal("boom")}, "from training failed: boom"),
        ("batch_independent", {"mixed": response(0.3, 0.5001)}, "(mixed)"),
        (
            "concurrent_callers",
            {"a_at_once": response(0.5001)},
            "4 concurrent callers and to one differ by at most 0.0004",
        ),
        ("concurrent_callers", {"together_at_once": response(0.5, 0.75)}, "(together at once)"),
        ("concurrent_callers", {"a_at_once": response(0.5, 0.5)}, "a at once: probability is float32[2]"),
        ("concurrent_callers", {"a_at_once": death()}, "a at once: the process was killed by SIGSEGV"),
        ("refuses_bad_input", {"number": response(0.5)}, "number: answered without an error"),
        ("refuses_bad_input", {"number": death()}, "number: the process was killed by SIGSEGV"),
        ("refuses_bad_input", {"table": death()}, "table: the process was killed by SIGSEGV"),
        ("refuses_bad_input", {"afterwards": refusal("boom")}, "afterwards: boom"),
        (
            "latency_p99_ms",
            {"b_alone": dataclasses.replace(response(0.75), latency_ms=1050.0)},
            "over the limit of 1000",
        ),
        ("memory_mb", {"mixed": dataclasses.replace(response(0.3, 0.5), peak_memory_mb=9000.0)}, "9000 MiB"),
    ],
)
def test_one_fault_fails_one_check(only, changed, words):
    checks = run_checks(bounds=ServingGateConfig(max_p50_ms=600.0), **changed)
    assert failed(checks) == [only]
    assert words in reason_of(checks, only)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"together": response(0.75, 0.5, logit=Output("float16", np.zeros(2)))}, "float16[2]"),
        ({"b_alone": response(1.5)}, "b alone: logit is not finite"),
        ({"b_alone": response(0.75, logit=words([1]))}, "b alone: logit is string[1], should be float32[1]"),
        ({"b_alone": response(0.75, logit=dataclasses.replace(words([1]), dtype=""))}, "b alone: logit is not finite"),
        (
            {"together": response(0.75, 0.5, label_name=words([1, 1]))},
            "together: label_name is '긍정', should be '부정', the name of label 0",
        ),
        ({"b_alone": response(0.75, label_name=Output("", np.ones(1)))}, "label_name is 1.0, should be '긍정'"),
    ],
)
def test_faulty_answers_to_real_rows(changed, words):
    checks = run_checks(**changed)
    assert failed(checks) == ["answers_real_rows"]
    assert words in reason_of(checks, "answers_real_rows")


def test_batch_that_differs_from_its_rows_alone():
    changed = {"together": response(0.75, 0.5001), "together_at_once": response(0.75, 0.5001)}
    checks = run_checks(**changed)
    assert failed(checks) == ["batch_independent"]
    assert "(together)" in reason_of(checks, "batch_independent")


def test_p50_latency_has_its_own_bound():
    slow = dataclasses.replace(response(0.75), latency_ms=3.0)
    checks = run_checks(bounds=ServingGateConfig(max_p50_ms=2.0), b_alone=slow)
    assert failed(checks) == ["latency_p50_ms"]
    assert "p50 latency of one review is 2.5 ms over 2 requests; over the limit of 2" in reason_of(
        checks, "latency_p50_ms"
    )


def test_outside_files_fail_self_contained_only():
    checks = run_checks(outside=["/models/words.txt"])
    assert failed(checks) == ["self_contained"]
    assert "refers to /models/words.txt, which will be missing on a server" in reason_of(checks, "self_contained")


def test_label_may_differ_at_the_boundary_only():
    turned = response(0.5, 0.75, label=Output("int64", np.array([1.0, 1.0])))
    assert failed(run_checks(from_training=turned)) == []


def test_differences_are_relative_beyond_one():
    golden = GoldenAnswers(text=["a", "b"], outputs={**GOLDEN_ANSWERS.outputs, "logit": [0.0, 50.0]})
    near = response(0.5, 0.75, logit=Output("float32", np.array([0.0, 50.0004])))
    far = response(0.5, 0.75, logit=Output("float32", np.array([0.0, 50.001])))
    assert failed(run_checks(golden=golden, from_training=near)) == []
    assert failed(run_checks(golden=golden, from_training=far)) == ["agrees_with_training"]


@pytest.mark.parametrize("value, passes", [(1e-3, True), (1.001e-3, False)])
def test_a_bound_is_the_last_value_that_passes(value, passes):
    bounds = ServingGateConfig(tolerance=1e-3)
    wrong = response(0.5, 0.75, logit=Output("float32", np.array([value, 1.0986123])))
    assert (failed(run_checks(bounds=bounds, from_training=wrong)) == []) is passes


def test_training_answers_that_are_missing_or_nan_fail_agreement():
    pairs = {request: r for request, r in good().items() if request.group != GOLDEN}
    assert failed(run_checks(Transcript(list(pairs), list(pairs.values())))) == ["agrees_with_training"]
    golden = GoldenAnswers(text=["a", "b"], outputs={**GOLDEN_ANSWERS.outputs, "logit": [0.0, float("nan")]})
    (check,) = [check for check in run_checks(golden=golden) if not check.passed]
    assert (check.check, check.value) == ("agrees_with_training", None)


def test_model_that_does_not_load_has_one_check():
    (check,) = run_checks(Transcript([], [], loaded=False, fault="OSError: no such model"))
    assert (check.check, check.passed) == ("loads", False)
    assert "OSError: no such model" in check.reason


def test_many_faulty_requests_are_counted():
    requests = [Request(f"review {i}", ALONE, (b"a",)) for i in range(25)]
    checks = run_checks(Transcript(requests, [Response(error="boom")] * 25))
    assert "review 19 and 5 more: boom" in reason_of(checks, "answers_real_rows")


@pytest.mark.parametrize(
    "server, words",
    [
        (served(a_alone=response(0.5001)), "differ by at most 0.0004 (a alone over gRPC); over the limit of 1e-05"),
        (served(a_alone=refusal("RpcError: boom")), "over gRPC: 1 of 9 requests failed: a alone: RpcError: boom"),
        (served(number=response(0.5)), "over gRPC: 1 of 9 requests failed: number: answered"),
        (served(mixed=None), "mixed: not sent"),
        (
            served(dataclasses.replace(server_transcript(), fault="the server was killed by SIGSEGV")),
            "over REST: the server",
        ),
        (served(Transcript([], [], loaded=False, fault="the server could not load it")), "could not load it"),
    ],
)
def test_model_server_with_other_answers_fails_its_own_check_only(server, words):
    checks = run_checks(server=server)
    assert failed(checks) == ["model_server"]
    assert words in reason_of(checks, "model_server")


def test_model_server_is_not_checked_for_requests_that_the_model_fails():
    nan = response(np.nan)
    assert failed(run_checks(server=served(empty_string=nan), empty_string=nan)) == ["answers_hostile_rows"]


def test_json_has_no_types():
    untyped = Response(outputs(0.5, label=Output("", np.zeros(1))))
    assert failed(run_checks(server=served(server_transcript(a_alone=untyped)))) == []


@pytest.mark.parametrize("mode, passed, severity", [("auto", True, "warn"), ("required", False, "fail")])
def test_check_reports_that_no_model_server_was_queried(mode, passed, severity):
    check = run_checks(bounds=ServingGateConfig(model_server=mode))[-1]
    assert (check.check, check.passed, check.severity, check.value) == ("model_server", passed, severity, "not run")
    assert check.reason == "not run: none here"
    assert check.blocks is not passed
    assert check.verdict == ("not checked" if passed else "failed")


def lines(*records):
    return [json.dumps(record) + "\n" for record in records]


def test_answers_of_a_process_that_died():
    requests = [Request(name, HOSTILE, (b"",)) for name in ("first", "second", "third")]
    logit = {"dtype": "float32", "shape": [1], "values": [float("nan")]}
    name = {"dtype": "string", "shape": [1], "values": ["긍정"]}
    written = lines(
        {"loaded": True},
        {"sent": 0},
        {"answered": 0, "latency_ms": 1.0, "peak_memory_mb": 2.0, "outputs": {"logit": logit, "label_name": name}},
        {"sent": 1},
    )
    transcript = answers.parse_transcript([*written, '{"answered": 1, "outp'], requests, "was killed by SIGSEGV")
    assert transcript.loaded
    assert np.isnan(transcript.responses[0].outputs["logit"].values).all()
    assert transcript.responses[0].outputs["label_name"].values.tolist() == ["긍정"]
    assert transcript.responses[1] == Response(error="the process was killed by SIGSEGV", fatal=True)
    assert transcript.responses[2] is None
    assert answers.unanswered(written) == [1]


@pytest.mark.parametrize(
    "written, end, fault",
    [
        (lines({"load_error": "OSError: x"}), None, "OSError: x"),
        ([], "was killed by SIGKILL", "the process was killed by SIGKILL"),
    ],
)
def test_answers_of_a_process_that_could_not_load(written, end, fault):
    transcript = answers.parse_transcript(written, [], end)
    assert (transcript.loaded, transcript.fault) == (False, fault)


def test_requests_match_their_names():
    requests = {r.name: r for r in request_set.build_requests([(b"long text",), (b"short",)], [(b"g",)] * 65)}
    assert requests["batch of 0"].texts == ()
    assert requests["batch of 1,000"].texts == (b"short",) * 1000
    assert len(requests["100,000 characters"].texts[0].decode()) == 100_000
    with pytest.raises(UnicodeDecodeError):
        requests["invalid UTF-8"].texts[0].decode()
    assert [len(r.texts) for r in requests.values() if r.group == GOLDEN] == [64, 1]
    assert {r.texts for r in requests.values() if r.group == ALONE} == {(b"long text",), (b"short",)}
    assert {len(r.texts) for r in requests.values() if r.group == CONCURRENT} == {1, 2}
    assert list(requests)[-4:] == ["hostile texts and reviews together", "batch of 0", "batch of 1", "batch of 1,000"]


def test_requests_that_may_crash_the_process_come_last():
    groups = [r.group for r in request_set.build_requests([(b"a",)], [(b"g",)])]
    order = [ALONE, TOGETHER, GOLDEN, CONCURRENT, MALFORMED, WRONG_SHAPE, RECOVERY, HOSTILE]
    assert [group for group in dict.fromkeys(groups) if group in order] == order


def test_model_server_gets_each_request_once():
    requests = request_set.build_requests([(b"a",), (b"b",)], [(b"g",)])
    names = [request.name for request in request_set.distinct(requests)]
    assert names[:4] == ["review 1 alone", "review 2 alone", "2 reviews together", "rows from training, batch 1"]
    assert {"a number instead of a text", "no input", "batch of 0", "batch of 1,000"} <= set(names)
    assert not [name for name in names if name.startswith(("warm-up", "concurrent", "a review after", "batch of 1 "))]


def test_json_of_inputs_keeps_any_bytes():
    assert request_set.as_json({"text": [b"\xff\x00", 1.5], "none": []}) == {"text": [{"b64": "/wA="}, 1.5], "none": []}


def test_requests_of_pairs_send_both_texts():
    requests = {r.name: r for r in request_set.build_requests([(b"a", b"bc"), (b"long", b"text")], [(b"g", b"h")] * 65)}
    assert requests["2 reviews together"].inputs == {"text": [b"a", b"long"], "text_pair": [b"bc", b"text"]}
    assert requests["batch of 0"].inputs == {"text": [], "text_pair": []}
    assert requests["batch of 1,000"].rows == ((b"a", b"bc"),) * 1000
    assert [len(r.rows) for r in requests.values() if r.group == GOLDEN] == [64, 1]
    assert [requests[f"empty string, {place}"].rows for place in ("first", "second", "both")] == [
        ((b"", b"bc"),),
        ((b"a", b""),),
        ((b"", b""),),
    ]
    assert {r.name for r in requests.values() if r.group == MALFORMED} == {
        "a number instead of a text",
        "no input",
        "an unknown input",
        "no text_pair",
        "more rows of text than of text_pair",
        "more rows of text_pair than of text",
    }


def test_rows_of_pairs_are_compared_by_both_texts():
    answered = {
        Request("a alone", ALONE, (b"a",), pairs=(b"x",)): response(0.5),
        Request("b alone", ALONE, (b"a",), pairs=(b"y",)): response(0.75),
        Request("together", TOGETHER, (b"a", b"a"), pairs=(b"y", b"x")): response(0.75, 0.5),
    }
    transcript = Transcript(list(answered), list(answered.values()))
    checks = judge.judge(transcript, [], NOT_RUN, GOLDEN_ANSWERS, BOUNDS, TASK)
    (independent,) = [check for check in checks if check.check == "batch_independent"]
    assert independent.passed and independent.value == 0
