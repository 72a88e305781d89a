"""`drift` and `shadow` on real tiny models and real logs of every kind."""

import csv
import gzip
import json
import os
import pathlib
import re

import pytest
import tensorflow as tf
import tensorflow_model_analysis  # noqa: F401  Its import prints, which must not be in the output of the first test.
from tensorflow_serving.apis import prediction_log_pb2

import local_runner
from artifacts import model_card, model_files
from components.data_gate import profile, vocabulary
from components.data_gate.text_counts import TextCounts
from local import answers, predictions
from local.monitoring import logs, mojibake
from local.server import request_log
from schema.task import ScoreTask, make_task
from tests import saved_models

SAMPLE = pathlib.Path(__file__).parents[2] / "data" / "sample"
NSMC = pathlib.Path(__file__).parents[3] / "shared" / "nsmc"
LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8"}
HOSTILE = "\x1b]0;owned\x07[bold]</title><script>"
KEYS = {"time": "2026-11-27T08:00:00.000+00:00", "model": "m", "version": 1, "method": "predict", "status": 200}


def read_texts(file):
    with open(file, encoding="utf-8", newline="") as stream:
        return [text for row in csv.DictReader(stream, delimiter="\t") if (text := row["document"]).strip()]


KOREAN = read_texts(SAMPLE / "ratings_train.txt")
HONEST = read_texts(SAMPLE / "ratings_test.txt")
ENGLISH = [f"The film number {number} was a long and boring disappointment for me" for number in range(600)]


def answer_evenly(text, _):
    """Answers positive to texts of an odd length: about half of them."""
    return tf.cast(tf.strings.length(text) % 2, tf.float32) * 2 - 1


