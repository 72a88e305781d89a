"""The work of DataGate: reads what ingestion, statistics and validation left and what is in serving, and decides."""

import json
import os
from typing import Any, Mapping, Sequence

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from artifacts import model_files
from artifacts.examples import Ingest, read_ingest
from components.data_gate import absolute, comparison, profile, vocabulary
from components.data_gate.content import SplitContent, read_split
from components.data_gate.reference import Reference, choose_reference
from components.data_gate.unknown_tokens import unknown_token_share
from components.tsv_example_gen import sources
from core import progress
from core.checks import Check, write_checks
from core.config import DataGateConfig
from core.errors import UserError
from schema import features

EXAMPLES = "examples"
STATISTICS = "statistics"
SCHEMA = "schema"
ANOMALIES = "anomalies"
GATE = "gate"
SERVING_DIR = "serving_dir"
FINGERPRINT = "fingerprint"
VERDICT = "verdict"


class Executor(base_executor.BaseExecutor):
    """Writes the verdict on the data and its profile, and stops the run where a bound is missed."""

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
          output_dict: `verdict`: one `artifacts.GateVerdict`.
          exec_properties: `gate` and `serving_dir`, as `DataGate` takes them; `fingerprint` of the reference, where a
            driver looked for one.

        Raises:
          DataGateStopped: a check failed, and it blocks.
          UserError: the serving folder is broken, or changed after the driver had looked at it.
        """
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in input_dict.items()}
        gate, serving_dir = json.loads(exec_properties[GATE]), exec_properties[SERVING_DIR]
        examples_sha256 = model_files.tree_sha256(inputs[EXAMPLES].uri)
        reference = choose_reference(serving_dir, examples_sha256)
        if exec_properties.get(FINGERPRINT) not in (None, reference.fingerprint):
            # The cache would keep this verdict under the other one's fingerprint.
            raise UserError(f"serving.dir = {serving_dir!r}: another model was pushed during this run; run again")
        contents = _read_splits(inputs[EXAMPLES], gate["label_names"])
        found = _make_profile(inputs[EXAMPLES], examples_sha256, reference, contents)
        made = make_checks(inputs, gate, contents, found) + compare(gate, contents, found, reference)
        folder = artifact_utils.get_single_uri(output_dict[VERDICT])
        profile.write(folder, found)
        write_checks(folder, made)
        if any(check.blocks for check in made):
            raise absolute.DataGateStopped(made)


def make_checks(
    inputs: Mapping[str, types.Artifact],
    gate: Mapping[str, Any],
    contents: Mapping[str, SplitContent],
    found: profile.Profile,
) -> list[Check]:
    """Makes the checks of this run's data alone, in the order a person wants to read them.

    Args:
      inputs: the artifacts, by the names of `Executor.Do`.
      gate: `data`: fields of `DataGateConfig`; `max_rejected_fraction`; `label_names`, empty where labels are
        no classes.
      contents: by split.
      found: the profile of the data.
    """
    bounds, ingest = DataGateConfig.model_validate(gate["data"]), read_ingest(inputs[EXAMPLES].uri)
    made = _check_schema(list(contents), inputs, bounds)
    made += [absolute.check_rejected(role, ingest, gate["max_rejected_fraction"], bounds) for role in _roles(ingest)]
    made += [absolute.check_rows(split, _example_count(inputs[STATISTICS], split), bounds) for split in contents]
    if gate["label_names"]:
        made += [absolute.check_label_balance(split, found.splits[split].labels, bounds) for split in contents]
    made += [*absolute.check_script_shares(found.splits, bounds), absolute.check_unreadable(found.splits, bounds)]
    train, test = contents[features.TRAIN_SPLIT], contents[features.TEST_SPLIT]
    return [*made, absolute.check_test_in_train(train.text_hashes, test.text_hashes, bounds)]


def compare(
    gate: Mapping[str, Any], contents: Mapping[str, SplitContent], found: profile.Profile, reference: Reference
) -> list[Check]:
    """Makes the checks of skew within this run's data, and of drift against the data behind the model in serving.

    Args:
      gate: as `make_checks` takes it.
      contents: by split.
      found: the profile of the data.
      reference: what is in serving.
    """
    bounds = DataGateConfig.model_validate(gate["data"])
    skew = _comparison("skew", features.TEST_SPLIT, contents, found, features.TRAIN_SPLIT, found)
    made = comparison.compare(skew, bounds)
    made.append(absolute.check_served_profile(reference.fault, reference.words, bounds))
    if reference.profile is None:
        made += comparison.not_compared("drift", f"nothing to compare with: {reference.words}", bounds)
    else:
        drift = _comparison("drift", features.TRAIN_SPLIT, contents, found, reference.words, reference.profile)
        made += comparison.compare(drift, bounds)
    return [*made, _check_unknown_tokens(contents[features.TRAIN_SPLIT].sample, reference, bounds)]


def _comparison(
    kind: comparison.Kind,
    split: str,
    contents: Mapping[str, SplitContent],
    found: profile.Profile,
    other_name: str,
    other: profile.Profile,
) -> comparison.Comparison:
    unknown = vocabulary.unknown_shares(contents[split].texts, other.vocabulary)
    return comparison.Comparison(kind, split, found.splits[split], unknown, other_name, other)


def _read_splits(examples: types.Artifact, label_names: Sequence[str]) -> dict[str, SplitContent]:
    rows = read_ingest(examples.uri).rows
    splits = artifact_utils.decode_split_names(examples.split_names)
    contents = {}
    for done, split in enumerate(splits):
        progress.report("looking at the data", done, len(splits), split=split)
        folder = artifact_utils.get_split_uri([examples], split)
        contents[split] = read_split(folder, label_names, rows[split]["accepted"])
    return contents


def _make_profile(
    examples: types.Artifact, examples_sha256: str, reference: Reference, contents: Mapping[str, SplitContent]
) -> profile.Profile:
    return profile.Profile(
        fingerprint=read_ingest(examples.uri).fingerprint,
        examples_sha256=examples_sha256,
        reference=reference.fingerprint,
        splits={
            split: profile.make_split_profile(content.labels, content.texts) for split, content in contents.items()
        },
        vocabulary=vocabulary.make_vocabulary(contents[features.TRAIN_SPLIT].texts),
    )


def _check_schema(splits: list[str], inputs: Mapping[str, types.Artifact], bounds: DataGateConfig) -> list[Check]:
    schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(inputs[SCHEMA].uri))
    return [
        absolute.check_anomalies(split, _read_anomalies(inputs[ANOMALIES], split), len(schema.feature), bounds)
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


def _check_unknown_tokens(texts: Sequence[str], reference: Reference, bounds: DataGateConfig) -> Check:
    """Asks the served model, whose tokeniser may be another than the one that this run's data will bring forth."""
    if reference.model_path is None:
        return absolute.check_unknown_tokens(None, f"nobody to ask: {reference.words}", bounds)
    progress.report("asking the model in serving", 0, len(texts))
    share = unknown_token_share(reference.model_path, texts)
    version = f"serving version {os.path.basename(reference.model_path)}"
    words = version if share is not None else f"{version} has no tokeniser that can be asked for what it does not know"
    return absolute.check_unknown_tokens(share, words, bounds)
