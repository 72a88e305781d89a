"""DataGate: each check fails on data with the one problem that it detects, and good data passes."""

import contextlib
import csv
import encodings.aliases
import functools
import json
import os
import pathlib
import random
import shutil
import unicodedata

import numpy as np
import pydantic
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.orchestration.portable import data_types
from tfx.types import channel, standard_artifacts

from artifacts import model_files
from artifacts.examples import Ingest, read_ingest, write_ingest
from artifacts.tfx_types import GateVerdict
from components import gate_config
from components.data_gate import (
    content,
    counting,
    driver,
    duplicates,
    executor,
    profile,
    quality,
    text_counts,
    unknown_tokens,
    word_sketch,
)
from components.data_gate.component import DataGate
from components.tsv_example_gen import executor as example_gen
from components.tsv_example_gen import parse, split
from core import checks
from core.config import CURATED_SCHEMA, DataConfig, DataGateConfig, is_wide, load_config
from core.errors import UserError
from schema import features
from schema.hashing import text_hash
from schema.task import BinaryTask, make_task
from tests import encoders, saved_models
from tests.data_gates import artifact, failed, fast_statistics, inputs_of, judge_file
from trainer import export
from trainer.packing import Packer

NAMES = ["negative", "positive"]
TASK = BinaryTask(("document",), {"0": "negative", "1": "positive"})
SAMPLE = os.path.join(os.path.dirname(CURATED_SCHEMA), os.pardir, "data", "sample")


def good_rows():
    """Returns split -> (text, label) rows; the splits are disjoint."""
    counts = {"train": 12, "dev": 6, "test": 8}
    return {name: [(f"{name} {i}", i % 2) for i in range(count)] for name, count in counts.items()}


def write_examples(folder, rows, rejected=None, not_sampled=0, test_files=("test.tsv",), dev_files=(), shards=2):
    """Writes an Examples artifact like TsvExampleGen's."""
    examples = artifact(standard_artifacts.Examples, folder)
    for name, records in rows.items():
        split_folder = folder / f"Split-{name}"
        split_folder.mkdir(parents=True)
        for shard in range(shards):
            path = str(split_folder / f"data_tfrecord-0000{shard}-of-0000{shards}.gz")
            with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for text, label in records[shard::shards]:
                    writer.write(example_gen.to_example(parse.Row("", (text,), label), f"{name}:0"))
    counts = {
        name: {"accepted": len(records), "rejected": (rejected or {}).get(name, {})} for name, records in rows.items()
    }
    files = {"train": ["train.tsv"], "dev": list(dev_files), "test": list(test_files)}
    hashes = {
        name: [sum(word) for word in zip(*(split.row_hash("", (text,), label) for text, label in each), strict=True)]
        for name, each in rows.items()
    }
    write_ingest(examples.uri, Ingest(counts, not_sampled, files, None, "f", digest=split.rows_digest(hashes)))
    return examples


def gate_of(**bounds):
    return gate_config.dump(TASK, executor.Bounds(max_rejected_fraction=0.1, **bounds))


def judge(folder, rows, serving=None, bounds=None, **examples):
    """Runs the gate's executor on rows; returns its checks by name. The verdict's folder is `folder/verdict`."""
    written = write_examples(folder / "examples", rows, **examples)
    inputs = inputs_of(folder, written, fast_statistics(folder / "statistics", rows))
    verdict = artifact(GateVerdict, folder / "verdict")
    data = {"min_rows": 5, "min_compared_rows": 100, **(bounds or {})}
    properties = {"gate": gate_of(**data), "serving_dir": str(serving or folder / "nothing served")}
    try:
        executor.Executor().Do(inputs, {"verdict": [verdict]}, properties)
        results = checks.read_checks(verdict.uri)
        assert not any(check.blocks for check in results)
    except quality.DataGateStopped as stopped:
        results = stopped.checks
        assert any(check.blocks for check in results)
        assert results == checks.read_checks(verdict.uri)
        for check in results:
            assert (check.reason in str(stopped)) is check.blocks
    assert {"profile.json", "checks.json"} == set(os.listdir(verdict.uri))
    return {check.check: check for check in results}


def test_good_data_passes_with_the_numbers_in_the_reasons(tmp_path):
    results = judge(tmp_path, good_rows(), rejected={"train": {"empty_text": 1}})
    assert not failed(results)
    assert {check.gate for check in results.values()} == {"data"}
    assert results["schema_anomalies/dev"].reason == "dev: matches the schema of 3 required features"
    assert results["rejected_fraction/train"].reason == "train: 0 of 19 rows rejected (0.00%)"
    assert results["empty_texts/train"].reason == "train: 1 of 19 rows have no text (5.26%)"
    assert results["rejected_fraction/test"].value == 0.0
    assert results["rows/test"].reason == "test: 8 rows"
    assert results["label_balance/train"].value == 0.5
    assert results["test_in_train"].reason == "not compared: no test row has 20 characters"


