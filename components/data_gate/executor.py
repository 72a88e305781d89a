"""Checks this run's data by itself and against the training data of the model in serving."""

import os
from typing import Any, Mapping, Optional

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from artifacts import model_card
from artifacts.examples import data_digest, read_ingest
from components import gate_config
from components.data_gate import comparison, counting, profile, quality, vocabulary
from components.data_gate.content import SplitContent
from components.data_gate.counting import Counted
from components.data_gate.reference import Reference, check_served_profile, choose_reference
from components.data_gate.unknown_tokens import check_unknown_tokens
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


class Executor(base_beam_executor.BaseBeamExecutor):
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
        digest = data_digest(inputs[EXAMPLES].uri)
        reference = choose_reference(serving_dir, digest)
        if exec_properties.get(FINGERPRINT) not in (None, reference.fingerprint):
            # The cache would store this verdict under the other model's fingerprint.
            raise UserError(f"serving.dir = {serving_dir!r}: another model was pushed during this run; run again")
        if reference.model_path is not None:
            # Here and not in BaselineModel, because it takes no training to see.
            model_card.check_same_inputs(reference.model_path, task)
        folder = artifact_utils.get_single_uri(output_dict[VERDICT])
        counted = self._count(inputs[EXAMPLES], task, folder)
        current = _make_profile(inputs[EXAMPLES], digest, reference, counted.contents)
        checks = check_quality(inputs, bounds, counted, current)
        checks += compare(bounds, counted.contents, current, reference, counted.first_copies)
        profile.write(folder, current)
        write_checks(folder, checks)
        if any(check.blocks for check in checks):
            raise quality.DataGateStopped(checks)

    def _count(self, examples: types.Artifact, task: Task, folder: str) -> Counted:
        """Counts the rows of the splits.

        If the test split is held out of the training files, all copies of a text are in the same split, so a frequent
        text alone makes the splits differ. They are then counted without copies too.
        """
        splits = artifact_utils.decode_split_names(examples.split_names)
        shards = counting.list_shards({split: artifact_utils.get_split_uri([examples], split) for split in splits})
        each_text_once = not read_ingest(examples.uri).files[features.TEST_SPLIT]
        with self._make_beam_pipeline() as pipeline:
            counting.add_counting(pipeline, shards, task, each_text_once, folder)
        return counting.take_results(folder, splits, task, each_text_once)


def check_quality(
    inputs: Mapping[str, types.Artifact],
    bounds: Bounds,
    counted: Counted,
    current: profile.Profile,
) -> list[Check]:
    """Runs the checks that need only this run's data.

    Args:
      inputs: input artifacts by name, as in `Executor.Do`.
      bounds: the gate's bounds.
      counted: the counts of the splits.
      current: the profile of the data.
    """
    contents = counted.contents
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
    for split in others:
        found, rows = (counts.get(split, 0) for counts in (counted.duplicates.in_train, counted.duplicates.own_rows))
        checks.append(quality.check_in_train(split, found, rows, bounds))
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


def _describe(contents: Mapping[str, SplitContent]) -> dict[str, Any]:
    """Returns the fields of a profile that describe the contents of the splits."""
    return {
        "splits": {
            split: profile.make_split_profile(content.labels, content.texts) for split, content in contents.items()
        },
        "vocabulary": vocabulary.make_vocabulary(contents[features.TRAIN_SPLIT].texts),
    }


def _make_profile(
    examples: types.Artifact, digest: str, reference: Reference, contents: Mapping[str, SplitContent]
) -> profile.Profile:
    return profile.Profile(
        fingerprint=read_ingest(examples.uri).fingerprint,
        examples_sha256=digest,
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
