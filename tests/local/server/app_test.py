"""The server over HTTP: TensorFlow Serving's responses, explanations, limits, log, metrics, page."""

import concurrent.futures
import json
import re
import threading
import time

import pytest
import requests
import tensorflow as tf
from prometheus_client import parser

from local import served_model
from tests import saved_models, servers

TEXTS = ["good film", "bad film", "good good", ""]


@pytest.fixture(scope="module", name="models")
def _models(tmp_path_factory):
    """Folders of models by the name of their task."""
    folder = tmp_path_factory.mktemp("models")
    tasks = {"single": saved_models.TASK, "pair": servers.PAIR_TASK, "score": servers.SCORE_TASK}
    return {name: servers.save(folder / name / "7", task) for name, task in tasks.items()}


@pytest.fixture(scope="module", name="server")
def _server(models):
    with servers.running(models["single"]) as server:
        yield server


def expected(model, *columns):
    """The outputs of a model by name, as lists."""
    inputs = dict(zip(("text", "text_pair"), map(tf.constant, columns), strict=False))
    outputs = tf.saved_model.load(model).signatures["serving_default"](**inputs)
    return {name: [as_json(value) for value in tensor.numpy().tolist()] for name, tensor in outputs.items()}


def as_json(value):
    return value.decode() if isinstance(value, bytes) else value


def test_rows_are_answered_as_by_tensorflow_serving(server, models):
    outputs = expected(models["single"], TEXTS)
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    for instances in (TEXTS, [{"text": text} for text in TEXTS]):
        response = server.post("predict", {"instances": instances})
        assert response.status_code == 200 and response.headers["content-type"] == "application/json"
        assert response.json() == {"predictions": rows}
    assert {"label", "logit", "probability"} <= set(rows[0]) and rows[0]["label"] == 1


def test_columns_are_answered_as_by_tensorflow_serving(server, models):
    outputs = expected(models["single"], TEXTS)
    assert server.post("predict", {"inputs": TEXTS}).json() == {"outputs": outputs}
    named = {"signature_name": "serving_default", "inputs": {"text": TEXTS}}
    assert server.post("predict", named).json() == {"outputs": outputs}


def test_the_content_type_does_not_matter(server):
    data = json.dumps({"instances": ["good"]})
    response = requests.post(f"{server.address}/v1/models/tiny/versions/7:predict", data=data)
    assert response.status_code == 200 and response.json()["predictions"][0]["label"] == 1


def test_pairs_have_two_inputs(models):
    with servers.running(models["pair"]) as server:
        outputs = expected(models["pair"], ["good", "bad"], ["bad bad", "good good"])
        rows = [{"text": "good", "text_pair": "bad bad"}, {"text": "bad", "text_pair": "good good"}]
        predictions = server.post("predict", {"instances": rows}).json()["predictions"]
        assert [row["probability"] for row in predictions] == outputs["probability"]
        (explained,) = server.post("explain", {"instances": rows[:1]}).json()["explanations"]
        assert [(word["input"], word["word"]) for word in explained["words"]] == [
            ("text", "good"),
            ("text_pair", "bad"),
            ("text_pair", "bad"),
        ]
        page = server.get("/").text
        assert 'id="text"' in page and 'id="text_pair"' in page


def test_the_only_output_has_no_name(models):
    with servers.running(models["score"]) as server:
        (score,) = server.post("predict", {"instances": ["good"]}).json()["predictions"]
        assert score == pytest.approx(5 / (1 + 2.718281828**-1))
        (explained,) = server.post("explain", {"instances": ["good"]}).json()["explanations"]
        assert explained["class_probabilities"] == {} and explained["score"] == pytest.approx(score)
        # 2.5 points of five without the word.
        assert explained["words"][0]["effect"] == pytest.approx((score - 2.5) / 5)


def test_a_model_with_examples_takes_bytes(tmp_path):
    folder = saved_models.save(str(tmp_path / "3"))
    servers.model_card.write(folder, servers.model_card.ModelCard(saved_models.TASK, servers.LAYOUT))
    example = tf.train.Example()
    example.features.feature["document"].bytes_list.value.append(b"good")
    encoded = {"b64": tf.io.encode_base64(example.SerializeToString()).numpy().decode()}
    encoded["b64"] = encoded["b64"].replace("-", "+").replace("_", "/") + "=" * (-len(encoded["b64"]) % 4)
    with servers.running(folder) as server:
        by_text = server.post("predict", {"instances": ["good"]}).json()["predictions"]
        asked = {"signature_name": "serving_examples", "instances": [encoded]}
        assert server.post("predict", asked).json()["predictions"] == by_text
        refused = server.post("predict", {**asked, "instances": ["no example"]})
        assert refused.status_code == 400 and "the model refused the request" in refused.json()["error"]
        # Such a model of an earlier release does not count tokens.
        assert server.post("explain", {"instances": ["good"]}).json()["explanations"][0]["tokens"] is None