def test_too_many_rejected_rows(tmp_path):
    results = judge(tmp_path, good_rows(), rejected={"test": {"bad_label": 2, "empty_text": 1}})
    assert failed(results) == ["rejected_fraction/test"]
    assert results["rejected_fraction/test"].reason == (
        "test: 2 of 11 rows rejected (18.18%): bad_label 2; data.max_rejected_fraction is 10.00%; "
        "check data.labels and data.label"
    )


def test_empty_texts_have_a_bound_of_their_own_because_a_wrong_column_may_be_empty(tmp_path):
    results = judge(tmp_path, good_rows(), rejected={"train": {"empty_text": 3}})
    assert failed(results) == ["empty_texts/train"]
    assert results["empty_texts/train"].reason == (
        "train: 3 of 21 rows have no text (14.29%); 14.29% exceeds gates.data.empty_texts.max = 0.1; check data.text"
    )


def test_one_label_only(tmp_path):
    rows = good_rows()
    rows["dev"] = [(text, 1) for text, _ in rows["dev"]]
    results = judge(tmp_path, rows)
    assert failed(results) == ["label_balance/dev"]
    assert results["label_balance/dev"].reason == (
        "dev: label 'negative' has 0 of 6 rows (0.0%); gates.data.min_label_share is 5.0%"
    )


def test_too_few_rows(tmp_path):
    rows = good_rows()
    del rows["dev"][4:]
    results = judge(tmp_path, rows)
    assert failed(results) == ["rows/dev"]
    assert results["rows/dev"].reason == "dev: 4 rows; gates.data.min_rows is 5"


def test_schema_anomaly_is_quoted(tmp_path):
    rows = good_rows()
    rows["train"] += [("no label", -1)]
    results = judge(tmp_path, rows)
    assert failed(results) == ["schema_anomalies/train"]
    assert (
        "train: feature 'label': Out-of-range values: Unexpectedly small value: -1."
        in results["schema_anomalies/train"].reason
    )


CASES = pathlib.Path(CURATED_SCHEMA).resolve().parent.parent.parent / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not beside the repository")


def test_the_result_does_not_depend_on_shards_and_the_order_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(text_counts, "WORD_LIMIT", 50)
    monkeypatch.setattr(word_sketch, "_FREQUENT", 20)
    monkeypatch.setattr(content, "_SAMPLE_ROWS", 30)
    chance = random.Random(0)

    def texts(name):
        # Some texts twice, with another label.
        words = [[name + chance.choice("abcdef") * chance.randint(1, 6) for _ in range(6)] for _ in range(90)]
        return [(" ".join(each), i % 2) for i, each in enumerate([*words, *words[:20], *words[:7]])]

    rows = {name: texts(name) for name in features.SPLITS}
    rows["test"] += rows["train"][:9]
    results = []
    for shards, step in ((1, 1), (2, -1), (7, 1)):
        folder = tmp_path / str(shards)
        ordered = {name: each[::step] for name, each in rows.items()}
        results.append(
            list(judge(folder, ordered, test_files=(), shards=shards, bounds={"min_compared_rows": 50}).values())
        )
        results[-1].append((folder / "verdict" / "profile.json").read_text())
    assert results[0] == results[1] == results[2]
    by_name = {check.check: check for check in results[0][:-1]}
    assert by_name["test_in_train"].reason.startswith("test: 9 of ")
    assert by_name["label_skew"].compared and "each text counted once" in by_name["label_skew"].reason


@needs_cases
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_file_with_frequent_short_texts_passes(tmp_path, seed):
    data = DataConfig(train=str(CASES / "repeated_short.tsv"), text="review", id=None, seed=seed)
    assert not failed(judge_file(tmp_path, data))


@pytest.mark.parametrize("seed", [0, 3])
def test_one_text_as_a_third_of_a_file_is_no_skew_of_held_out_rows(tmp_path, seed):
    train = tmp_path / "train.tsv"
    rows = [f"an opinion of length {i % 7 * 'x'} number {i}\t{i % 2}\n" for i in range(6000)] + ["good\t1\n"] * 3000
    train.write_text("review\tlabel\n" + "".join(rows))
    data = DataConfig(train=str(train), text="review", id=None, seed=seed)
    results = judge_file(tmp_path, data)
    assert not failed(results)
    assert results["label_skew"].compared and results["label_skew"].value < 0.05
    assert "train (each text counted once)" in results["label_skew"].reason


