"""Runs one Beam pipeline from byte ranges to the shards of three splits.

Beam's direct runner holds in memory everything that crosses a shuffle. Therefore only ranges, counts and the hashes of
a sample cross one there; rows are read, parsed, assigned to splits and written in one fused stage. On another engine
the examples cross one, which divides them into a stated number of shards: one file that can't be cut, such as a
compressed one, would otherwise be one shard, which one worker reads in each of the following components.

With `data.sample_size` the training files are read twice: the first pass finds the largest hash in the sample.
"""

import base64
import collections
import dataclasses
import json
import os
from typing import Any, Iterable, Iterator, Mapping, Optional

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from artifacts.examples import REJECTED_FOLDER, Ingest, describe_unknown_labels, read_rejected, write_ingest
from components import beam_engine, beam_files
from components.tsv_example_gen import file_head, parse, reader, records, sources, split, streams
from core import escape, progress
from core.config import DataConfig
from core.errors import UserError
from schema import features, rejections
from schema.labels import LeftOut
from schema.task import Task

DATA = "data"
FINGERPRINT = "fingerprint"
EXAMPLES = "examples"

_COUNTS = "counts"
_COUNTS_FILE = "counts.json"
_ACCEPTED, _NOT_SAMPLED, _LEFT_OUT = "accepted", "not_sampled", "left_out"
_HASH_SUM = "hash_sum"
# About ten seconds on one core.
_REPORT_ROWS = 100_000
# Rejected rows to quote in an error: enough to see a pattern.
_QUOTED_ROWS = 3

# Different unknown labels to count in one range: if a wrong column is read, each row has another one.
_UNKNOWN_LABELS = 1000
# Of them, the most frequent ones to keep: enough to see a pattern.
_KEPT_LABELS = 10

