"""Runs of the data gate's executor for tests, with statistics by TFDV without Beam."""

import contextlib
import os

import pandas as pd
import tensorflow_data_validation as tfdv
from tfx.components.example_validator import executor as example_validator
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.types import artifact_utils, standard_artifacts

from artifacts.examples import read_rows
from artifacts.tfx_types import GateVerdict
from components import gate_config
from components.data_gate import executor, quality
from components.tsv_example_gen import executor as example_gen
from core import checks
from core.config import CURATED_SCHEMA
from schema import features


def artifact(kind, folder):
    result = kind()
    result.uri = str(folder)
    os.makedirs(result.uri, exist_ok=True)
    if kind not in (GateVerdict, standard_artifacts.Schema):
        result.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    return result


def fast_statistics(folder, rows):
    """Computes statistics of the rows by TFDV without Beam, in StatisticsGen's layout."""
    statistics = artifact(standard_artifacts.ExampleStatistics, folder)
    # TFX treats an artifact without a version as one of an early TFX, which stored statistics elsewhere.
    statistics.set_string_custom_property("tfx_version", "1.16.0")
    for name, records in rows.items():
        frame = pd.DataFrame(records, columns=["document", "label"]).assign(id="1")
        os.makedirs(folder / f"Split-{name}")
        list_view = tfdv.generate_statistics_from_dataframe(frame)
        (folder / f"Split-{name}" / "FeatureStats.pb").write_bytes(list_view.SerializeToString())
    return statistics


def inputs_of(folder, examples, statistics):
    """Returns the gate's inputs: the given artifacts, the curated schema and real anomalies."""
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    import_schema_gen.Executor().Do({}, {"schema": [schema]}, {"schema_file": CURATED_SCHEMA})
    anomalies = artifact(standard_artifacts.ExampleAnomalies, folder / "anomalies")
    for name in features.SPLITS:
        (folder / "anomalies" / f"Split-{name}").mkdir()
    example_validator.Executor().Do(
        {"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {"exclude_splits": "[]"}
    )
    artifacts = {"examples": examples, "statistics": statistics, "schema": schema, "anomalies": anomalies}
    return {name: [value] for name, value in artifacts.items()}


def failed(results):
    return [name for name, check in results.items() if check.blocks]


def judge_file(folder, data, **bounds):
    """Ingests the files and runs the gate as a run does; returns the checks by name."""
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    example_gen.Executor().Do({}, {"examples": [examples]}, {"data": data.model_dump_json()})
    rows = {split: split_rows(examples.uri, split) for split in features.SPLITS}
    inputs = inputs_of(folder, examples, fast_statistics(folder / "statistics", rows))
    gate = gate_config.dump(data.make_task(), executor.Bounds(max_rejected_fraction=0.01, **bounds))
    verdict = artifact(GateVerdict, folder / "verdict")
    with contextlib.suppress(quality.DataGateStopped):
        executor.Executor().Do(inputs, {"verdict": [verdict]}, {"gate": gate, "serving_dir": str(folder / "none")})
    return {check.check: check for check in checks.read_checks(verdict.uri)}


def split_rows(uri, split):
    chunks = read_rows([os.path.join(uri, f"Split-{split}", "*")], 1000)
    return [(text.decode(), label) for _, texts, labels in chunks for (text,), label in zip(texts, labels, strict=True)]