def save_model(folder, texts=KOREAN, task=saved_models.TASK, change=answer_evenly):
    """Saves a model as a push does, with the profile of the texts that it was trained on."""
    saved_models.save(str(folder), change=change)
    model_card.write(str(folder), model_card.ModelCard(task, LAYOUT))
    counts = TextCounts(texts)
    split = profile.make_split_profile({"부정": len(texts) // 2, "긍정": len(texts) // 2}, counts)
    words = vocabulary.make_vocabulary(counts)
    content = profile.Profile(
        fingerprint="f", examples_sha256="e", reference="none", splits={"train": split}, vocabulary=words
    )
    (folder / model_files.DATA_PROFILE).write_text(content.model_dump_json())
    return str(folder)


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("serving") / "1763827200")


def prediction_record(texts, **inputs):
    """Returns a serialised `PredictionLog`, as TensorFlow Serving logs a request to predict."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "nsmc", "serving_default"
    for name, values in {"text": texts, **inputs}.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto([value.encode() for value in values], tf.string))
    return log.SerializeToString()


def write_records(file, records, compression=""):
    with tf.io.TFRecordWriter(str(file), compression) as writer:
        for record in records:
            writer.write(record)
    return file


def write_served(file, texts, **answer):
    """Writes the log of `serve`, with its own code."""
    with open(file, "wb", buffering=0) as stream:
        request_log.RequestLog(stream, True, print).write(
            KEYS, [{"tokens": 3, "text": each, **answer} for each in texts]
        )
    return file


def write_table(file, texts, encoding="utf-8"):
    with open(file, "w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows([text] for text in ["document", *texts])
    return file


def write_log(kind, folder, texts):
    """Writes a log of one kind; TensorFlow Serving's has requests of three texts."""
    requests = [prediction_record(texts[start : start + 3]) for start in range(0, len(texts), 3)]
    if kind == "tfrecord":
        return write_records(folder / "requests", requests)
    if kind == "tfrecord.gz":
        return write_records(folder / "requests", requests, "GZIP")
    if kind == "serve":
        return write_served(folder / "requests", texts)
    if kind == "serve.gz":
        content = write_served(folder / "plain", texts).read_bytes()
        (folder / "requests").write_bytes(gzip.compress(content))
    if kind == "jsonl":
        (folder / "requests").write_text("".join(json.dumps({"document": text}) + "\n" for text in texts))
    if kind == "tsv":
        write_table(folder / "requests", texts)
    return folder / "requests"


def call(capfd, *words):
    status = local_runner.main(list(map(str, words)))
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def drift(capfd, file, model, *words):
    """Returns the exit status and the result."""
    status, out, error = call(capfd, "drift", file, "--model", model, "--json", *words)
    assert status in (0, 3), error
    return status, json.loads(out)


def verdicts(result):
    return {check["check"].partition("/")[0]: check["verdict"] for check in result["checks"]}


def test_honest_rows_do_not_drift(tmp_path, model, capfd):
    status, result = drift(capfd, write_table(tmp_path / "log.tsv", HONEST), model)
    assert (status, result["failed"], result["moved"]) == (0, False, [])
    assert result["texts"] == len(HONEST) and result["model"] == "version 1763827200"
    found = verdicts(result)
    # Requests have no labels; the tiny model has no tokeniser.
    assert {name for name, verdict in found.items() if verdict == "not checked"} == {"label_drift", "unknown_tokens"}
    assert {found[name] for name in ("length_drift", "script_drift", "oov_drift", "script_share", "answer_drift")} == {
        "passed"
    }


def test_english_requests_have_moved_from_korean_training_data(tmp_path, model, capfd):
    file, page = write_table(tmp_path / "log.tsv", ENGLISH), tmp_path / "page.html"
    status, out, _ = call(capfd, "drift", file, "--model", model, "--html", page)
    assert status == 3
    lines = out.splitlines()
    assert lines[0].startswith(f"600 texts of {file} moved from the training data of version 1763827200: scripts, leng")
    assert re.match(r"  scripts: 0\.0% of the letters are Hangul, versus 9\d\.\d% in the training data", lines[1])
    assert "read as" not in out and len(lines) <= 20
    content = page.read_text()
    assert (
        "Moved: scripts, length" in content
        and content.count("<svg ") == 4
        and "http" not in re.sub(r"http://www\.w3\.org/\S+", "", content)
    )


@pytest.mark.parametrize("right", ["cp949", "utf-8"])
def test_texts_read_in_a_wrong_codec_have_moved_and_the_codec_is_named(right, tmp_path, model, capfd):
    file = write_served(tmp_path / "log", [text.encode(right, "replace").decode("latin-1") for text in HONEST])
    status, result = drift(capfd, file, model)
    assert status == 3 and "scripts" in result["moved"]
    assert ("unreadable characters" in result["moved"]) == (right == "utf-8")
    assert result["codec"] == {"read_as": "latin-1", "should_be": right}


def test_bytes_that_are_not_utf8_are_unreadable_characters(tmp_path, model, capfd):
    log = prediction_log_pb2.PredictionLog()
    texts = [text.encode("cp949", "replace") for text in HONEST]
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts, tf.string))
    status, result = drift(capfd, write_records(tmp_path / "log", [log.SerializeToString()]), model)
    assert status == 3 and result["texts"] == len(HONEST) and "unreadable characters" in result["moved"]


def test_table_in_another_codec_is_refused_or_read_with_the_option(tmp_path, model, capfd):
    texts = [text.encode("cp949", "ignore").decode("cp949") for text in HONEST]
    file = write_table(tmp_path / "log.tsv", [text for text in texts if text.strip()], "cp949")
    status, _, error = call(capfd, "drift", file, "--model", model)
    assert status == 2 and "--encoding" in error
    assert drift(capfd, file, model, "--encoding", "cp949")[0] == 0


def test_each_kind_of_log_gives_the_same_result(tmp_path, model, capfd):
    texts = HONEST[:510]
    results = {}
    for kind in ("tfrecord", "tfrecord.gz", "serve", "serve.gz", "jsonl", "tsv"):
        (folder := tmp_path / kind).mkdir()
        _, results[kind] = drift(capfd, write_log(kind, folder, texts), model)
    checks = [result["checks"] for result in results.values()]
    assert all(each == checks[0] for each in checks) and results["tsv"]["texts"] == 510
    assert [result["kind"] for result in results.values()] == [logs.TF_SERVING] * 2 + [logs.SERVE] * 2 + [
        logs.TABLE
    ] * 2