# (split or role; `accepted`, `not_sampled`, `left_out` or the reason of a rejection) -> rows, and
# (role, `bad_label`, the quoted value) -> rows; and (split, `hash_sum`, word) -> its sum over the rows' hashes.
Counts = collections.Counter[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The input of an ingestion and the boundaries of its splits.

    Attributes:
      sources: the files.
      ranges: the byte ranges of these files.
      boundaries: the boundaries that split the training files.
      fingerprint: SHA-256 of the uncompressed content of all files, regardless of their names and times.
      size_bytes: size of all files as stored.
    """

    sources: sources.Sources
    ranges: list[reader.FileRange]
    boundaries: split.Boundaries
    fingerprint: str
    size_bytes: int


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the configured TSV files into an Examples artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the ingestion.

        Args:
          input_dict: empty.
          output_dict: `examples`: one `standard_artifacts.Examples`.
          exec_properties: `data`: JSON of `DataConfig`; `fingerprint` of the input, computed here if no driver ran.

        Raises:
          UserError: a file can't be used, or a split has no rows.
        """
        data = DataConfig.model_validate_json(exec_properties[DATA])
        # Not in the pipeline, which would wrap errors: this reads every file to its end and raises a UserError.
        engine = beam_engine.read_engine(self._beam_pipeline_args)
        plan = make_plan(data, engine.workers)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        with self._make_beam_pipeline() as pipeline:
            shards = None if engine.is_direct else choose_shards(plan.size_bytes, engine.workers)
            ingest_ranges(pipeline, plan.ranges, plan.boundaries, data, examples.uri, shards)
        beam_files.remove_temporary_folders(examples.uri)
        counts = _take_counts(examples.uri)
        ingest = Ingest(
            rows=rows_by_split(counts),
            not_sampled=counts[sources.TRAIN, _NOT_SAMPLED],
            files={role: [file.name for file in files] for role, files in plan.sources.by_role.items()},
            span=plan.sources.span,
            fingerprint=exec_properties.get(FINGERPRINT) or plan.fingerprint,
            unknown_labels=unknown_labels(counts),
            digest=split.rows_digest(_hash_sums(counts)),
        )
        _require_rows(data, ingest, examples.uri)
        write_ingest(examples.uri, ingest)
        _set_properties(examples, ingest)


def choose_shards(size_bytes: int, workers: int) -> int:
    """Returns the number of shards of each split on an engine: one for each worker, or more for large files.

    An engine holds what becomes a shard in a worker's memory.
    """
    return max(workers, -(-size_bytes // reader.RANGE_BYTES))


def make_plan(data: DataConfig, workers: int = 1) -> Plan:
    """Finds the files, checks the start of each, then reads each to its end and cuts it into ranges.

    Args:
      data: where the files are and how to read them.
      workers: number of workers that read the ranges.

    Raises:
      UserError: a location, a file or the fractions can't be used.
    """
    task = data.make_task()
    dev_fraction, test_fraction = (None if data.dev else data.dev_fraction), (None if data.test else data.test_fraction)
    boundaries = split.make_boundaries(dev_fraction, test_fraction, data.seed)
    resolved = sources.resolve(data)
    all_files = [file for files in resolved.by_role.values() for file in files]
    heads = [head for files in resolved.by_role.values() for head in file_head.read_heads(files, data)]
    for file, head in zip(all_files, heads, strict=True):
        file_head.check_columns(file, head, data, task)
    size_bytes = sum(streams.size_bytes(file.path) for file in all_files)
    range_bytes = reader.choose_range_bytes(size_bytes, workers)
    ranges, digests = [], []
    for index, (file, head) in enumerate(zip(all_files, heads, strict=True)):
        progress.report("fingerprint", index, len(heads), file=file.name)
        sha256, parts = reader.survey(file, head, data, task, range_bytes)
        ranges += parts
        digests.append((file.role, sha256))
    return Plan(resolved, ranges, boundaries, sources.fingerprint(digests), size_bytes)


def ingest_ranges(
    pipeline: beam.Pipeline,
    ranges: list[reader.FileRange],
    boundaries: split.Boundaries,
    data: DataConfig,
    folder: str,
    shards: Optional[int] = None,
) -> None:
    """Adds the whole ingestion to a pipeline.

    Args:
      pipeline: the pipeline to extend.
      ranges: the byte ranges to read.
      boundaries: the boundaries that split the training files.
      data: how to parse the files.
      folder: the Examples artifact's folder.
      shards: number of shards of each split; None for one or more for each range, without a shuffle.
    """
    created = pipeline | "Ranges" >> beam.Create(ranges)
    size = data.sample_size
    threshold = beam.pvalue.AsSingleton(_threshold(created, data, size)) if size else split.HASHES
    outputs = created | "Ingest" >> beam.ParDo(_IngestRange(data, boundaries), threshold).with_outputs(
        *features.SPLITS, REJECTED_FOLDER, _COUNTS
    )
    for name in features.SPLITS:
        prefix = os.path.join(folder, f"Split-{name}", "data_tfrecord")
        _ = outputs[name] | f"Write[{name}]" >> beam.io.WriteToTFRecord(
            prefix, file_name_suffix=".gz", num_shards=shards or 0
        )
    _ = outputs[REJECTED_FOLDER] | "WriteRejected" >> beam.io.WriteToText(
        os.path.join(folder, REJECTED_FOLDER, "rows"), file_name_suffix=".jsonl", skip_if_empty=True
    )
    _ = (
        outputs[_COUNTS]
        | "SumCounts" >> beam.CombineGlobally(_sum_counts)
        | "CountsToJson" >> beam.Map(lambda counts: json.dumps(list(counts.items())))
        | "WriteCounts" >> beam.io.WriteToText(os.path.join(folder, _COUNTS_FILE), shard_name_template="")
    )


def to_example(row: parse.Row, fallback_id: str) -> bytes:
    """Serialises a row deterministically as the `tf.Example` of `schema.features`."""
    example = tf.train.Example()
    feature = example.features.feature  # Filled in place, which is twice as fast as building it from parts.
    feature[features.ID].bytes_list.value.append((row.id or fallback_id).encode())
    # Not strict: only pairs have a second text.
    for name, text in zip(features.TEXTS, row.texts, strict=False):
        feature[name].bytes_list.value.append(text.encode())
    label = feature[features.LABEL]
    (label.float_list if isinstance(row.label, float) else label.int64_list).value.append(row.label)
    return example.SerializeToString(deterministic=True)


def rows_by_split(counts: Counts) -> dict[str, dict[str, Any]]:
    """Converts counts to `Ingest.rows`."""
    rows: dict[str, dict[str, Any]] = {name: {_ACCEPTED: 0, "rejected": {}, _LEFT_OUT: 0} for name in features.SPLITS}
    for (name, outcome, *value), count in sorted(counts.items()):
        if value:
            continue
        if outcome in (_ACCEPTED, _LEFT_OUT):
            rows[name][outcome] = count
        elif outcome != _NOT_SAMPLED:
            rows[name]["rejected"][outcome] = count
    return rows


def unknown_labels(counts: Counts) -> dict[str, dict[str, int]]:
    """Converts counts to `Ingest.unknown_labels`."""
    result: dict[str, dict[str, int]] = {}
    for (name, outcome, *value), count in counts.most_common():
        if outcome == rejections.BAD_LABEL and value and len(result.setdefault(name, {})) < _KEPT_LABELS:
            result[name][value[0]] = count
    return result


def _count_unknown_label(unknown: Counts, role: str, rejection: parse.Rejection) -> None:
    key = (role, rejection.reason, rejection.detail)
    if rejection.reason == rejections.BAD_LABEL and (key in unknown or len(unknown) < _UNKNOWN_LABELS):
        unknown[key] += 1


class _IngestRange(beam.DoFn):
    """Range -> examples by split, rejected rows, and finally the counts of the range."""

    def __init__(self, data: DataConfig, boundaries: split.Boundaries) -> None:
        super().__init__()
        self._data, self._task, self._boundaries = data, data.make_task(), boundaries

    def process(self, file_range: reader.FileRange, threshold: int) -> Iterator[beam.pvalue.TaggedOutput]:
        counts: Counts = collections.Counter()
        unknown: Counts = collections.Counter()
        file = file_range.file
        for record, outcome in parsed_records(file_range, self._data, self._task):
            if isinstance(outcome, LeftOut):
                counts[file.role, _LEFT_OUT] += 1
                continue
            if isinstance(outcome, parse.Rejection):
                counts[file.role, outcome.reason] += 1
                _count_unknown_label(unknown, file.role, outcome)
                yield beam.pvalue.TaggedOutput(REJECTED_FOLDER, _rejected_json(file, record, outcome, self._data))
                continue
            name = self._split(outcome, file.role, threshold)
            counts[name or file.role, _ACCEPTED if name else _NOT_SAMPLED] += 1
            if name:
                # Without the place in a file that replaces a missing id: the same rows in other files are equal.
                for word, value in enumerate(split.row_hash(outcome.id, outcome.texts, outcome.label)):
                    counts[name, _HASH_SUM, str(word)] += value
                yield beam.pvalue.TaggedOutput(name, to_example(outcome, f"{file.name}:{record.offset}"))
        yield beam.pvalue.TaggedOutput(_COUNTS, counts + unknown)

    def _split(self, row: parse.Row, role: str, threshold: int) -> Optional[str]:
        """Returns the row's split, or None if the row is not in the sample."""
        if role != sources.TRAIN:
            return role  # The name of the split that its files are.
        if self._data.sample_size and sample_hash(row, self._data) > threshold:
            return None
        return split.assign_split([text.encode() for text in row.texts], self._boundaries)


class _SmallestHashes(beam.DoFn):
    """Range -> the smallest sample hashes of its rows, uint64[<= size]."""

    def __init__(self, data: DataConfig, size: int) -> None:
        super().__init__()
        self._data, self._task, self._size = data, data.make_task(), size

    def process(self, file_range: reader.FileRange) -> Iterator[np.ndarray]:
        parsed = parsed_records(file_range, self._data, self._task)
        hashes = (sample_hash(outcome, self._data) for _, outcome in parsed if isinstance(outcome, parse.Row))
        yield split.smallest(hashes, self._size)


def _threshold(ranges: beam.PCollection, data: DataConfig, size: int) -> beam.PCollection:
    """Returns the largest sample hash in a sample of the training files, as a collection of one."""

    def merge(parts: Iterable[np.ndarray]) -> np.ndarray:
        return split.cut_to_smallest([np.empty(0, np.uint64), *parts], size)

    return (
        ranges
        | "TrainingRanges" >> beam.Filter(lambda file_range: file_range.file.role == sources.TRAIN)
        | "SmallestHashes" >> beam.ParDo(_SmallestHashes(data, size))
        | "MergeHashes" >> beam.CombineGlobally(merge)
        # Any, because Beam's integer coder has signed 64 bits and hashes are unsigned.
        | "Threshold" >> beam.Map(split.sample_threshold, size).with_output_types(Any)
    )


def parsed_records(
    file_range: reader.FileRange, data: DataConfig, task: Task
) -> Iterator[tuple[records.Record, parse.Outcome]]:
    """Yields every record of a range of a file with its outcome."""
    stage = f"reading {os.path.basename(file_range.file.name)}"
    layout = parse.make_layout(file_range.columns, data, task, file_range.keys)
    for count, record in enumerate(reader.read_records(file_range, data, task), start=1):
        if record.too_long:
            yield record, parse.Rejection(rejections.LINE_TOO_LONG, f"more than {data.max_line_bytes} bytes")
        else:
            yield record, parse.parse_row(record.content, layout, task)
        if count % _REPORT_ROWS == 0:
            progress.report(stage, count, 0, offset=record.offset)


def sample_hash(row: parse.Row, data: DataConfig) -> int:
    """Returns the hash that decides whether a row is in the sample of `data.sample_size` rows."""
    return split.sample_hash(data.seed, row.id, row.texts, row.label)


def _rejected_json(
    file: sources.SourceFile, record: records.Record, rejection: parse.Rejection, data: DataConfig
) -> bytes:
    rejected = {
        "file": file.name,
        "offset": record.offset,
        "line": record.number,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "raw": parse.readable(record.content, data.encoding),
        "bytes": base64.b64encode(record.content).decode("ascii"),
    }
    return json.dumps(rejected, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _hash_sums(counts: Counts) -> dict[str, list[int]]:
    words = [str(word) for word in range(split.HASH_WORDS)]
    return {name: [counts[name, _HASH_SUM, word] for word in words] for name in features.SPLITS}


def _sum_counts(parts: Iterable[Counts]) -> Counts:
    return sum(parts, collections.Counter())


def _take_counts(folder: str) -> Counts:
    """Reads the counts that the pipeline wrote, and removes their file."""
    path = os.path.join(folder, _COUNTS_FILE)
    with tf.io.gfile.GFile(path) as stream:
        counts = collections.Counter({tuple(key): count for key, count in json.loads(stream.read())})
    tf.io.gfile.remove(path)
    return counts


def _require_rows(data: DataConfig, ingest: Ingest, folder: str) -> None:
    """Raises if a split has no rows to train on or to evaluate."""
    rows = ingest.rows
    empty = [name for name in features.SPLITS if not rows[name]["accepted"]]
    if not empty:
        return
    field = empty[0] if len(empty) == 1 and getattr(data, empty[0]) else sources.TRAIN
    accepted = ", ".join(f"{name} {rows[name]['accepted']}" for name in features.SPLITS)
    if left_out := sum(each["left_out"] for each in rows.values()):
        accepted += f"; left out by data.ignore_labels: {left_out}"
    message = f"data.{field} = {getattr(data, field)}: no rows for {' and '.join(empty)} (accepted: {accepted}"
    rejected = sum((collections.Counter(rows[name]["rejected"]) for name in features.SPLITS), collections.Counter())
    if not rejected:
        raise UserError(f"{message}; rejected: none); use more rows or other fractions")
    quoted = "; ".join(_quote_rejected(row) for row in read_rejected(folder, _QUOTED_ROWS))
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common())
    setting = rejections.SETTINGS.get(rejected.most_common(1)[0][0])
    values = describe_unknown_labels(ingest.unknown_labels.get(field, {}))
    raise UserError(
        f"{message}; rejected: {reasons}), such as {quoted}"
        + (f"; {values}" if values else "")
        + (f"; check {setting}" if setting else "")
    )


def _quote_rejected(row: Mapping[str, Any]) -> str:
    return f"line {row['line']} ({row['reason']}) {escape.quote(row['raw'])}"


def _set_properties(examples: types.Artifact, ingest: Ingest) -> None:
    """Sets the properties that TFX's own components read from the artifact."""
    examples.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    examples.span = ingest.span or 0
    # As TFX's `examples_utils`, whose import takes seconds.
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    examples.set_string_custom_property("input_fingerprint", ingest.fingerprint)
