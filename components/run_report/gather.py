"""Reads a run's artifacts for its summary and its page, even if the run ended early."""

import base64
import dataclasses
import os
from typing import Any, Mapping, Optional, Sequence, Union

from tfx.types import artifact
from tfx.utils import path_utils

from artifacts import encoder as encoder_artifact
from artifacts import evaluation as evaluation_artifact
from artifacts import examples as examples_artifact
from artifacts import model_run, pretraining, teacher_labels
from components.data_gate import profile as data_profile
from components.pusher.properties import ALREADY_SERVED
from components.run_report.summary import DataSummary, EncoderSummary, SplitRows, Summary
from core import checks
from schema import features

# Rows of each split, and rejected rows, that the page shows.
_SAMPLE_ROWS = 3
_REJECTED_ROWS = 20


@dataclasses.dataclass(frozen=True)
class RunArtifacts:
    """The artifacts that a summary is made from; None for those that the run did not create."""

    examples: Optional[artifact.Artifact] = None
    data_verdict: Optional[artifact.Artifact] = None
    encoder: Optional[artifact.Artifact] = None
    teacher_labels: Optional[artifact.Artifact] = None
    model: Optional[artifact.Artifact] = None
    model_run: Optional[artifact.Artifact] = None
    model_blessing: Optional[artifact.Artifact] = None
    serving_blessing: Optional[artifact.Artifact] = None
    pushed_model: Optional[artifact.Artifact] = None


@dataclasses.dataclass(frozen=True)
class SampleRow:
    """A row of a split."""

    id: str
    text: str
    label: Union[int, float]


@dataclasses.dataclass(frozen=True)
class Details:
    """What the page shows beyond the summary; a field keeps its default if the run ended before its component.

    Attributes:
      ingest: counts and sources of the examples.
      samples: split -> some of its rows.
      rejected: some of the rejected rows, as `artifacts.examples.read_rejected` returns them.
      rejected_path: the folder of all rejected rows.
      profile: the profile of the data.
      evaluation: the evaluation behind the metrics.
      model_picture: the picture of the model's layers, as a data URI.
      label_names: names of the classes; empty if they are not known, or if labels are numbers.
      log_path: the log of the run; only of local runs.
      record: what `local.run_record.describe` returns; empty but for local runs.
    """

    ingest: Optional[examples_artifact.Ingest] = None
    samples: Mapping[str, Sequence[SampleRow]] = dataclasses.field(default_factory=dict)
    rejected: Sequence[Mapping[str, Any]] = ()
    rejected_path: Optional[str] = None
    profile: Optional[data_profile.Profile] = None
    evaluation: Optional[evaluation_artifact.Evaluation] = None
    model_picture: Optional[str] = None
    label_names: Sequence[str] = ()
    log_path: Optional[str] = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_details(artifacts: RunArtifacts, label_names: Sequence[str] = ()) -> Details:
    """Reads from the artifacts what the page shows beyond the summary.

    Args:
      artifacts: the artifacts that exist.
      label_names: names of the classes; if empty, those of the evaluation.
    """
    examples, verdict, blessing = artifacts.examples, artifacts.data_verdict, artifacts.model_blessing
    evaluated = evaluation_artifact.read(blessing.uri) if blessing else None
    return Details(
        ingest=examples_artifact.read_ingest(examples.uri) if examples else None,
        samples={split: _read_sample(examples.uri, split) for split in features.SPLITS} if examples else {},
        rejected=examples_artifact.read_rejected(examples.uri, _REJECTED_ROWS) if examples else (),
        rejected_path=os.path.join(examples.uri, examples_artifact.REJECTED_FOLDER) if examples else None,
        profile=read_profile(verdict),
        evaluation=evaluated,
        model_picture=_read_picture(artifacts.model_run),
        label_names=label_names or (evaluated.label_names if evaluated else ()),
    )


def _read_sample(examples: str, split: str) -> list[SampleRow]:
    """Reads the first rows of a split's first shard."""
    chunks = examples_artifact.read_rows([os.path.join(examples, f"Split-{split}", "*")], _SAMPLE_ROWS)
    rows = zip(*next(chunks, ((), (), ())), strict=True)
    return [
        SampleRow(_decode(row_id), features.show_texts(list(map(_decode, texts))), label.item())
        for row_id, texts, label in rows
    ]


def read_profile(verdict: Optional[artifact.Artifact]) -> Optional[data_profile.Profile]:
    """Reads the profile of the data in DataGate's folder; None without it."""
    if verdict is None:
        return None
    path = os.path.join(verdict.uri, examples_artifact.PROFILE_FILE)
    return data_profile.read(path) if os.path.exists(path) else None


def _decode(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def _read_picture(training: Optional[artifact.Artifact]) -> Optional[str]:
    """Returns the Trainer's picture of the model as a data URI."""
    if training is None:
        return None
    with open(os.path.join(training.uri, model_run.MODEL_PICTURE), "rb") as stream:
        return "data:image/png;base64," + base64.b64encode(stream.read()).decode("ascii")


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
    evaluated = evaluation_artifact.read(blessing.uri) if blessing else None
    intervals = evaluated.intervals if evaluated else {}
    return Summary(
        pipeline=pipeline,
        status="pushed" if pushed_path else "not_blessed",
        rows=_rows(artifacts.examples),
        data=_data(artifacts.examples),
        encoder=_encoder(artifacts.encoder),
        training=model_run.read_training(artifacts.model_run.uri) if artifacts.model_run else None,
        distillation=teacher_labels.read_figures(artifacts.teacher_labels.uri) if artifacts.teacher_labels else None,
        metrics=checks.read_metrics(blessing.uri) if blessing else checks.NO_METRICS,
        metric_titles=evaluated.metric_titles if evaluated else {},
        metric_intervals={name: (each.low, each.high) for name, each in intervals.items()},
        gates=[check for gate in gates if gate for check in checks.read_checks(gate.uri)],
        model_path=path_utils.serving_model_dir(artifacts.model.uri) if artifacts.model else None,
        pushed_path=pushed_path,
        already_in_serving=pushed_path is not None and _was_in_serving(artifacts.pushed_model),
    )


def _rows(examples: Optional[artifact.Artifact]) -> dict[str, SplitRows]:
    return read_rows(examples.uri) if examples is not None else {}


def read_rows(folder: str) -> dict[str, SplitRows]:
    """Reads the row counts by split from a folder with `ingest.json`; empty without that file."""
    if not os.path.exists(os.path.join(folder, examples_artifact.INGEST_FILE)):
        return {}
    rows = examples_artifact.read_ingest(folder).rows
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
    return EncoderSummary(
        card.source,
        card.handle,
        digest,
        folder,
        card.layers,
        card.hidden,
        card.vocabulary,
        pretraining.read(folder),
    )


def _pushed_path(pushed: Optional[artifact.Artifact]) -> Optional[str]:
    if pushed is None or not pushed.get_int_custom_property("pushed"):
        return None
    return pushed.get_string_custom_property("pushed_destination")


def _was_in_serving(pushed: Optional[artifact.Artifact]) -> bool:
    return pushed is not None and bool(pushed.get_int_custom_property(ALREADY_SERVED))