def test_result_does_not_depend_on_the_order_of_the_requests(tmp_path, model, capfd):
    texts = KOREAN[:2500]  # More than are sampled.
    results = [drift(capfd, write_table(tmp_path / "log.tsv", each), model)[1] for each in (texts, texts[::-1])]
    assert results[0] == results[1] and sum(results[0]["answers"].values()) == 2000


def test_few_requests_are_not_compared(tmp_path, model, capfd):
    status, out, _ = call(capfd, "drift", write_table(tmp_path / "log.tsv", HONEST[:40]), "--model", model)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].endswith(
        "are too few to compare with the training data of version 1763827200; 4 other checks passed"
    )
    assert "not checked: labels, length, scripts, vocabulary, answers (40 rows, fewer than " in lines[1]

    status, out, _ = call(capfd, "drift", write_table(tmp_path / "log.tsv", ENGLISH[:40]), "--model", model)
    assert status == 3 and out.startswith(f"40 texts of {tmp_path}/log.tsv moved from ") and ": scripts\n" in out


def test_bounds_come_from_the_configuration(tmp_path, model, capfd):
    file = write_table(tmp_path / "log.tsv", HONEST)
    status, result = drift(capfd, file, model, "--config", "sample", "--set", "gates.data.length_drift.max=0")
    assert status == 3 and result["moved"] == ["length"]
    assert call(capfd, "drift", file, "--model", model, "--set", "gates.data.length_drift.max=0")[0] == 2


def test_answers_that_are_unlike_the_training_labels_are_a_warning(tmp_path, capfd):
    model = save_model(tmp_path / "1", change=lambda text, logit: tf.ones_like(logit))
    status, result = drift(capfd, write_table(tmp_path / "log.tsv", HONEST), model)
    assert (status, result["moved"], verdicts(result)["answer_drift"]) == (0, ["answers"], "warning")
    assert "with warnings: answers" in result["sentence"]


def test_log_of_serve_without_texts_says_how_to_record_them(tmp_path, model, capfd):
    file = tmp_path / "requests.jsonl"
    with open(file, "wb", buffering=0) as stream:
        request_log.RequestLog(stream, False, print).write(KEYS, [{"label_name": "긍정", "tokens": 3}] * 7)
    status, _, error = call(capfd, "drift", file, "--model", model)
    assert status == 2
    assert error == (
        f"error: {file}: has no texts (7 entries without); record them with `serve --log FILE --log-texts`\n"
    )


def test_refused_requests_and_damaged_lines_are_left_out(tmp_path, model, capfd):
    file = write_served(tmp_path / "log", [*HONEST, " "])
    with open(file, "ab") as stream:
        stream.write(json.dumps({**KEYS, "status": 413}).encode() + b'\n{"time": "2026-11-2')
    status, result = drift(capfd, file, model)
    assert (status, result["texts"]) == (0, len(HONEST))
    assert result["left_out"] == {"empty_text": 1, "refused requests": 1, "damaged lines": 1}


@pytest.mark.parametrize("content", [b"", b"\n", gzip.compress(b"", mtime=0), b"document\n"])
def test_empty_log_is_refused(content, tmp_path, model, capfd):
    (tmp_path / "log").write_bytes(content)
    status, _, error = call(capfd, "drift", tmp_path / "log", "--model", model)
    assert status == 2 and error.startswith(f"error: {tmp_path}/log: ") and "empty" in error and error.count("\n") == 1


def test_missing_log_is_named(tmp_path, model, capfd):
    status, _, error = call(capfd, "drift", tmp_path / "gone", "--model", model)
    assert status == 2 and error.startswith(f"error: {tmp_path}/gone: can't be read: ") and error.count("\n") == 1


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_damaged_records_are_read_up_to_the_damage(compression, tmp_path, model, capfd):
    records = [prediction_record([text]) for text in HONEST]
    file = write_records(tmp_path / "log", records, compression)
    file.write_bytes(file.read_bytes()[:-40])
    status, out, _ = call(capfd, "drift", file, "--model", model)
    (count,) = re.findall(r"damaged after ([\d,]+) records, the rest was not read", out)
    assert status == 0 and 0 < len(HONEST) - int(count.replace(",", "")) < (5 if not compression else 100)

    content = bytearray(write_records(tmp_path / "log", records).read_bytes())
    content[20] ^= 0xFF
    file.write_bytes(content)
    status, _, error = call(capfd, "drift", file, "--model", model)
    assert (status, error) == (2, f"error: {file}: damaged after 0 records, the rest was not read\n")


