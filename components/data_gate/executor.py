"""The work of DataGate: reads what ingestion, statistics and validation left, and decides."""

import dataclasses
import json
import os
from typing import Any, Mapping

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.data_gate import checks
from components.tsv_example_gen import sources
from components.tsv_example_gen.ingest import Ingest, read_ingest
from components.tsv_example_gen.split import text_hash
from pipeline import progress
from pipeline.config import DataGateConfig
from pipeline.gates import Check, write_checks
from schema import features

EXAMPLES = "examples"
STATISTICS = "statistics"
SCHEMA = "schema"
ANOMALIES = "anomalies"
GATE = "gate"
VERDICT = "verdict"

# Examples a parse: one op call for many rows, a block of a few hundred KiB.
_BATCH = 1024
_FEATURES = {
    features.DOCUMENT: tf.io.RaggedFeature(tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.int64),
}


@dataclasses.dataclass(frozen=True)
class SplitContent:
    """What the gate knows of a split's rows.

    Attributes:
      text_hashes: uint64[rows], in no order.
      label_counts: int64[labels], rows of each label.
    """

    text_hashes: np.ndarray
    label_counts: np.ndarray


class Executor(base_executor.BaseExecutor):
    """Writes the verdict on the data, and stops the run where a bound is missed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Makes the checks.

        Args:
          input_dict: one artifact each: `examples` of TsvExampleGen, and the `statistics`, `schema` and
            `anomalies` of it.
          output_dict: `verdict`: one `components.GateVerdict`.
          exec_properties: `gate`: JSON, as `DataGate` takes it.

        Raises:
          DataGateStopped: a check failed.
        """
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in input_dict.items()}
        made = make_checks(inputs, json.loads(exec_properties[GATE]))
        write_checks(artifact_utils.get_single_uri(output_dict[VERDICT]), made)
        if not all(check.passed for check in made):
            raise checks.DataGateStopped(made)


def make_checks(inputs: Mapping[str, types.Artifact], gate: Mapping[str, Any]) -> list[Check]:
    """Makes every check, in the order a person wants to read them.

    Args:
      inputs: the artifacts, by the names of `Executor.Do`.
      gate: `data`: fields of `DataGateConfig`; `max_rejected_fraction`; `label_names`, empty where labels are
        no classes.
    """
    examples, bounds, names = inputs[EXAMPLES], DataGateConfig.model_validate(gate["data"]), gate["label_names"]
    ingest = read_ingest(examples.uri)
    splits = artifact_utils.decode_split_names(examples.split_names)
    contents = {}
    for done, split in enumerate(splits):
        progress.report("looking at the data", done, len(splits), split=split)
        contents[split] = read_split(artifact_utils.get_split_uri([examples], split), len(names))
    made = _check_schema(splits, inputs)
    made += [checks.check_rejected(role, ingest, gate["max_rejected_fraction"]) for role in _roles(ingest)]
    made += [checks.check_min_rows(s, _example_count(inputs[STATISTICS], s), bounds.min_rows) for s in splits]
    if names:
        made += [
            checks.check_label_balance(s, contents[s].label_counts.tolist(), names, bounds.min_label_share)
            for s in splits
        ]
    train, test = contents[features.TRAIN_SPLIT], contents[features.TEST_SPLIT]
    return made + [checks.report_test_in_train(train.text_hashes, test.text_hashes)]


def read_split(folder: str, label_count: int) -> SplitContent:
    """Streams the gzipped TFRecord shards of a split; eight bytes a row stay in memory.

    Args:
      folder: of the split.
      label_count: number of classes.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*")))
    hashes, counts = [np.empty(0, np.uint64)], np.zeros(label_count, np.int64)
    for serialised in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH):
        batch = tf.io.parse_example(serialised, _FEATURES)
        hashes.append(np.fromiter(map(text_hash, batch[features.DOCUMENT].to_list()), np.uint64))
        counts += np.bincount(batch[features.LABEL].numpy(), minlength=label_count)[:label_count]
    return SplitContent(np.concatenate(hashes), counts)


def _check_schema(splits: list[str], inputs: Mapping[str, types.Artifact]) -> list[Check]:
    schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(inputs[SCHEMA].uri))
    return [
        checks.check_anomalies(split, _read_anomalies(inputs[ANOMALIES], split), len(schema.feature))
        for split in splits
    ]


def _read_anomalies(anomalies: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    folder = artifact_utils.get_split_uri([anomalies], split)
    with tf.io.gfile.GFile(os.path.join(folder, example_validator.DEFAULT_FILE_NAME), "rb") as stream:
        return anomalies_pb2.Anomalies.FromString(stream.read())


def _example_count(statistics: types.Artifact, split: str) -> int:
    return stats_artifact_utils.load_statistics(statistics, split).proto().datasets[0].num_examples


def _roles(ingest: Ingest) -> list[str]:
    """The roles that files were given for."""
    return [role for role in (sources.TRAIN, sources.TEST) if ingest.files[role]]
