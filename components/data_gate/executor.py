"""Checks this run's data by itself and against the training data of the model in serving."""

import os
from typing import Any, Mapping, Optional

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from artifacts import model_card, model_files
from artifacts.examples import read_ingest
from components import gate_config
from components.data_gate import comparison, profile, quality, vocabulary
from components.data_gate.content import SplitContent, read_split
from components.data_gate.reference import Reference, check_served_profile, choose_reference
from components.data_gate.unknown_tokens import check_unknown_tokens
from core import progress
from core.checks import Check, write_checks
from core.config import DataGateConfig
from core.errors import UserError
from core.section import Fraction
from schema import features
from schema.task import Task

EXAMPLES = "examples"
STATISTICS = "statistics"
SCHEMA = "schema"
ANOMALIES = "anomalies"
SERVING_DIR = "serving_dir"
FINGERPRINT = "fingerprint"
VERDICT = "verdict"

# The files of TFX's StatisticsGen and ExampleValidator. Importing their modules takes seconds.
_STATISTICS_FILE = "FeatureStats.pb"
_ANOMALIES_FILE = "SchemaDiff.pb"


class Bounds(DataGateConfig):
    """All bounds of the gate: `gates.data` and `data.max_rejected_fraction`."""

    max_rejected_fraction: Fraction


class Executor(base_executor.BaseExecutor):
    """Writes the checks and the profile of the data, and stops the run if a check fails."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the checks.

        Args:
          input_dict: one artifact each: TsvExampleGen's `examples`, and their `statistics`, `schema` and `anomalies`.
          output_dict: `verdict`: one `artifacts.GateVerdict`.
          exec_properties: `gate` and `serving_dir`, the arguments of `DataGate`; `fingerprint` of the reference, if a
            driver ran.

        Raises:
          DataGateStopped: a check with severity `fail` failed.
          UserError: the serving folder is broken, changed since the driver read it, or has a model with other inputs.
        """
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in input_dict.items()}
        task, bounds = gate_config.load(exec_properties[gate_config.PARAMETER], Bounds)
        serving_dir = exec_properties[SERVING_DIR]
        examples_sha256 = model_files.tree_sha256(inputs[EXAMPLES].uri)
        reference = choose_reference(serving_dir, examples_sha256)
        if exec_properties.get(FINGERPRINT) not in (None, reference.fingerprint):
            # The cache would store this verdict under the other model's fingerprint.
            raise UserError(f"serving.dir = {serving_dir!r}: another model was pushed during this run; run again")
        if reference.model_path is not None:
            # Here and not in BaselineModel, because it takes no training to see.
            model_card.check_same_inputs(reference.model_path, task)
        contents = _read_splits(inputs[EXAMPLES], task)
        current = _make_profile(inputs[EXAMPLES], examples_sha256, reference, contents)
        checks = check_quality(inputs, bounds, contents, current)
        checks += compare(bounds, contents, current, reference, _first_copies(inputs[EXAMPLES], task, contents))
        folder = artifact_utils.get_single_uri(output_dict[VERDICT])
        profile.write(folder, current)
        write_checks(folder, checks)
        if any(check.blocks for check in checks):
            raise quality.DataGateStopped(checks)


def check_quality(
    inputs: Mapping[str, types.Artifact],
    bounds: Bounds,
    contents: Mapping[str, SplitContent],
    current: profile.Profile,
) -> list[Check]:
    """Runs the checks that need only this run's data.

    Args:
      inputs: input artifacts by name, as in `Executor.Do`.
      bounds: the gate's bounds.
      contents: the content of each split, by name.
      current: the profile of the data.
    """
    ingest = read_ingest(inputs[EXAMPLES].uri)
    roles = [role for role, files in ingest.files.items() if files]
    checks = _check_schema(list(contents), inputs, bounds)
    checks += [quality.check_rejected(role, ingest, bounds.max_rejected_fraction, bounds) for role in roles]
    checks += [quality.check_empty_texts(role, ingest, bounds) for role in roles]
    checks += [quality.check_rows(split, _example_count(inputs[STATISTICS], split), bounds) for split in contents]
    labels = {split: current.splits[split].labels for split in contents}
    checks += [quality.check_label_balance(split, labels[split], bounds) for split in contents]
    checks += [*quality.check_script_shares(current.splits, bounds), quality.check_unreadable(current.splits, bounds)]
    # A dev split of the training files shares no text with the rest of them.
    others = [*([features.DEV_SPLIT] if ingest.files.get(features.DEV_SPLIT) else []), features.TEST_SPLIT]
    train_hashes = contents[features.TRAIN_SPLIT].text_hashes
    for split, other in ((split, contents[split]) for split in others):
        checks.append(quality.check_in_train(split, train_hashes, other.text_hashes[other.own], bounds))
    return checks