def test_other_records_are_left_out(tmp_path, model, capfd):
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.name = "nsmc"
    numbers = prediction_log_pb2.PredictionLog()
    numbers.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([1.0]))
    others = [other.SerializeToString(), numbers.SerializeToString(), b"\xff\xff"]
    file = write_records(tmp_path / "log", [*others, prediction_record(HONEST)])
    assert drift(capfd, file, model)[1]["left_out"] == {"other kinds of requests": 3}
    status, _, error = call(capfd, "drift", write_records(file, others), "--model", model)
    assert status == 2 and "TensorFlow Serving's request log without a text of this model" in error


def test_pairs_are_read_from_every_kind_of_log(tmp_path):
    card = model_card.ModelCard(make_task(("question", "sentence"), {"0": "no", "1": "yes"}), LAYOUT)
    pairs = [("Who?", "Kim."), ("When?", "Now."), ("", "Nobody.")]
    first, second = zip(*pairs, strict=True)
    records = write_records(tmp_path / "records", [prediction_record(first, text_pair=second)])
    entries = tmp_path / "entries"
    entries.write_text("".join(json.dumps({**KEYS, "text": a, "text_pair": b}) + "\n" for a, b in pairs))
    table = tmp_path / "table"
    table.write_text("".join(f"{a}\t{b}\n" for a, b in [("question", "sentence"), *pairs]))
    for file in (records, entries, table):
        with logs.open_log(str(file), card, {}) as log:
            assert list(log.chunks()) == [pairs[:2]]
            assert dict(log.rejected) == {"empty_text": 1}


def test_model_without_a_profile_is_refused(tmp_path, capfd):
    model = save_model(tmp_path / "1")
    os.remove(tmp_path / "1" / model_files.DATA_PROFILE)
    status, _, error = call(capfd, "drift", write_table(tmp_path / "log.tsv", HONEST), "--model", model)
    assert status == 2 and "has no assets.extra/data_profile.json, which a push adds" in error
    (tmp_path / "1" / model_files.DATA_PROFILE).write_text("{}")
    status, _, error = call(capfd, "drift", tmp_path / "log.tsv", "--model", model)
    assert status == 2 and "data_profile.json: can't be read" in error


def test_wrong_codec_is_found_only_where_it_helps():
    assert mojibake.find_codec(["좋아요"], "Hangul") is None
    assert mojibake.find_codec(["good film"], "Hangul") is None
    # A single text may look like another codec by chance.
    garbled = "좋아요".encode("cp949").decode("latin-1")
    assert mojibake.find_codec([garbled, "日本", "中文"], "Hangul") is None
    assert mojibake.find_codec(["хорошо".encode("cp1251").decode("latin-1")], "Cyrillic") == ("latin-1", "cp1251")


def test_shadow_of_a_model_with_itself_finds_no_difference(tmp_path, model, capfd):
    file = write_table(tmp_path / "log.tsv", HONEST)
    status, out, _ = call(capfd, "shadow", file, "--model", model, "--served", model)
    assert (status, out) == (0, f"{model} and {model} give the same answers to {len(HONEST)} texts of {file}\n")
    status, _, error = call(capfd, "shadow", file, "--model", model, "--root", tmp_path)
    assert status == 2 and "no model was pushed there yet" in error


def make_known(letter):
    """A change that makes a model answer positive to texts with a letter, and surer of longer texts."""

    def change(text, _):
        length = tf.cast(tf.strings.length(text), tf.float32) / 5
        return tf.where(tf.strings.regex_full_match(text, f".*{letter}.*"), length, -length)

    return change


@pytest.fixture(name="pushed")
def _pushed(tmp_path):
    """A run root with two versions of a model, of which the second is served, and a log."""
    serving = tmp_path / "runs" / "job" / "serving"
    first, second = (
        save_model(serving / name, change=make_known(letter)) for name, letter in (("17", "a"), ("18", "b"))
    )
    texts = [*("b" * (number + 1) for number in range(25)), "ab", "x" * 30, "좋다", HOSTILE]
    log = write_served(tmp_path / "log.jsonl", texts)
    return tmp_path / "runs", first, second, log