def test_names_of_labels_are_texts(tmp_path):
    class Named(servers.CountedWords):
        def outputs(self, logits):
            outputs = super().outputs(logits)
            return {**outputs, "label_name": tf.gather(tf.constant(saved_models.TASK.label_names), outputs["label"])}

    with servers.running(servers.save(tmp_path / "1", make=Named)) as server:
        predictions = server.post("predict", {"instances": ["good", "bad"]}).json()["predictions"]
        assert [row["label_name"] for row in predictions] == ["긍정", "부정"]
        assert server.post("explain", {"instances": ["good"]}).json()["explanations"][0]["label_name"] == "긍정"


def test_state_and_metadata_have_the_form_of_tensorflow_serving(server):
    state = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/tiny", "/v1/models/tiny/versions/7"):
        assert server.get(path).json() == {"model_version_status": [state]}
    content = server.get("/v1/models/tiny/metadata").json()
    assert content["model_spec"] == {"name": "tiny", "signature_name": "", "version": "7"}
    signature = content["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["text"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "serving_default_text:0",
    }
    dtypes = {name: output["dtype"] for name, output in signature["outputs"].items()}
    assert dtypes.items() >= {"label": "DT_INT64", "logit": "DT_FLOAT", "probability": "DT_FLOAT"}.items()


@pytest.mark.parametrize(
    "method, path, status, message",
    [
        ("GET", "/v1/models/other", 404, 'model = "other": not found; the model here is "tiny"'),
        ("GET", "/v1/models/other/metadata", 404, 'model = "other": not found'),
        ("GET", "/v1/models/tiny/versions/8", 404, 'version = "8": not found; the versions are 7'),
        ("GET", "/v1/models/tiny/versions/x/metadata", 404, 'version = "x": not loaded; the version in use is 7'),
        ("POST", "/v1/models/other:predict", 404, 'model = "other": not found'),
        ("POST", "/v1/models/tiny/versions/8:predict", 404, 'version = "8": not loaded; the version in use is 7'),
        ("POST", "/v1/models/tiny:predict", 400, 'instances[1] = 3: should be a text, or {"b64": "..."}'),
        ("POST", "/v1/models/tiny:classify", 405, "method not allowed"),
        ("GET", "/nowhere", 404, 'GET "/nowhere": not found; POST /v1/models/MODEL:predict asks a model'),
        ("POST", "/", 405, "method not allowed"),
    ],
)
def test_errors_are_json_with_the_right_status(server, method, path, status, message):
    response = requests.request(method, server.address + path, json={"instances": ["good", 3]})
    assert response.status_code == status and message in response.json()["error"]


def test_words_have_the_probability_that_the_answer_loses_without_them(server):
    response = server.post("explain", {"instances": ["good film bad good", "a " * 20]}).json()
    first, second = response["explanations"]
    assert response["version"] == "7"
    assert first["label_name"] == "긍정" and first["answer"] == ["긍정", "73.1%"]
    assert first["class_probabilities"] == {
        "부정": pytest.approx(0.2689, abs=1e-4),
        "긍정": pytest.approx(0.7311, abs=1e-4),
    }
    effects = [(word["word"], round(word["effect"], 4)) for word in first["words"]]
    # Sigmoid of 1, less that of 0 and of 2.
    assert effects == [("good", 0.2311), ("film", 0.0), ("bad", -0.1497), ("good", 0.2311)]
    assert (first["tokens"], second["tokens"], first["max_tokens"]) == (6, 22, servers.MAX_LENGTH)


