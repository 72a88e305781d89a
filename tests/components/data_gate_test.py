"""DataGate: each check fails by data made to fail it alone, and honest data passes."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as example_validator
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.types import artifact_utils, channel, standard_artifacts

from components import GateVerdict
from components.data_gate import checks, executor
from components.data_gate.component import DataGate
from components.tsv_example_gen import executor as example_gen
from components.tsv_example_gen import ingest, parse
from pipeline import gates
from pipeline.config import CURATED_SCHEMA, DataGateConfig
from pipeline.errors import UserError
from schema import features

NAMES = ["negative", "positive"]


def honest_rows():
    """Split -> (text, label) rows, none of them in two splits."""
    counts = {"train": 12, "dev": 6, "test": 8}
    return {name: [(f"{name} {i}", i % 2) for i in range(count)] for name, count in counts.items()}


def artifact(kind, folder):
    made = kind()
    made.uri = str(folder)
    os.makedirs(made.uri, exist_ok=True)
    if kind not in (GateVerdict, standard_artifacts.Schema):
        made.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    return made


def write_examples(folder, rows, rejected=None, not_sampled=0, test_files=("test.tsv",)):
    """Writes an Examples artifact as TsvExampleGen does, two shards a split."""
    examples = artifact(standard_artifacts.Examples, folder)
    for name, records in rows.items():
        split_folder = folder / f"Split-{name}"
        split_folder.mkdir(parents=True)
        for shard in range(2):
            path = str(split_folder / f"data_tfrecord-0000{shard}-of-00002.gz")
            with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for text, label in records[shard::2]:
                    writer.write(example_gen.to_example(parse.Row("", (text,), label), f"{name}:0"))
    counts = {
        name: {"accepted": len(records), "rejected": (rejected or {}).get(name, {})} for name, records in rows.items()
    }
    files = {"train": ["train.tsv"], "test": list(test_files)}
    ingest.write_ingest(examples.uri, ingest.Ingest(counts, not_sampled, files, None, "f"))
    return examples


def fast_statistics(folder, rows):
    """Statistics of the rows by TFDV without Beam, in StatisticsGen's layout."""
    statistics = artifact(standard_artifacts.ExampleStatistics, folder)
    # An artifact without a version is taken for one of an early TFX, which kept statistics elsewhere.
    statistics.set_string_custom_property("tfx_version", "1.16.0")
    for name, records in rows.items():
        frame = pd.DataFrame(records, columns=["document", "label"]).assign(id="1")
        os.makedirs(folder / f"Split-{name}")
        list_view = tfdv.generate_statistics_from_dataframe(frame)
        (folder / f"Split-{name}" / "FeatureStats.pb").write_bytes(list_view.SerializeToString())
    return statistics