def test_shadow_finds_the_texts_that_differ(pushed, tmp_path, capfd):
    root, first, _, log = pushed
    page = tmp_path / "page.html"
    status, out, _ = call(capfd, "shadow", log, "--model", first, "--root", root, "--json", "--html", page)
    assert status == 0
    result = json.loads(out)
    assert (result["served"], result["candidate"], result["texts"]) == ("version 18", "version 17", 29)
    # The 25 texts of b alone, and the hostile one, have one of the letters without the other.
    assert result["agree_share"] == pytest.approx(3 / 29) and result["largest"][0]["text"] == HOSTILE
    assert [each["text"] for each in result["largest"] if set(each["text"]) == {"b"}] == [
        "b" * length for length in range(25, 0, -1)
    ]
    found = next(each for each in result["largest"] if each["text"] == "b" * 25)
    assert (found["served"], found["candidate"], found["same"]) == ("긍정 99.3%", "부정 99.3%", False)
    assert found["difference"] == pytest.approx(0.9866, abs=1e-3)
    assert result["slices"]["length:10-19"] == {
        "texts": 10,
        "agree_share": 0.0,
        "mean_difference": pytest.approx(0.88, abs=0.02),
        "largest_difference": pytest.approx(0.957, abs=1e-3),
    }
    assert result["slices"]["script:hangul"]["agree_share"] == 1.0
    content = page.read_text()
    assert (
        "<script" not in content
        and "[bold]" in content
        and "&lt;script&gt;" in content
        and "b" * 25 in content
        and content.count("<svg ") == 2
    )

    status, out, _ = call(capfd, "shadow", log, "--model", first, "--root", root)
    assert status == 0 and "bbbbbbbbbb" in out and "\x1b" not in out and len(out.splitlines()) <= 20


def test_shadow_asks_a_sample(pushed, capfd):
    root, first, _, log = pushed
    result = json.loads(call(capfd, "shadow", log, "--model", first, "--root", root, "--json", "--rows", 10)[1])
    assert result["texts"] == 10
    assert call(capfd, "shadow", log, "--model", first, "--root", root, "--rows", 0)[0] == 2


def test_shadow_of_the_served_model_needs_another_one(pushed, capfd):
    root, first, second, log = pushed
    status, _, error = call(capfd, "shadow", log, "--model", second, "--root", root)
    assert status == 2 and "is the served model; set --served to the model to compare it with" in error
    result = json.loads(call(capfd, "shadow", log, "--model", second, "--served", first, "--root", root, "--json")[1])
    assert (result["served"], result["candidate"]) == ("version 17", "version 18")


def test_models_of_other_labels_are_not_compared(tmp_path, model, capfd):
    other = save_model(tmp_path / "2", task=make_task(("document",), {"0": "bad", "1": "good"}))
    status, _, error = call(capfd, "shadow", write_table(tmp_path / "l", HONEST), "--model", other, "--served", model)
    assert status == 2 and "the models predict other labels: 부정, 긍정; bad, good" in error


@pytest.mark.parametrize(
    "task, answer, group",
    [
        (saved_models.TASK, {"label_name": "긍정", "probability": 0.9}, "긍정"),
        (ScoreTask(("t",), 0.0, 10.0), {"score": 8.5}, "8 to 9"),
    ],
)
def test_an_answer_belongs_to_a_group_of_labels(task, answer, group):
    counts = answers.count_labels(task, [predictions.Prediction(answer, ())])
    assert counts.pop(group) == 1 and not any(counts.values())


@pytest.mark.skipif(not NSMC.exists(), reason="needs the NSMC files beside the repository")
def test_rows_of_nsmc_do_not_drift(tmp_path, capfd):
    model = save_model(tmp_path / "1", read_texts(NSMC / "ratings_train.txt"))
    status, result = drift(capfd, NSMC / "ratings_more.txt", model)
    assert (status, result["moved"]) == (0, []) and result["texts"] == 19998