def test_held_out_rows_that_differ_in_their_texts_are_still_skewed(tmp_path):
    rows = {"train": [(f"good {i}", 1) for i in range(200)], "dev": [(f"dev {i}", i % 2) for i in range(20)]}
    rows["test"] = [(f"bad {i}", 0) for i in range(200)] + [("good 1", 0)] * 5
    assert "label_skew" in failed(judge(tmp_path, rows, test_files=()))


@needs_cases
@pytest.mark.parametrize(
    "override, checked",
    [
        ("{Latin: 0.5}", {"script_share/Latin"}),
        ("{}", set()),
        ("null", {"script_share/Latin"}),
    ],
)
def test_what_is_given_replaces_the_scripts_of_the_file(tmp_path, override, checked):
    sets = [f"gates.data.min_script_shares={override}", f"data.train={CASES / 'english.tsv'}", "data.test=null"]
    settings = load_config(os.path.join(SAMPLE, os.pardir, os.pardir, "configs", "sample.yaml"), sets)
    bounds = settings.gates.data.model_dump()
    data = DataConfig(train=settings.data.train, text="review", id=None)
    results = judge_file(tmp_path, data, **bounds)
    assert {name for name in results if name.startswith("script_share")} == checked
    assert not failed(results)


def test_without_bounds_the_test_rows_need_the_main_script_of_train(tmp_path):
    rows = good_rows()
    rows["test"] = [(f"영화 {i}", i % 2) for i in range(8)]
    results = judge(tmp_path, rows)
    assert failed(results) == ["script_share/Latin"]
    assert results["script_share/Latin"].reason.startswith(
        "test: 0.0% of the letters are Latin, the main script of train (100.0%); at least half of that is needed"
    )


@needs_cases
@pytest.mark.parametrize(
    "labels, ignored, left_out",
    [({"1": "bad", "2": "bad", "4": "good", "5": "good"}, ("3",), 12), ({str(i): str(i) for i in range(1, 6)}, (), 0)],
)
def test_star_ratings_are_classes_as_the_configuration_says(tmp_path, labels, ignored, left_out):
    data = stars(labels=labels, ignore_labels=ignored)
    results = judge_file(tmp_path, data, min_rows=1, min_label_share=0.0, max_label_share=1.0)
    assert not failed(results)
    reason = results["rejected_fraction/train"].reason
    assert reason.startswith("train: 0 of 60 rows rejected (0.00%)")
    assert (f"; {left_out} left out by data.ignore_labels" in reason) is (left_out > 0)


@needs_cases
def test_unknown_ratings_are_counted_by_value(tmp_path):
    results = judge_file(tmp_path, stars(labels={"1": "bad", "5": "good"}), min_rows=1)
    check = results["rejected_fraction/train"]
    assert check.blocks
    assert "values that are not in data.labels: '2' (12), '3' (12), '4' (12)" in check.reason


def stars(**fields):
    train = str(CASES / "stars.tsv")
    return DataConfig(train=train, text="review", label="stars", id=None, dev_fraction=0.3, test_fraction=0.3, **fields)


def test_test_texts_in_train(tmp_path):
    rows = good_rows()
    long = [(f"a sentence that only one person writes {i}", i % 2) for i in range(12)]
    rows["train"] += long[:4]
    # Short texts repeat by chance.
    rows["test"] = [*long[:3], *long[4:], ("train 1", 0), ("train 1", 1), *rows["test"]]
    results = judge(tmp_path, rows)
    assert failed(results) == ["test_in_train"]
    assert results["test_in_train"].reason == (
        "test: 3 of 11 rows (27.3%) with 20 or more characters have a text that is also in train; "
        "0.273 exceeds gates.data.test_in_train.max = 0.1"
    )


def test_dev_texts_in_train(tmp_path):
    rows = good_rows()
    long = [(f"a sentence that only one person writes {i}", i % 2) for i in range(12)]
    rows["train"] += long[:4]
    rows["dev"] = [*long[:3], *long[4:], *rows["dev"]]
    assert "dev_in_train" not in judge(tmp_path / "held out", rows)
    results = judge(tmp_path / "own", rows, dev_files=["dev.tsv"], rejected={"dev": {"bad_label": 5}})
    assert failed(results) == ["rejected_fraction/dev", "dev_in_train"]
    assert results["dev_in_train"].reason == (
        "dev: 3 of 11 rows (27.3%) with 20 or more characters have a text that is also in train; "
        "0.273 exceeds gates.data.dev_in_train.max = 0.1"
    )
    assert results["rejected_fraction/dev"].reason.startswith("dev: 5 of 22 rows rejected")


@pytest.mark.parametrize(
    "role, test_files, read",
    [("train", ["t"], 10 + 5 + 100 + 3), ("test", ["t"], 7 + 1), ("train", [], 10 + 5 + 7 + 100 + 3)],
)
def test_rows_of_files(role, test_files, read):
    rows = {
        "train": {"accepted": 10, "rejected": {"bad_label": 3}},
        "dev": {"accepted": 5, "rejected": {}},
        "test": {"accepted": 7, "rejected": {"bad_label": 1} if test_files else {}},
    }
    assert quality.rows_read(role, Ingest(rows, 100, {"train": ["x"], "test": test_files}, None, "f")) == read