def inputs_of(folder, examples, statistics):
    """The gate's inputs: the curated schema and real anomalies beside the given artifacts."""
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    import_schema_gen.Executor().Do({}, {"schema": [schema]}, {"schema_file": CURATED_SCHEMA})
    anomalies = artifact(standard_artifacts.ExampleAnomalies, folder / "anomalies")
    for name in features.SPLITS:
        (folder / "anomalies" / f"Split-{name}").mkdir()
    example_validator.Executor().Do(
        {"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {"exclude_splits": "[]"}
    )
    found = {"examples": examples, "statistics": statistics, "schema": schema, "anomalies": anomalies}
    return {name: [value] for name, value in found.items()}


def judge(folder, rows, names=NAMES, **examples):
    """Runs the gate's executor on rows; returns its checks by name."""
    written = write_examples(folder / "examples", rows, **examples)
    inputs = inputs_of(folder, written, fast_statistics(folder / "statistics", rows))
    verdict = artifact(GateVerdict, folder / "verdict")
    gate = {"data": DataGateConfig(min_rows=5).model_dump(), "max_rejected_fraction": 0.1, "label_names": names}
    try:
        executor.Executor().Do(inputs, {"verdict": [verdict]}, {"gate": json.dumps(gate)})
        made = gates.read_checks(verdict.uri)
        assert all(check.passed for check in made)
    except checks.DataGateStopped as stopped:
        made = stopped.checks
        assert made == gates.read_checks(verdict.uri)
        for check in made:
            assert (check.reason in str(stopped)) is not check.passed
    return {check.check: check for check in made}


def failed(made):
    return [name for name, check in made.items() if not check.passed]


def test_honest_data_passes_with_the_numbers_in_words(tmp_path):
    made = judge(tmp_path, honest_rows(), rejected={"train": {"empty_text": 1}})
    assert not failed(made)
    assert {check.gate for check in made.values()} == {"data"}
    assert made["schema_anomalies/dev"].reason == "dev: no anomalies against the schema of 3 features"
    assert made["rejected_fraction/train"].reason == "train: 1 of 19 rows rejected (5.26%): empty_text 1"
    assert made["rejected_fraction/test"].value == 0.0
    assert made["min_rows/test"].reason == "test: 8 rows"
    assert made["label_balance/train"].value == 0.5
    assert made["test_in_train"].reason == "test: 0 of 8 rows (0.0%) have a text that is also in train"


def test_too_many_rejected_rows(tmp_path):
    made = judge(tmp_path, honest_rows(), rejected={"test": {"bad_label": 2, "empty_text": 1}})
    assert failed(made) == ["rejected_fraction/test"]
    assert made["rejected_fraction/test"].reason == (
        "test: 3 of 11 rows rejected (27.27%): bad_label 2, empty_text 1; data.max_rejected_fraction allows 10.00%, "
        "see data.labels and data.label"
    )


def test_one_label_only(tmp_path):
    rows = honest_rows()
    rows["dev"] = [(text, 1) for text, _ in rows["dev"]]
    made = judge(tmp_path, rows)
    assert failed(made) == ["label_balance/dev"]
    assert made["label_balance/dev"].reason == (
        "dev: the rarest label 'negative' has 0 of 6 rows (0.0%); gates.data.min_label_share asks for 5.0%"
    )


def test_too_few_rows(tmp_path):
    rows = honest_rows()
    del rows["dev"][4:]
    made = judge(tmp_path, rows)
    assert failed(made) == ["min_rows/dev"]
    assert made["min_rows/dev"].reason == "dev: 4 rows; gates.data.min_rows asks for 5"


def test_schema_anomaly_in_its_own_words(tmp_path):
    rows = honest_rows()
    rows["train"] += [("a third label", 2)]
    made = judge(tmp_path, rows)
    assert failed(made) == ["schema_anomalies/train"]
    assert "train: feature 'label': Out-of-range values: Unexpectedly large value: 2." in made[
        "schema_anomalies/train"
    ].reason


def test_test_texts_in_train_are_counted_and_pass(tmp_path):
    rows = honest_rows()
    rows["test"] = [("train 1", 0), ("train 1", 1), ("train 2", 0)] + rows["test"]
    made = judge(tmp_path, rows)
    assert not failed(made)
    assert made["test_in_train"].reason == "test: 3 of 11 rows (27.3%) have a text that is also in train"
    assert made["test_in_train"].value == 3.0


def test_labels_that_are_no_classes_have_no_balance(tmp_path):
    made = judge(tmp_path, honest_rows(), names=[])
    assert not [name for name in made if name.startswith("label_balance")]


@pytest.mark.parametrize(
    "role, test_files, read",
    [("train", ["t"], 10 + 5 + 100 + 3), ("test", ["t"], 7 + 1), ("train", [], 10 + 5 + 7 + 100 + 3)],
)
def test_rows_read_of_files(role, test_files, read):
    rows = {
        "train": {"accepted": 10, "rejected": {"bad_label": 3}},
        "dev": {"accepted": 5, "rejected": {}},
        "test": {"accepted": 7, "rejected": {"bad_label": 1} if test_files else {}},
    }
    assert checks.rows_read(role, ingest.Ingest(rows, 100, {"train": ["x"], "test": test_files}, None, "f")) == read


def test_anomalies_of_the_whole_dataset():
    anomalies = anomalies_pb2.Anomalies(data_missing=True)
    anomalies.dataset_anomaly_info.description = "too few examples"
    check = checks.check_anomalies("dev", anomalies, 3)
    assert (check.passed, check.value) == (False, 2.0)
    assert check.reason == "dev: too few examples, there is no data"


def test_bound_itself_passes():
    assert checks.check_label_balance("dev", [5, 95], NAMES, 0.05).passed
    assert not checks.check_label_balance("dev", [4, 96], NAMES, 0.05).passed
    assert checks.check_min_rows("dev", 20, 20).passed
    outcome = ingest.Ingest(
        {"train": {"accepted": 99, "rejected": {"x": 1}}, "dev": {"accepted": 0}, "test": {"accepted": 0}},
        0, {"train": ["x"], "test": []}, None, "f",
    )
    assert checks.check_rejected("train", outcome, 0.01).passed
    assert not checks.check_rejected("train", outcome, 0.0099).passed


def test_split_is_streamed_into_hashes(tmp_path):
    rows = {"train": [("same", 0)] * 3 + [(f"text {i}", 1) for i in range(2000)]}
    write_examples(tmp_path, {**honest_rows(), **rows})
    content = executor.read_split(str(tmp_path / "Split-train"), 2)
    assert content.text_hashes.dtype == np.uint64 and content.text_hashes.shape == (2003,)
    assert np.unique(content.text_hashes).size == 2001
    assert content.label_counts.tolist() == [3, 2000]


def test_after_the_real_components(tmp_path):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("id\tdocument\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(60)) + "60\t\t1\n")
    test.write_text("id\tdocument\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(50, 80)))
    examples = artifact(standard_artifacts.Examples, tmp_path / "examples")
    data = json.dumps({"train": str(train), "test": str(test), "dev_fraction": 0.3})
    example_gen.Executor().Do({}, {"examples": [examples]}, {"data": data})
    statistics = artifact(standard_artifacts.ExampleStatistics, tmp_path / "statistics")
    statistics.set_string_custom_property("tfx_version", "1.16.0")
    statistics_gen.Executor().Do({"examples": [examples]}, {"statistics": [statistics]}, {})
    inputs = {name: value[0] for name, value in inputs_of(tmp_path, examples, statistics).items()}
    gate = {"data": {"min_rows": 1, "min_label_share": 0.1}, "max_rejected_fraction": 0.1, "label_names": NAMES}
    made = {check.check: check for check in executor.make_checks(inputs, gate)}
    assert not failed(made)
    assert made["rejected_fraction/train"].reason == "train: 1 of 61 rows rejected (1.64%): empty_text 1"
    assert made["min_rows/test"].value == 30.0
    in_train = made["min_rows/train"].value
    assert in_train + made["min_rows/dev"].value == 60.0
    assert 0 < made["test_in_train"].value <= 10


def test_component_wires_its_channels():
    channels = {
        "examples": standard_artifacts.Examples,
        "statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
        "anomalies": standard_artifacts.ExampleAnomalies,
    }
    gate = DataGate(**{name: channel.Channel(type=kind) for name, kind in channels.items()}, gate="{}")
    assert gate.outputs["verdict"].type is GateVerdict
    assert issubclass(checks.DataGateStopped, UserError)