def compare(
    bounds: DataGateConfig,
    contents: Mapping[str, SplitContent],
    current: profile.Profile,
    reference: Reference,
    first_copies: Optional[Mapping[str, SplitContent]] = None,
) -> list[Check]:
    """Runs the checks of skew within this run's data, and of drift from the training data of the model in serving.

    Args:
      bounds: the gate's bounds.
      contents: the content of each split, by name.
      current: the profile of the data.
      reference: the model in serving.
      first_copies: the content of each split without copies of a text, for the checks of skew; None for `contents`.
    """
    compared, name = contents, features.TRAIN_SPLIT
    profiled = current
    if first_copies is not None:
        compared, name = first_copies, f"{name} (each text counted once)"
        profiled = current.model_copy(update=_describe(first_copies))
    skew = _comparison("skew", features.TEST_SPLIT, compared, profiled, name, profiled)
    checks = [*comparison.compare(skew, bounds), check_served_profile(reference, bounds)]
    if reference.profile is None:
        checks += comparison.not_compared("drift", f"not compared: {reference.description}", bounds)
    else:
        other = reference.description, reference.profile
        drift = _comparison("drift", features.TRAIN_SPLIT, contents, current, *other)
        checks += comparison.compare(drift, bounds)
    return [*checks, check_unknown_tokens(contents[features.TRAIN_SPLIT].sample, reference, bounds)]


def _comparison(
    kind: comparison.Kind,
    split: str,
    contents: Mapping[str, SplitContent],
    current: profile.Profile,
    other_name: str,
    other: profile.Profile,
) -> comparison.Comparison:
    unknown = vocabulary.unknown_shares(contents[split].texts, other.vocabulary)
    return comparison.Comparison(kind, split, current.splits[split], unknown, other_name, other)


def _read_splits(examples: types.Artifact, task: Task) -> dict[str, SplitContent]:
    rows = read_ingest(examples.uri).rows
    splits = artifact_utils.decode_split_names(examples.split_names)
    contents = {}
    for done, split in enumerate(splits):
        progress.report("counting", done, len(splits), split=split)
        folder = artifact_utils.get_split_uri([examples], split)
        contents[split] = read_split(folder, task, rows[split]["accepted"])
    return contents


def _first_copies(
    examples: types.Artifact, task: Task, contents: Mapping[str, SplitContent]
) -> Optional[dict[str, SplitContent]]:
    """Reads the splits without copies of a text, if the test split is held out of the training files.

    All copies of a text are then in the same split, so a frequent text alone makes the splits differ.
    """
    has_copies = any(np.unique(content.text_hashes).size < content.text_hashes.size for content in contents.values())
    if read_ingest(examples.uri).files[features.TEST_SPLIT] or not has_copies:
        return None
    return {
        split: read_split(
            artifact_utils.get_split_uri([examples], split), task, content.text_hashes.size, content.text_hashes
        )
        for split, content in contents.items()
    }


def _describe(contents: Mapping[str, SplitContent]) -> dict[str, Any]:
    """Returns the fields of a profile that describe the contents of the splits."""
    return {
        "splits": {
            split: profile.make_split_profile(content.labels, content.texts) for split, content in contents.items()
        },
        "vocabulary": vocabulary.make_vocabulary(contents[features.TRAIN_SPLIT].texts),
    }


def _make_profile(
    examples: types.Artifact, examples_sha256: str, reference: Reference, contents: Mapping[str, SplitContent]
) -> profile.Profile:
    return profile.Profile(
        fingerprint=read_ingest(examples.uri).fingerprint,
        examples_sha256=examples_sha256,
        reference=reference.fingerprint,
        **_describe(contents),
    )


def _check_schema(splits: list[str], inputs: Mapping[str, types.Artifact], bounds: DataGateConfig) -> list[Check]:
    schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(inputs[SCHEMA].uri))
    required = sum(feature.presence.min_count > 0 for feature in schema.feature)
    return [
        quality.check_anomalies(split, _read_anomalies(inputs[ANOMALIES], split), required, bounds) for split in splits
    ]


def _read_anomalies(anomalies: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    return anomalies_pb2.Anomalies.FromString(_read_file(anomalies, split, _ANOMALIES_FILE))


def _example_count(statistics: types.Artifact, split: str) -> int:
    content = _read_file(statistics, split, _STATISTICS_FILE)
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets[0].num_examples


def _read_file(artifact: types.Artifact, split: str, name: str) -> bytes:
    with tf.io.gfile.GFile(os.path.join(artifact_utils.get_split_uri([artifact], split), name), "rb") as stream:
        return stream.read()