def test_anomalies_of_the_whole_dataset():
    anomalies = anomalies_pb2.Anomalies(data_missing=True)
    anomalies.dataset_anomaly_info.description = "too few examples"
    check = quality.check_anomalies("dev", anomalies, 3, DataGateConfig())
    assert (check.passed, check.value) == (False, 2.0)
    assert check.reason == "dev: too few examples, no data"


def test_a_value_equal_to_its_bound_passes():
    bounds = DataGateConfig()
    assert quality.check_label_balance("dev", {"a": 5, "b": 95}, bounds).passed
    assert not quality.check_label_balance("dev", {"a": 4, "b": 96}, bounds).passed
    assert quality.check_rows("dev", 20, bounds).passed
    outcome = Ingest(
        {"train": {"accepted": 99, "rejected": {"x": 1}}, "dev": {"accepted": 0}, "test": {"accepted": 0}},
        0, {"train": ["x"], "test": []}, None, "f",
    )  # fmt: skip
    assert quality.check_rejected("train", outcome, 0.01, bounds).passed
    assert not quality.check_rejected("train", outcome, 0.0099, bounds).passed
    assert quality.upper_bounded("label_skew", 0.1, bounds, "").passed
    assert not quality.upper_bounded("label_skew", 0.1001, bounds, "").passed


def test_label_share_has_an_upper_bound():
    three = {"a": 60, "b": 20, "c": 20}
    assert quality.check_label_balance("dev", three, DataGateConfig(max_label_share=0.6)).passed
    check = quality.check_label_balance("dev", three, DataGateConfig(max_label_share=0.5))
    assert (check.passed, check.value, check.bound) == (False, 0.6, 0.5)
    assert check.reason == "dev: label 'a' has 60 of 100 rows (60.0%); gates.data.max_label_share is 50.0%"


def count_split(folder, task=TASK):
    """Counts the shards of the training split one by one."""
    whole, hashed = content.SplitContent(task.label_groups), []
    for shard in counting.list_shards({"train": str(folder / "Split-train")}):
        part, texts = content.count_rows(shard.path, task)
        whole.merge(part)
        hashed.append(texts)
    return whole, duplicates.TextHashes(*(np.concatenate(column) for column in zip(*hashed, strict=True)))


def test_split_is_streamed_into_hashes_counts_and_a_sample(tmp_path):
    rows = {"train": [("same", 0)] * 3 + [(f"text {i}", 1) for i in range(5000)]}
    write_examples(tmp_path, {**good_rows(), **rows})
    read, texts = count_split(tmp_path)
    assert texts.hashes.dtype == np.uint64 and texts.hashes.shape == (5003,)
    assert np.unique(texts.hashes).size == 5001 and not texts.own.any()
    assert np.bincount(texts.groups).tolist() == [3, 5000]
    assert read.labels == {"negative": 3, "positive": 5000}
    assert read.texts.words["text"] == 5000 and read.texts.lengths.sum() == 5003
    by_hash = sorted((text for text, _ in rows["train"]), key=lambda text: text_hash([text.encode()]))
    assert read.sample == by_hash[:2000]


def test_scores_are_counted_by_range(tmp_path):
    write_examples(tmp_path, {**good_rows(), "train": [("a", 0.1), ("b", 2.6), ("c", 5.0)]})
    task = make_task(("document",), {}, "regression", (0, 5))
    labels = count_split(tmp_path, task)[0].labels
    assert {name: rows for name, rows in labels.items() if rows} == {"0 to 0.5": 1, "2.5 to 3": 1, "4.5 to 5": 1}


def test_the_rows_of_pairs_are_hashed_and_counted_with_both_texts(tmp_path):
    path = tmp_path / "Split-train" / "data.gz"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i, texts in enumerate((("ab", "c"), ("a", "bc"), ("ab", "c"))):
            writer.write(example_gen.to_example(parse.Row(str(i), texts, 0), ""))
    read, hashed = count_split(tmp_path)
    assert sorted(hashed.hashes.tolist()) == sorted(map(text_hash, ([b"ab", b"c"], [b"a", b"bc"], [b"ab", b"c"])))
    assert read.texts.letters() == {"Latin": 9}


def test_sample_is_bounded_in_rows_and_in_characters(tmp_path):
    write_examples(tmp_path, {**good_rows(), "train": [("길" * 600, 0)] * 5000})
    assert count_split(tmp_path)[0].sample == ["길" * 512] * 2000


