"""Makes the summary of a run from its artifacts, even if the run ended early."""

import dataclasses
from typing import Optional

from tfx.types import artifact
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts import examples as examples_artifact
from artifacts import model_run
from components.run_report.summary import DataSummary, EncoderSummary, SplitRows, Summary
from core import checks


@dataclasses.dataclass(frozen=True)
class RunArtifacts:
    """The artifacts that a summary is made from; None for those that the run did not create."""

    examples: Optional[artifact.Artifact] = None
    data_verdict: Optional[artifact.Artifact] = None
    encoder: Optional[artifact.Artifact] = None
    model: Optional[artifact.Artifact] = None
    model_run: Optional[artifact.Artifact] = None
    model_blessing: Optional[artifact.Artifact] = None
    serving_blessing: Optional[artifact.Artifact] = None
    pushed_model: Optional[artifact.Artifact] = None


def summarise(pipeline: str, artifacts: RunArtifacts) -> Summary:
    """Reads the artifacts of a run.

    Args:
      pipeline: name of the pipeline.
      artifacts: the artifacts that exist.

    Returns:
      A summary with the status `pushed` or `not_blessed`.
    """
    gates = (artifacts.data_verdict, artifacts.model_blessing, artifacts.serving_blessing, artifacts.pushed_model)
    blessing, pushed_path = artifacts.model_blessing, _pushed_path(artifacts.pushed_model)
    return Summary(
        pipeline=pipeline,
        status="pushed" if pushed_path else "not_blessed",
        rows=_rows(artifacts.examples),
        data=_data(artifacts.examples),
        encoder=_encoder(artifacts.encoder),
        training=model_run.read_training(artifacts.model_run.uri) if artifacts.model_run else None,
        metrics=checks.read_metrics(blessing.uri) if blessing else checks.NO_METRICS,
        gates=[check for gate in gates if gate for check in checks.read_checks(gate.uri)],
        model_path=path_utils.serving_model_dir(artifacts.model.uri) if artifacts.model else None,
        pushed_path=pushed_path,
    )


def _rows(examples: Optional[artifact.Artifact]) -> dict[str, SplitRows]:
    if examples is None:
        return {}
    rows = examples_artifact.read_ingest(examples.uri).rows
    return {split: SplitRows(**counts) for split, counts in rows.items()}


def _data(examples: Optional[artifact.Artifact]) -> Optional[DataSummary]:
    if examples is None:
        return None
    ingest = examples_artifact.read_ingest(examples.uri)
    return DataSummary(ingest.files, ingest.fingerprint, examples.uri)


def _encoder(encoder: Optional[artifact.Artifact]) -> Optional[EncoderSummary]:
    if encoder is None:
        return None
    folder = path_utils.serving_model_dir(encoder.uri)
    card = encoder_artifact.read(folder)
    digest = card.sha256["encoder"]
    return EncoderSummary(card.source, card.handle, digest, folder, card.layers, card.hidden, card.vocabulary)


def _pushed_path(pushed: Optional[artifact.Artifact]) -> Optional[str]:
    if pushed is None or not pushed.get_int_custom_property("pushed"):
        return None
    return pushed.get_string_custom_property("pushed_destination")