def test_limits_of_a_request(models):
    with servers.running(models["single"], max_rows=5, max_batch=2, max_request_bytes=200) as server:
        assert server.post("predict", {"instances": ["good"] * 5}).status_code == 200
        for method, rows in (("predict", ["good"] * 6), ("explain", ["a b c d e"])):
            refused = server.post(method, {"instances": rows})
            assert refused.status_code == 413 and "6 texts to score; at most 5 are accepted" in refused.json()["error"]
        path = f"{server.address}/v1/models/tiny:predict"
        refused = requests.post(path, data=b"x" * 201)
        assert refused.status_code == 413 and "201 bytes; at most 200 are accepted" in refused.json()["error"]
        # Without a declared length.
        refused = requests.post(path, data=iter([b"x" * 150, b"x" * 150]))
        assert refused.status_code == 413 and "more than 200 bytes" in refused.json()["error"]


def test_a_request_over_the_time_limit_is_given_up(models):
    with servers.running(models["single"], timeout_s=0.1) as server:
        with servers.held(server):
            late = server.post("predict", {"instances": ["good"]})
        assert late.status_code == 504 and late.json() == {"error": "not answered within 0.1 s (--timeout-s)"}
        servers.wait_until(lambda: server.post("predict", {"instances": ["good"]}).status_code == 200)


def test_requests_over_the_capacity_are_refused(models):
    with servers.running(models["single"], max_rows=2) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        with servers.held(server):
            accepted = pool.submit(server.post, "predict", {"instances": ["good", "bad"]})
            servers.wait_until(lambda: server.service.batcher.rows == 2)
            refused = server.post("predict", {"instances": ["good"]})
        assert refused.status_code == 503 and refused.json()["error"].startswith("overloaded")
        assert refused.headers["retry-after"] == "1" and accepted.result().status_code == 200


def test_concurrent_requests_are_computed_together_and_get_their_own_answers(models):
    texts = ["good " * number + "bad" for number in range(24)]
    wanted = expected(models["single"], texts)["probability"]
    with servers.running(models["single"]) as server, concurrent.futures.ThreadPoolExecutor(24) as pool:
        with servers.held(server):
            calls = [pool.submit(server.post, "predict", {"instances": [text]}) for text in texts]
            servers.wait_until(lambda: server.service.batcher.rows == 24)
        answers = [call.result().json()["predictions"][0]["probability"] for call in calls]
        values = read_metrics(server)
    assert answers == pytest.approx(wanted)
    # The one that came first, or few, and then all others.
    assert values["reviews_batch_rows_sum",] == 24 and values["reviews_batch_rows_count",] <= 3