def test_with_the_artifacts_of_the_real_components(tmp_path):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("id\tdocument\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(60)) + "60\t\t1\n")
    test.write_text("id\tdocument\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(57, 87)))
    examples = artifact(standard_artifacts.Examples, tmp_path / "examples")
    data = json.dumps({"train": str(train), "test": str(test), "dev_fraction": 0.3})
    example_gen.Executor().Do({}, {"examples": [examples]}, {"data": data})
    statistics = artifact(standard_artifacts.ExampleStatistics, tmp_path / "statistics")
    statistics.set_string_custom_property("tfx_version", "1.16.0")
    statistics_gen.Executor().Do({"examples": [examples]}, {"statistics": [statistics]}, {})
    inputs = inputs_of(tmp_path, examples, statistics)
    verdict = artifact(GateVerdict, tmp_path / "verdict")
    properties = {"gate": gate_of(min_rows=1, min_label_share=0.1), "serving_dir": str(tmp_path / "none")}
    executor.Executor().Do(inputs, {"verdict": [verdict]}, properties)
    results = {check.check: check for check in checks.read_checks(verdict.uri)}
    assert results["rejected_fraction/train"].reason == "train: 0 of 61 rows rejected (0.00%)"
    assert results["rows/test"].value == 30.0
    in_train = results["rows/train"].value
    assert in_train + results["rows/dev"].value == 60.0
    written = profile.read(os.path.join(verdict.uri, profile.PROFILE_FILE))
    assert written.fingerprint == read_ingest(examples.uri).fingerprint
    assert {name: split.rows for name, split in written.splits.items()} == {
        "train": in_train, "dev": 60 - in_train, "test": 30
    }  # fmt: skip
    assert written.splits["test"].labels == {"negative": 15, "positive": 15}


def test_component_wires_its_channels():
    channels = {
        "examples": standard_artifacts.Examples,
        "statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
        "anomalies": standard_artifacts.ExampleAnomalies,
    }
    wired = {name: channel.Channel(type=kind) for name, kind in channels.items()}
    gate = DataGate(**wired, gate="{}", serving_dir="served")
    assert gate.outputs["verdict"].type is GateVerdict
    assert issubclass(quality.DataGateStopped, UserError)


# The remaining tests use Korean: rows of the bundled sample, or changed ones.


@functools.cache
def sample_rows(name):
    with open(os.path.join(SAMPLE, f"ratings_{name}.txt"), encoding="utf-8", newline="") as stream:
        records = csv.DictReader(stream, delimiter="\t")
        return [(row["document"], int(row["label"])) for row in records if row["document"]]


@functools.cache
def korean():
    """Returns split -> rows, and `served` -> the training rows of the model in serving; all are disjoint."""
    train = list(dict(sample_rows("train")).items())
    test = [row for row in sample_rows("test") if row[0] not in dict(train)]
    return {"train": train[:500], "dev": train[500:540], "test": test[:500], "served": train[600:1100]}


def current(**changed):
    """Returns the current splits, some of them replaced."""
    return {name: changed.get(name, korean()[name]) for name in features.SPLITS}


def rewritten(change, *splits, share=1.0):
    """Returns the current splits, with a share of the texts of the given splits changed."""

    def one(index, text):
        return change(text) if index % 10 < share * 10 else text

    return current(**{s: [(one(i, text), label) for i, (text, label) in enumerate(korean()[s])] for s in splits})


def english(text):
    """Returns English text of the same length."""
    chance = random.Random(text)
    words = "a boring film with bad acting that nobody should have to see twice again and great music".split()
    return " ".join(chance.choice(words) for _ in text)[: len(text)]


def lengthened(text):
    """Appends twenty other texts."""
    others = random.Random(text).sample(sample_rows("train")[1200:], 20)
    return " ".join([text, *(other for other, _ in others)])


def read_as(text, written, read):
    """Decodes a text with a wrong codec; letters that are not in the right one are dropped."""
    return text.encode(written, "ignore").decode(read)


def flipped(rows, share):
    """Relabels a share of the negative rows as positive."""
    return [(text, 1 if index % 10 < share * 10 else label) for index, (text, label) in enumerate(rows)]


@pytest.fixture(scope="module", name="serving")
def _serving(tmp_path_factory):
    """A serving folder with one version: a model, and the profile that the gate wrote for its training data."""
    folder = tmp_path_factory.mktemp("serving")
    rows = {**current(), "train": korean()["served"]}
    assert not failed(judge(folder / "gate", rows))
    serve(folder / "serving", folder / "gate" / "verdict" / "profile.json")
    return folder / "serving"


def serve(serving, profile_file=None, version="7"):
    saved_models.save(str(serving / version))
    if profile_file:
        target = serving / version / model_files.DATA_PROFILE
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(profile_file, target)


def test_good_korean_passes_against_the_training_data_of_the_model_in_serving(tmp_path, serving):
    results = judge(tmp_path, current(), serving=serving, bounds={"min_script_shares": {"Hangul": 0.5}})
    assert not [name for name, check in results.items() if not check.passed]
    assert {"label_drift", "length_drift", "script_drift", "oov_drift/letters", "oov_drift/words"} <= set(results)
    assert {"label_skew", "length_skew", "script_skew", "oov_skew/letters", "oov_skew/words"} <= set(results)
    for name, check in results.items():
        if "_drift" in name:
            assert "the training data of serving version 7" in check.reason
            assert check.value < check.bound / 2, "no room"


@pytest.mark.parametrize(
    ("rows", "stopped_by"),
    [
        pytest.param(lambda: rewritten(english, "train", "dev", "test"), ["script_drift"], id="all English"),
        pytest.param(lambda: rewritten(english, "train", "test", share=0.2), ["script_drift"], id="a fifth English"),
        pytest.param(lambda: rewritten(english, "test"), ["script_share/Hangul", "script_skew"], id="test English"),
        pytest.param(
            lambda: current(train=flipped(korean()["train"], 0.4), test=flipped(korean()["test"], 0.4)),
            ["label_drift"],
            id="labels",
        ),
        pytest.param(lambda: current(test=flipped(korean()["test"], 0.4)), ["label_skew"], id="labels of test"),
        pytest.param(lambda: rewritten(lengthened, "train", "test", share=0.3), ["length_drift"], id="very long"),
        pytest.param(lambda: rewritten(lengthened, "test", share=0.3), ["length_skew"], id="very long in test"),
        pytest.param(lambda: rewritten(other_syllables, "train", "test"), ["oov_drift/letters"], id="rare syllables"),
        pytest.param(lambda: rewritten(other_syllables, "test"), ["oov_skew/letters"], id="rare syllables in test"),
        pytest.param(lambda: rewritten(other_words, "train", "test"), ["oov_drift/words"], id="other words"),
        pytest.param(lambda: rewritten(other_words, "test"), ["oov_skew/words"], id="other words in test"),
        pytest.param(
            lambda: current(test=korean()["train"][:60] + korean()["test"][60:]), ["test_in_train"], id="leaked test"
        ),
    ],
)
def test_each_fault_fails_its_check_only(tmp_path, serving, rows, stopped_by):
    results = judge(tmp_path, rows(), serving=serving)
    assert failed(results) == stopped_by
    section = stopped_by[-1].partition("/")[0]
    assert f" exceeds gates.data.{section}.max = " in results[stopped_by[-1]].reason


def other_syllables(text):
    """Replaces Hangul syllables by rare ones, as a wrong code table would."""
    return "".join(chr(0xAC00 + (ord(c) * 7919) % 11172) if "가" <= c <= "힣" else c for c in text)


def other_words(text):
    """Reverses each word, which keeps the syllables."""
    return " ".join(word[::-1] for word in text.split(" "))


@pytest.mark.parametrize(
    ("written", "read", "bounds", "stopped_by"),
    [
        # Half of UTF-8's continuation bytes are control characters in Latin-1, which has no Hangul either: two signs of
        # one fault. Either of them stops the run; the first needs no setting.
        ("utf-8", "latin-1", {}, ["unreadable_characters"]),
        ("utf-8", "latin-1", {"min_script_shares": {"Hangul": 0.5}}, ["script_share/Hangul", "unreadable_characters"]),
        ("cp949", "latin-1", {"min_script_shares": {"Hangul": 0.5}}, ["script_share/Hangul"]),
        ("cp949", "gb18030", {"min_script_shares": {"Hangul": 0.5}}, ["script_share/Hangul"]),
        ("utf-8", "koi8-r", {"min_script_shares": {"Hangul": 0.5}}, ["script_share/Hangul"]),
    ],
)
def test_the_first_run_detects_a_wrong_codec(tmp_path, written, read, bounds, stopped_by):
    rows = rewritten(lambda text: read_as(text, written, read), *features.SPLITS)
    assert failed(judge(tmp_path, rows, bounds=bounds)) == stopped_by


def test_the_first_run_detects_english_and_decomposed_hangul(tmp_path):
    bounds = {"min_script_shares": {"Hangul": 0.5}}
    results = judge(tmp_path / "english", rewritten(english, "dev"), bounds=bounds)
    assert failed(results) == ["script_share/Hangul"]
    assert results["script_share/Hangul"].reason == (
        "dev: 0.0% of the letters are Hangul; gates.data.min_script_shares.Hangul is 50.0%; "
        "check data.encoding and data.text"
    )
    apart = rewritten(lambda text: unicodedata.normalize("NFD", text), *features.SPLITS)
    assert failed(judge(tmp_path / "apart", apart, bounds=bounds)) == ["script_share/Hangul"]


def codecs_of_python():
    names = sorted(set(encodings.aliases.aliases.values()))
    for name in names:
        with contextlib.suppress(pydantic.ValidationError):
            encoding = DataConfig(train="t", encoding=name).encoding
            if not is_wide(encoding):  # Their lines are read as UTF-8.
                yield encoding


@pytest.mark.parametrize("written", ["utf_8", "cp949"])
def test_korean_in_any_other_codec_is_stopped_or_unchanged(written):
    texts = [text for text, _ in korean()["train"][:200]]
    task = saved_models.TASK
    harmless = set()
    for name in codecs_of_python():
        dialect = parse.make_dialect(DataConfig(train="t", quoting="none", encoding=name))
        layout = parse.Layout(width=2, texts=(0,), label=1, id=None, dialect=dialect)
        parsed = [parse.parse_row(f"{text}\t1".encode(written, "ignore"), layout, task) for text in texts]
        read = [row.texts[0] for row in parsed if isinstance(row, parse.Row)]
        rejected = 1 - len(read) / len(texts)
        split = profile.make_split_profile({"positive": len(read)}, text_counts.TextCounts(read))
        (shares,) = quality.check_script_shares({"train": split}, DataGateConfig(min_script_shares={"Hangul": 0.5}))
        if rejected <= DataConfig(train="t").max_rejected_fraction and shares.passed:
            harmless.add(name)
            assert read == [text.encode(written, "ignore").decode(written) for text in texts], name
    # The same codec under other names, and for cp949 the smaller character set that it extends.
    assert written in harmless and len(harmless) <= 3


def test_a_warning_does_not_stop_the_run(tmp_path, serving):
    results = judge(
        tmp_path, rewritten(english, *features.SPLITS), serving=serving, bounds={"script_drift": {"severity": "warn"}}
    )
    assert not failed(results)
    assert (results["script_drift"].passed, results["script_drift"].severity) == (False, "warn")
    assert results["script_drift"].bound == DataGateConfig().script_drift.max


def test_without_a_reference_drift_passes_with_the_reason(tmp_path):
    results = judge(tmp_path / "first", current())
    drift = {name: check for name, check in results.items() if name.endswith("_drift")}
    assert set(drift) == {"label_drift", "length_drift", "script_drift", "oov_drift"}
    for check in drift.values():
        assert check.passed and check.value is None and check.verdict == "not checked"
        assert check.reason == "not compared: no model is in serving"
    assert results["unknown_tokens"].reason == "not checked: no model is in serving"

    serve(tmp_path / "serving")
    results = judge(tmp_path / "second", current(), serving=tmp_path / "serving")
    assert results["script_drift"].passed
    assert "serving version 7 has no readable data profile" in results["script_drift"].reason
    assert results["served_profile"].passed
    assert results["unknown_tokens"].reason == ("not checked: serving version 7 has no tokeniser with an unknown token")


def test_a_section_keeps_the_defaults_of_missing_fields():
    bounds = DataGateConfig.model_validate({"label_drift": {"severity": "warn"}, "oov_skew": {"max": 0.3}})
    assert (bounds.label_drift.max, bounds.label_drift.severity) == (DataGateConfig().label_drift.max, "warn")
    assert (bounds.oov_skew.max, bounds.oov_skew.severity) == (0.3, "fail")
    for wrong in ({"label_drift": {"min": 1}}, {"min_script_shares": {"Hangeul": 0.5}}, {"oov_skew": {"max": 2}}):
        with pytest.raises(pydantic.ValidationError):
            DataGateConfig.model_validate(wrong)


def test_few_rows_are_not_compared(tmp_path, serving):
    few = current(test=rewritten(english, "test")["test"][:99])
    results = judge(tmp_path, few, serving=serving, bounds={"min_script_shares": {}})
    assert not failed(results)
    assert results["script_skew"].value is None
    assert "test was not compared with train: 99 rows, fewer than" in results["script_skew"].reason


@pytest.mark.parametrize(
    ("content_of_file", "words"),
    [
        ("{", "JSON"),
        ('{"format": 2}', "format"),
        ("[]", "object"),
        (" " * (1 << 20) + "{}", "more than 1,048,576 bytes"),
    ],
    ids=["torn", "another format", "not an object", "huge"],
)
def test_an_unreadable_profile_is_a_warning(tmp_path, content_of_file, words):
    (tmp_path / "broken.json").write_text(content_of_file)
    serve(tmp_path / "serving", tmp_path / "broken.json")
    results = judge(tmp_path / "gate", current(), serving=tmp_path / "serving")
    assert not failed(results)
    check = results["served_profile"]
    assert (check.passed, check.severity) == (False, "warn")
    assert "data_profile.json" in check.reason and words in check.reason
    assert results["label_drift"].passed


class _Length(tf.Module):
    """Logit: the number of tokens."""

    encoder = None

    def __call__(self, inputs):
        return tf.cast(tf.reduce_sum(inputs["input_mask"], axis=1, keepdims=True), tf.float32)


def test_unknown_tokens_of_the_model_in_serving(tmp_path):
    preprocess = tf.saved_model.load(os.path.join(encoders.save(str(tmp_path / "encoder")), "preprocess"))
    served = export.ServedClassifier(Packer(preprocess, 1, 16), _Length(), saved_models.TASK)
    export.export(str(tmp_path / "serving" / "3"), served)
    known = [(text, i % 2) for i, text in enumerate(encoders.TEXTS)] * 2
    rows = {"train": known, "dev": known, "test": [(f"{text} 2", label) for text, label in known]}
    results = judge(tmp_path / "known", rows, serving=tmp_path / "serving")
    assert not failed(results)
    assert results["unknown_tokens"].reason == "train: 0.00% of the tokens are unknown to serving version 3"

    rows["train"] = [(text.replace(" ", " 쀍 "), label) for text, label in known]
    results = judge(tmp_path / "unknown", rows, serving=tmp_path / "serving")
    assert failed(results) == ["unknown_tokens"]
    assert 0.1 < results["unknown_tokens"].value < 0.5
    assert "unknown to serving version 3; " in results["unknown_tokens"].reason
    assert results["unknown_tokens"].reason.endswith(" exceeds gates.data.unknown_tokens.max = 0.1")


def test_a_model_of_an_earlier_release_has_its_tokeniser_inside_its_preprocess_model(tmp_path):
    module = tf.Module()
    module._preprocess = tf.saved_model.load(os.path.join(encoders.save(str(tmp_path / "encoder")), "preprocess"))
    tf.saved_model.save(module, str(tmp_path / "1"))
    assert unknown_tokens.unknown_token_share(str(tmp_path / "1"), encoders.TEXTS) == 0.0
    tf.saved_model.save(tf.Module(), str(tmp_path / "2"))
    assert unknown_tokens.unknown_token_share(str(tmp_path / "2"), encoders.TEXTS) is None


def test_a_served_model_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "saved_model.pb").write_text("torn")
    with pytest.raises(UserError, match="the newest version .*5 can't be loaded"):
        unknown_tokens.unknown_token_share(str(tmp_path / "5"), ["x"])


def test_the_fingerprint_depends_on_the_model_in_serving(tmp_path, serving):
    examples = write_examples(tmp_path / "examples", current())
    assert fingerprint(examples, tmp_path / "serving") == "none"
    serve(tmp_path / "serving", version="1")
    bare = fingerprint(examples, tmp_path / "serving")
    shutil.copytree(serving / "7", tmp_path / "serving" / "7")
    with_profile = fingerprint(examples, tmp_path / "serving")
    assert len({"none", bare, with_profile}) == 3
    # The record of a push does not matter.
    (tmp_path / "serving" / "7" / model_files.PUSH_RECORD).write_text("{}")
    assert fingerprint(examples, tmp_path / "serving") == with_profile


def test_a_model_trained_on_the_same_data_has_the_previous_fingerprint(tmp_path, serving):
    first = fingerprint(write_examples(tmp_path / "examples", current()), serving)
    judge(tmp_path / "first", current(), serving=serving)
    shutil.copytree(serving, tmp_path / "serving")
    serve(tmp_path / "serving", tmp_path / "first" / "verdict" / "profile.json", version="8")
    same = write_examples(tmp_path / "same", current())
    assert fingerprint(same, tmp_path / "serving") == first != "none"
    results = judge(tmp_path / "second", current(), serving=tmp_path / "serving")
    assert results["script_drift"].reason == "not compared: serving version 8 was trained on the same data"
    other = write_examples(tmp_path / "other", current(dev=korean()["dev"][1:]))
    assert fingerprint(other, tmp_path / "serving") != first


def fingerprint(examples, serving_dir):
    info = data_types.ExecutionInfo(
        input_dict={"examples": [examples]}, exec_properties={"serving_dir": str(serving_dir)}
    )
    return driver.Driver(None).run(info).exec_properties["fingerprint"].string_value


def test_a_push_during_the_run_is_an_error(tmp_path, serving):
    examples = write_examples(tmp_path / "examples", current())
    properties = {"gate": gate_of(), "serving_dir": str(serving), "fingerprint": "none"}
    verdict = artifact(GateVerdict, tmp_path / "verdict")
    with pytest.raises(UserError, match="serving.dir.*run again"):
        executor.Executor().Do({"examples": [examples]}, {"verdict": [verdict]}, properties)
    assert not os.listdir(verdict.uri)
