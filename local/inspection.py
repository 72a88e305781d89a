"""Shows what an encoder makes of a sentence, and what a configuration makes of its files."""

import collections
import dataclasses
import glob
import json
import os
from typing import Any, Iterator, Mapping, Optional, Sequence

import rich.box
import rich.console
import rich.table
import rich.text
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import saved_encoder
from components.tsv_example_gen import executor, parse, sources, split
from core import command_line, escape
from core.config import Config
from core.errors import UserError
from local import store
from schema import features
from schema.labels import LeftOut
from trainer import tokens

# Rows to show, as the head of a data frame.
_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 60
# Numbers of a vector to show.
_SHOWN_VALUES = 8


def inspect_sentence(
    sentences: Sequence[str], encoder: Optional[str], root: str, console: rich.console.Console, as_json: bool
) -> int:
    """Prints the tokens of a sentence or a pair and the shapes of an encoder's outputs; returns the exit status.

    Args:
      sentences: the sentence, or the two of a pair.
      encoder: a folder that holds `preprocess/` and `encoder/`; None for the newest under the run root.
      root: the run root.
      console: where to print.
      as_json: one JSON object instead of lines.

    Raises:
      UserError: there is no encoder, or it can't be loaded.
    """
    folder = encoder or newest_encoder(root)
    description = describe_sentence(sentences, folder)
    if as_json:
        print(json.dumps(description, ensure_ascii=False))
        return 0
    _print(console, f"{'encoder':<16} {folder}")
    _print(console, f"{'tokens':<16} {' '.join(description['tokens']) or '(the tokeniser has no list of word pieces)'}")
    for name, tensor in {**description["inputs"], **description["outputs"]}.items():
        _print(console, f"{name:<16} {_format_tensor(tensor)}")
    return 0


def newest_encoder(root: str) -> str:
    """Returns the folder of the encoder that was written last by a run under the run root.

    Raises:
      UserError: there is none.
    """
    pattern = os.path.join(glob.escape(root), "*", store.ARTIFACTS, "*", "encoder", "*", "*", encoder_artifact.CARD)
    cards = glob.glob(pattern)
    if not cards:
        raise UserError(f"--root {root}: no run has made an encoder there yet; run the pipeline, or set --encoder")
    return os.path.dirname(max(cards, key=os.path.getmtime))


def describe_sentence(sentences: Sequence[str], folder: str) -> dict[str, Any]:
    """Runs a sentence or a pair through an encoder.

    Args:
      sentences: the sentence, or the two of a pair.
      folder: holds `preprocess/` and `encoder/`.

    Returns:
      `encoder`; `tokens`, without padding; `inputs` and `outputs`, name -> `shape`, `dtype` and `values`: of the
      inputs all values without padding, of `pooled_output` the first eight.

    Raises:
      UserError: the encoder can't be loaded.
    """
    paths = (encoder_artifact.preprocess_dir(folder), encoder_artifact.encoder_dir(folder))
    preprocess, encoder = (encoder_artifact.load_model(path, path) for path in paths)
    texts = [tf.constant([os.fsencode(sentence)]) for sentence in sentences]
    # The preprocess model's own length, which is an attribute of its outputs only.
    inputs = tokens.pack(preprocess, texts, preprocess(texts[0])["input_word_ids"].shape[1])
    outputs = saved_encoder.call(encoder, inputs)
    length = int(tf.reduce_sum(inputs["input_mask"]))
    ids = inputs["input_word_ids"][0, :length].numpy().tolist()
    pieces = encoder_artifact.read_vocabulary(folder)
    layers = outputs.get("encoder_outputs")
    return {
        "encoder": folder,
        "tokens": [pieces[number] for number in ids] if pieces else [],
        "inputs": {name: _describe(inputs[name], length) for name in encoder_artifact.INPUT_NAMES},
        "outputs": {
            "pooled_output": _describe(outputs[saved_encoder.pooled_name(outputs)], _SHOWN_VALUES),
            "sequence_output": _describe(outputs["sequence_output"]),
            **({"encoder_outputs": {"count": len(layers), **_describe(layers[0])}} if layers else {}),
        },
    }


def inspect_data(config: Config, console: rich.console.Console, as_json: bool = False) -> int:
    """Prints shapes and first rows before and after sampling, and rejected rows by reason; returns the exit status.

    Args:
      config: the configuration.
      console: where to print.
      as_json: one JSON object for the training files, the dev files and the test files each instead.

    Raises:
      UserError: a file can't be read.
    """
    plan = executor.make_plan(config.data)
    for role, files in plan.sources.by_role.items():
        if files:
            table = _read_table(config, plan, role)
            if as_json:
                command_line.print_json([_describe_table(config, table)], console.file)
            else:
                _show_table(config, table, console)
    return 0