def read_metrics(server):
    """Name and values of labels -> value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(server.get("/metrics").text)
        for sample in family.samples
    }


def test_metrics_count_requests_errors_and_name_the_version(models):
    with servers.running(models["single"]) as server:
        server.post("predict", {"instances": ["good", "bad"]})
        server.post("predict", {"instances": []})
        values = read_metrics(server)
        assert server.get("/metrics").headers["content-type"].startswith("text/plain")
    assert values["reviews_requests_total", "predict", "200"] == values["reviews_requests_total", "predict", "400"] == 1
    assert values["reviews_request_seconds_count", "predict"] == 2
    assert values["reviews_batch_rows_sum",] == 2 and values["reviews_waiting_rows",] == 0
    assert values["reviews_model_version", "tiny"] == 7


def read_log(path, count):
    servers.wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_a_line_for_each_text_and_no_texts_by_default(models, tmp_path):
    with servers.running(models["single"], log=str(tmp_path / "log")) as server:
        server.post("predict", {"instances": ["good secret", "bad"]})
        read_log(tmp_path / "log", 2)
        server.post("predict", {"instances": ["good", {"secret": 1}]})
        lines = read_log(tmp_path / "log", 3)
    first, second, refused = lines
    assert [first[key] for key in ("model", "version", "method", "status", "label_name", "tokens")] == [
        "tiny",
        7,
        "predict",
        200,
        "긍정",
        4,
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"]) and first["latency_ms"] > 0
    assert first["probability"] == pytest.approx(0.7311, abs=1e-4) and second["label_name"] == "부정"
    assert (refused["status"], refused["version"]) == (400, None)
    assert "secret" not in (tmp_path / "log").read_text() and "text" not in first


def test_the_log_has_texts_if_they_are_asked_for(models, tmp_path):
    (tmp_path / "log").write_text('{"earlier": 1}\n')
    with servers.running(models["pair"], log=str(tmp_path / "log"), log_texts=True) as server:
        server.post("predict", {"instances": [{"text": "good\n굿", "text_pair": "bad"}]})
        earlier, line = read_log(tmp_path / "log", 2)
    assert earlier == {"earlier": 1} and (line["text"], line["text_pair"]) == ("good\n굿", "bad")


def test_a_log_that_cannot_be_written_does_not_stop_the_answers(models):
    with servers.running(models["single"], log="/dev/full") as server:
        for _ in range(2):
            assert server.post("predict", {"instances": ["good"]}).status_code == 200
        servers.wait_until(lambda: server.reports)
        assert server.reports == [
            "--log /dev/full: can't be written (No space left on device); requests are still answered"
        ]


def test_health(server):
    assert server.get("/healthz/live").json() == {"status": "live"}
    for path in ("/healthz", "/healthz/ready"):
        assert server.get(path).json() == {"status": "ready", "model": "tiny", "version": "7"}


def test_the_page_is_one_file_in_two_languages(server):
    response = server.get("/")
    page, policy = response.text, response.headers["content-security-policy"]
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', page))
    assert f"script-src 'nonce-{nonce}'" in policy and "default-src 'none'" in policy
    assert nonce not in server.get("/").text
    # Nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!v1/|metrics|data:,)', page) and "@import" not in page
    assert "부정, 긍정" in page and ">7</span>" in page and 'id="text"' in page and 'id="text_pair"' not in page
    english, korean = (re.search(rf"\n  {language}: {{(.*?)\n  }}", page, re.S)[1] for language in ("en", "ko"))
    names = [set(re.findall(r"(\w+): (?=[\"n(])", text)) for text in (english, korean)]
    assert names[0] == names[1] and set(re.findall(r'data-text="(\w+)"', page)) <= names[0]
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_names_and_labels_are_escaped_on_the_page(tmp_path):
    task = servers.make_task(("document",), {"0": "<script>alert(1)</script>", "1": "</script>"})
    with servers.running(servers.save(tmp_path / "1", task), name="<b>&'") as server:
        page = server.get("/").text
    assert "<script>alert" not in page and "<b>" not in re.sub(r"make\(.*", "", page).replace("<b data-text", "")
    assert page.count("</script>") == 2


def test_a_model_that_fails_is_an_error_of_the_server(models):
    with servers.running(models["single"]) as server:
        # As a model whose operations fail: it has no such signature.
        compute = server.service.batcher._compute
        server.service.batcher._compute = lambda key, rows: compute((key[0], "none", False), rows)
        response = server.post("predict", {"instances": ["good"]})
        assert response.status_code == 500 and response.json() == {"error": "the model failed: 'none'"}
        assert server.reports == ["a request failed: 'none'"]


def test_requests_that_have_arrived_are_answered_before_it_stops(models):
    with servers.running(models["single"]) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        with servers.held(server):
            calls = [pool.submit(server.post, "predict", {"instances": ["good"]}) for _ in range(4)]
            servers.wait_until(lambda: server.service.batcher.rows == 4)
            server.stop()
            servers.wait_until(lambda: not is_open(server))
            assert not any(call.done() for call in calls)
        assert [call.result().status_code for call in calls] == [200] * 4


def is_open(server):
    try:
        return server.get("/healthz/live").ok
    except requests.ConnectionError:
        return False


def test_a_new_version_under_load_loses_no_request(models, tmp_path):
    serving = tmp_path / "tiny" / "serving"
    servers.push(models["single"], serving, 1)
    answers, stop = [], threading.Event()

    def call():
        with requests.Session() as session:
            while not stop.is_set():
                path = f"{server.address}/v1/models/tiny:predict"
                answers.append(session.post(path, json={"instances": ["good"]}).status_code)

    with servers.running(serving) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call) for _ in range(8)]
        for version in (2, 3):
            servers.push(models["single"], serving, version)
            servers.wait_until(lambda version=version: server.service.versions.current.number == version)
        time.sleep(0.2)
        stop.set()
        for caller in callers:
            caller.result()
    assert len(answers) > 20 and set(answers) == {200}
    assert [report.split(" in ")[0] for report in server.reports] == ["version 2 loaded", "version 3 loaded"]


def test_the_answers_are_those_of_predict(server, models):
    rows = [(text,) for text in TEXTS]
    predictions = served_model.load(models["single"], "").predict(rows)
    response = server.post("predict", {"instances": TEXTS}).json()["predictions"]
    assert [row["probability"] for row in response] == [each.class_probabilities[1] for each in predictions]
