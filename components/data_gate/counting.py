"""The Beam pipeline that counts the rows of all splits, shard by shard.

Only counts cross a shuffle, and ten bytes per row: the hashes of the texts. Where a split has too many different words
to count all of them, or each text counts once, a second pass reads the shards again.
"""

import collections
import dataclasses
import os
import pickle
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

import apache_beam as beam
import tensorflow as tf

from components import beam_files
from components.data_gate import content, duplicates
from components.data_gate.content import SplitContent
from components.data_gate.duplicates import Copies, Duplicates
from components.data_gate.word_sketch import WordSketch
from core import progress
from schema.task import Task

_RESULTS_FILE = "counted"
_CONTENTS, _FREQUENT, _DUPLICATES, _HASHES = "contents", "frequent", "duplicates", "hashes"
# The rows that are counted: all, or one of each text.
_ALL, _FIRST = "all", "first"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard of a split; its number is its own among all splits."""

    split: str
    number: int
    path: str


@dataclasses.dataclass(frozen=True)
class Counted:
    """The counts.

    Attributes:
      contents: split -> its content.
      duplicates: what the splits have in common.
      first_copies: split -> its content without copies of a text; None if there are none, or they were not asked for.
    """

    contents: Mapping[str, SplitContent]
    duplicates: Duplicates
    first_copies: Optional[Mapping[str, SplitContent]]


def list_shards(folders: Mapping[str, str]) -> list[Shard]:
    """Returns the shards in the folders of the splits."""
    files = [(split, path) for split, folder in folders.items() for path in tf.io.gfile.glob(os.path.join(folder, "*"))]
    return [Shard(split, number, path) for number, (split, path) in enumerate(sorted(files))]


def add_counting(pipeline: beam.Pipeline, shards: list[Shard], task: Task, each_text_once: bool, folder: str) -> None:
    """Adds the counting to a pipeline, which writes its results into a folder.

    Args:
      pipeline: the pipeline to extend.
      shards: what to count.
      task: the task, which groups the labels.
      each_text_once: whether to count the splits without copies too.
      folder: an existing folder.
    """
    created = pipeline | "Shards" >> beam.Create(shards)
    counted = created | "Count" >> beam.ParDo(_Count(task), {}).with_outputs(_HASHES, main=_CONTENTS)
    compared = (
        counted[_HASHES]
        | "Buckets" >> beam.GroupByKey()
        | "Compare" >> beam.MapTuple(lambda _, parts: duplicates.compare(parts, len(task.label_groups)))
    )
    results = [
        *_merged(created, counted[_CONTENTS], task, _ALL, {}),
        compared | "Duplicates" >> beam.Map(lambda found: (_DUPLICATES, None, dataclasses.replace(found, copies={}))),
    ]
    if each_text_once:
        copies = (
            compared
            | "Copies" >> beam.FlatMap(lambda found: found.copies.items())
            | "CopiesOfShard" >> beam.GroupByKey()
        )
        left_out = beam.pvalue.AsDict(copies)
        first = created | "CountFirst" >> beam.ParDo(_Count(task), left_out).with_outputs(_HASHES, main=_CONTENTS)
        results += _merged(created, first[_CONTENTS], task, _FIRST, left_out)
    _ = (
        results
        | "Results" >> beam.Flatten()
        | "Write"
        >> beam.io.WriteToTFRecord(
            os.path.join(folder, _RESULTS_FILE), coder=beam.coders.PickleCoder(), shard_name_template=""
        )
    )


def take_results(folder: str, splits: Sequence[str], task: Task, each_text_once: bool) -> Counted:
    """Reads the results of the pipeline, and removes them.

    Args:
      folder: as in `add_counting`.
      splits: the names of the splits.
      task: the task.
      each_text_once: as in `add_counting`.
    """
    path = os.path.join(folder, _RESULTS_FILE)
    contents = {(rows, split): SplitContent(task.label_groups) for rows in (_ALL, _FIRST) for split in splits}
    frequent, found = {}, Duplicates()
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        kind, key, value = pickle.loads(record)
        if kind == _CONTENTS:
            contents[key] = value
        elif kind == _FREQUENT:
            frequent[key] = value
        else:
            found.merge(value)
    tf.io.gfile.remove(path)
    beam_files.remove_temporary_folders(folder)
    for key, counts in frequent.items():
        contents[key].texts.keep_frequent(counts)
    for split, labels in found.first_labels.items():
        contents[_FIRST, split].labels = dict(zip(task.label_groups, labels.tolist(), strict=True))
    of_all, of_first = ({split: contents[rows, split] for split in splits} for rows in (_ALL, _FIRST))
    return Counted(of_all, found, of_first if each_text_once and found.has_copies else None)


class _Count(beam.DoFn):
    """Shard -> its split and content, and the hashes of its texts by bucket."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def process(self, shard: Shard, copies: Mapping[int, Any]) -> Iterator[Any]:
        progress.report("counting", 0, 0, split=shard.split)
        counted, texts = content.count_rows(shard.path, self._task, _copies_of(shard, copies))
        yield shard.split, counted
        for bucket, part in duplicates.divide(texts):
            yield beam.pvalue.TaggedOutput(_HASHES, (bucket, duplicates.ShardHashes(shard.split, shard.number, part)))


class _CountFrequent(beam.DoFn):
    """Shard -> its split and the counts of the words that are frequent in it; nothing if all words were counted."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def process(
        self, shard: Shard, sketches: Mapping[str, Optional[WordSketch]], copies: Mapping[int, Any]
    ) -> Iterator[Any]:
        sketch = sketches[shard.split]
        if sketch is not None:
            progress.report("counting frequent words", 0, 0, split=shard.split)
            yield shard.split, content.count_frequent(shard.path, self._task, sketch, _copies_of(shard, copies))


def _copies_of(shard: Shard, copies: Mapping[int, Any]) -> Optional[Copies]:
    return duplicates.join_copies(copies[shard.number]) if shard.number in copies else None


def _merged(
    shards: beam.PCollection, contents: beam.PCollection, task: Task, rows: str, copies: Any
) -> list[beam.PCollection]:
    """Returns the results of the splits: their contents, and the frequent words of those with a sketch."""

    def merge(parts: Iterable[SplitContent]) -> SplitContent:
        merged = SplitContent(task.label_groups)
        for part in parts:
            merged.merge(part)
        return merged

    def sketch_of(split: str, counted: SplitContent) -> tuple[str, Optional[WordSketch]]:
        counted.texts.sketch_words()
        return split, counted.texts.sketch

    by_split = contents | f"Merge[{rows}]" >> beam.CombinePerKey(merge)
    sketches = beam.pvalue.AsDict(by_split | f"Sketches[{rows}]" >> beam.MapTuple(sketch_of))
    frequent = (
        shards
        | f"CountFrequent[{rows}]" >> beam.ParDo(_CountFrequent(task), sketches, copies)
        | f"MergeFrequent[{rows}]" >> beam.CombinePerKey(_sum_counts)
    )
    return [
        by_split | f"Contents[{rows}]" >> beam.MapTuple(lambda split, part: (_CONTENTS, (rows, split), part)),
        frequent | f"Frequent[{rows}]" >> beam.MapTuple(lambda split, part: (_FREQUENT, (rows, split), part)),
    ]


# Any, because Beam can't check parameterised classes.
def _sum_counts(parts: Iterable[Any]) -> Any:
    return sum(parts, collections.Counter())