class _Rows:
    """The rows of the training, dev or test files, counted while they are read.

    Attributes:
      count: number of rows.
      left_out: number of rows with one of `data.ignore_labels`.
      first: the first of them.
      rejected: reason -> number of lines.
      first_rejected: reason -> the first line, for people.
      splits: split -> number of rows.
    """

    def __init__(self, config: Config, plan: executor.Plan, role: str) -> None:
        self._config, self._role = config, role
        self._ranges = [part for part in plan.ranges if part.file.role == role]
        self._boundaries = plan.boundaries
        self.count = 0
        self.left_out = 0
        self.first: list[parse.Row] = []
        self.rejected: collections.Counter[str] = collections.Counter()
        self.first_rejected: dict[str, str] = {}
        self.splits: collections.Counter[str] = collections.Counter()

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns in the files."""
        return self._ranges[0].columns if self._ranges else ()

    def read(self, threshold: int = split.HASHES) -> Iterator[parse.Row]:
        """Yields the rows whose sample hash is at most the threshold."""
        data, task = self._config.data, self._config.task
        for part in self._ranges:
            for record, outcome in executor.parsed_records(part, data, task):
                if isinstance(outcome, LeftOut):
                    self.left_out += 1
                elif isinstance(outcome, parse.Rejection):
                    self.rejected[outcome.reason] += 1
                    raw = escape.quote(parse.readable(record.content, data.encoding))
                    self.first_rejected.setdefault(outcome.reason, f"line {record.number}: {raw}")
                elif threshold == split.HASHES or executor.sample_hash(outcome, data) <= threshold:
                    self._count(outcome)
                    yield outcome

    def _count(self, row: parse.Row) -> None:
        self.count += 1
        if self.count <= _SHOWN_ROWS:
            self.first.append(row)
        texts = [text.encode() for text in row.texts]
        self.splits[split.assign_split(texts, self._boundaries) if self._role == sources.TRAIN else self._role] += 1


@dataclasses.dataclass(frozen=True)
class _Table:
    """The files of a role, their rows, and the rows of the sample; None if all rows are used."""

    role: str
    files: Sequence[str]
    rows: _Rows
    sample: Optional[_Rows]

    @property
    def used(self) -> _Rows:
        """The rows that a run would use."""
        return self.sample or self.rows


def _read_table(config: Config, plan: executor.Plan, role: str) -> _Table:
    data, size = config.data, config.data.sample_size if role == sources.TRAIN else None
    rows, sample = _Rows(config, plan, role), None
    if size is None:
        collections.deque(rows.read(), maxlen=0)
    else:
        # Hashes only for a sample: they take longer than reading.
        kept = split.smallest((executor.sample_hash(row, data) for row in rows.read()), size)
        sample = _Rows(config, plan, role)
        collections.deque(sample.read(split.sample_threshold(kept, size)), maxlen=0)
    names = [file.name for file in plan.sources.by_role[role]]
    return _Table(role, names, rows, sample)


def _describe_table(config: Config, table: _Table) -> dict[str, Any]:
    """Returns a table for programs; texts are whole."""
    rows = table.rows
    return {
        "role": table.role,
        "files": table.files,
        "columns": list(rows.columns),
        "rows": rows.count + rows.left_out + rows.rejected.total(),
        "accepted": rows.count,
        "left_out": rows.left_out,
        "rejected": {
            reason: {"count": count, "first": rows.first_rejected[reason]}
            for reason, count in rows.rejected.most_common()
        },
        "first_rows": _records(config, rows),
        "sample": {"rows": table.sample.count, "first_rows": _records(config, table.sample)} if table.sample else None,
        "splits": {name: table.used.splits[name] for name in features.SPLITS if table.used.splits[name]},
    }


def _records(config: Config, rows: _Rows) -> list[dict[str, Any]]:
    task = config.task
    return [{"id": row.id, "texts": list(row.texts), "label": task.format_label(row.label)} for row in rows.first]


def _show_table(config: Config, table: _Table, console: rich.console.Console) -> None:
    data, rows = config.data, table.rows
    read = rows.count + rows.left_out + rows.rejected.total()
    _print(console, f"data.{table.role} = {', '.join(table.files)}")
    _print(console, f"{read:,} rows x {len(rows.columns)} columns ({', '.join(rows.columns)})")
    _print(console, f"{rows.count:,} can be used, {rows.rejected.total():,} are rejected")
    if rows.left_out:
        _print(console, f"{rows.left_out:,} are left out by data.ignore_labels")
    for reason, count in rows.rejected.most_common():
        _print(console, f"  {reason} {count:,}, the first in {rows.first_rejected[reason]}")
    console.print(_table(config, rows.first))
    if table.sample is not None:
        _print(console, f"after sampling (data.sample_size = {data.sample_size:,}, data.seed = {data.seed})")
        _print(console, f"{table.sample.count:,} rows x {len(rows.columns)} columns")
        console.print(_table(config, table.sample.first))
    splits = table.used.splits
    counts = ", ".join(f"{name} {splits[name]:,}" for name in features.SPLITS if splits[name])
    _print(console, f"splits: {counts or 'none'}")
    console.print()


def _table(config: Config, rows: Sequence[parse.Row]) -> rich.table.Table:
    """Returns rows as a table with the columns that training uses."""
    data = config.data
    result = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for name in (data.id or "(no id)", *data.texts, data.label, "name"):
        result.add_column(rich.text.Text(escape.line(name)), overflow="fold")
    task = data.make_task()
    for row in rows:
        texts = (text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..." for text in row.texts)
        cells = (row.id, *texts, str(row.label), task.format_label(row.label))
        result.add_row(*(rich.text.Text(escape.line(cell)) for cell in cells))
    return result


def _describe(tensor: tf.Tensor, shown: int = 0) -> dict[str, Any]:
    """Returns shape and type of a tensor, and the first values of its first row."""
    values = {"values": tensor[0, :shown].numpy().tolist()} if shown else {}
    return {"shape": tensor.shape.as_list(), "dtype": tensor.dtype.name, **values}


def _format_tensor(tensor: Mapping[str, Any]) -> str:
    shape = f"({', '.join(map(str, tensor['shape']))})"
    text = f"{tensor['count']} x {shape}" if "count" in tensor else shape
    values = tensor.get("values")
    if values is None:
        return f"{text} {tensor['dtype']}"
    rest = " ..." if len(values) < tensor["shape"][1] else ""
    shown = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in values)
    return f"{text} {tensor['dtype']}  [{' '.join(shown)}{rest}]"


def _print(console: rich.console.Console, text: str) -> None:
    console.print(escape.line(text), markup=False, highlight=False, soft_wrap=True)
