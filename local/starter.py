"""Writes a configuration for a table: it asks no questions that the file answers.

The configuration is written only if a run with it would not be stopped by the data: the splits are counted here, and
bounds that the table can't meet are relaxed, each with a comment.
"""

import collections
import dataclasses
import math
import os
import re
import shlex
from typing import Any, Iterator, Optional, Sequence

import rich.box
import rich.console
import rich.table
import rich.text
import yaml

from components.data_gate.text_counts import TextCounts
from components.tsv_example_gen import split
from core import escape, installation
from core.config import DataConfig, DataGateConfig
from core.errors import UserError
from local import columns, table
from local.columns import Column, Roles
from local.table import Table
from schema import features, rejections
from schema.task import make_task

# Training takes minutes on two cores, as with configs/nsmc-pretrain.yaml.
_SAMPLE_ROWS = 15_000
# With fewer, the held-out rows say little, and a gate stops the run.
_MIN_ROWS = 100
_FRACTIONS = (0.1, 0.15, 0.2, 0.25, 0.3)
# A share this high in every split is the language of the file; half of it is the bound.
_MAIN_SCRIPT_SHARE = 0.7
_SCRIPT_BOUND = 0.5
# With more unreadable rows, something else is wrong with the file.
_MAX_REJECTED = 0.2

_ENCODERS = {
    "Hangul": "bert_multi_cased",
    "Latin": "bert_en_uncased for English, otherwise bert_multi_cased",
    "Han": "bert_zh",
}


# The texts of a row and its label.
_Row = tuple[tuple[str, ...], str]


@dataclasses.dataclass(frozen=True)
class Findings:
    """The contents of a table, counted as a run would.

    Attributes:
      table: the table.
      roles: its columns.
      labels: values of the label column, in class order.
      usable: rows with a text and one of the labels.
      rejected: reason -> rows that a run would reject.
      fraction: share of the rows to hold out for each of dev and test.
      label_share: the smallest share of a label in a split.
      scripts: script -> share of the letters.
      main_script: the script of most letters in every split; None if there is none.
    """

    table: Table
    roles: Roles
    labels: tuple[str, ...]
    usable: int
    rejected: collections.Counter[str]
    fraction: float
    label_share: float
    scripts: dict[str, float]
    main_script: Optional[str]


def init(file: str, out: Optional[str], console: rich.console.Console) -> int:
    """Looks at a table, prints what it sees, and writes a configuration; returns the exit status.

    Args:
      file: the table.
      out: the YAML file to write, which must not exist; None for one named after the table, in the current folder.
      console: where to print.

    Raises:
      UserError: the file is not a table of texts with labels, a run can't read it, or `out` exists.
    """
    name = run_name(file)
    out = out or f"{name}.yaml"
    if os.path.lexists(out):
        raise UserError(f"--out {out}: exists already; set another name with --out, or remove it")
    source = table.read(file)
    described = columns.describe(source)
    _print(console, _describe_table(source))
    roles = columns.assign(described, file)
    console.print(_column_table(described, roles))
    labels = tuple(columns.frequent_labels(roles.label))
    require_readable(source, roles.label, labels)
    findings = find(source, roles, labels)
    for line in _describe_findings(findings):
        _print(console, line)
    _write(out, "".join(f"{line}\n" for line in configuration(findings, name, out)))
    command = f"{installation.command('local_runner.py')} run --config {shlex.quote(out)}"
    _print(console, f"wrote {out}; look at the names of the labels in it, then: {command}")
    return 0


def run_name(file: str) -> str:
    """Returns a name for the runs on a file: `ratings` for `ratings_train.tsv.gz`."""
    stem = re.sub(r"\.\w+(\.(gz|bz2|xz|zst|zip))?$", "", os.path.basename(file)).lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[_-]train$", "", stem)).strip("-")[:64] or "reviews"


def require_readable(source: Table, label: Column, labels: Sequence[str]) -> None:
    """Rejects tables that a run can't learn from yet, with what to do instead.

    Raises:
      UserError: the number of labels is not supported.
    """
    name = source.file
    if len(labels) < 2:
        counts = ", ".join(f"{value}: {label.values[value]:,}" for value in labels)
        raise UserError(f"{name}: column {label.name!r} has only one label ({counts}); a run needs two or more")


def find(source: Table, roles: Roles, labels: Sequence[str]) -> Findings:
    """Counts the rows, splits and letters as a run would.

    Raises:
      UserError: there are too few usable rows, or too many that can't be used.
    """
    rejected = source.unreadable.copy()
    usable: list[_Row] = []
    for row in source.rows:
        texts = tuple(row[column.index] for column in roles.texts)
        if not all(text.strip() for text in texts):
            rejected[rejections.EMPTY_TEXT] += 1
        elif row[roles.label.index] not in labels:
            rejected[rejections.BAD_LABEL] += 1
        else:
            usable.append((texts, row[roles.label.index]))
    share = rejected.total() / max(rejected.total() + len(usable), 1)
    if share > _MAX_REJECTED:
        raise UserError(
            f"{source.file}: {share:.0%} of the rows can't be used ({_format_counts(rejected)}); correct the file"
        )
    fraction, splits = _choose_fraction(source.file, usable)
    letters = {name: TextCounts(["".join(texts) for texts, _ in rows]).letters() for name, rows in splits.items()}
    scripts = _shares(sum(map(collections.Counter, letters.values()), collections.Counter()))
    main = max(scripts, key=scripts.__getitem__, default=None)
    least = min(_shares(counts).get(main or "", 0.0) for counts in letters.values())
    by_label = [collections.Counter(label for _, label in rows) for rows in splits.values()]
    return Findings(
        table=source,
        roles=roles,
        labels=tuple(labels),
        usable=len(usable),
        rejected=rejected,
        fraction=fraction,
        label_share=min(counts[label] / counts.total() for counts in by_label for label in labels),
        scripts=scripts,
        main_script=main if least >= _MAIN_SCRIPT_SHARE and main != "Other" else None,
    )


def configuration(findings: Findings, name: str, out: str) -> Iterator[str]:
    """Yields the lines of the configuration."""
    source = findings.table
    yield f"# Written from {_comment(os.path.basename(source.file))}: {_comment(_describe_table(source))}."
    yield "# docs/configuration.md has every key with its default."
    yield f"name: {_yaml(name)}"
    yield ""
    yield "data:"
    yield from (f"  {line}" for line in _data_lines(findings, out))
    yield ""
    yield from _training_lines(findings)
    yield ""
    yield "gates:"
    yield "  data:"
    yield from (f"    {line}" for line in _gate_lines(findings))
    yield "  invariance:"
    yield "    # Pairs of sentences that must get the same label, or different ones; docs/gates.md has the format."
    yield "    # auto takes bundled pairs in the language of the data, which only warn. null skips the check."
    yield "    pairs: auto"


def _data_lines(findings: Findings, out: str) -> Iterator[str]:
    source, roles = findings.table, findings.roles
    names = _column_names(source, roles)
    yield f"train: {_yaml(_path(source.file, out))}"
    yield f"# No separate test file: {findings.fraction:.0%} of the rows are held out. Or: test: FILE"
    yield "test: null"
    if findings.fraction != DataConfig.model_fields["dev_fraction"].default:
        yield "# More than the usual 10 %, because the table is small."
        yield f"dev_fraction: {findings.fraction}"
        yield f"test_fraction: {findings.fraction}"
    if roles.id is None:
        yield "# No column has a distinct value in each row."
    yield f"id: {_yaml(None if roles.id is None else names[roles.id.index])}"
    for column in roles.texts:
        yield f"# {column.average_length:.0f} characters on average, {column.distinct:,} distinct texts."
    if roles.pair is not None:
        yield "# A pair, to judge by their names; the name of one column: only that text."
    text_names = [names[column.index] for column in roles.texts]
    yield f"text: {_yaml(text_names if roles.pair else text_names[0])}"
    if roles.others:
        yield f"# Could be the label too: {_comment(', '.join(column.name for column in roles.others))}."
    yield f"label: {_yaml(names[roles.label.index])}"
    yield f"# Value in the file: name in reports and answers. Rows: {_comment(_label_counts(findings))}."
    if len(findings.labels) > 2:
        yield "# ordinal: the labels are in order, such as stars; values with the same name are one label."
        yield "task: classification"
    yield f"labels: {_yaml({value: value for value in findings.labels})}"
    yield from _format_lines(source, names)
    if findings.usable > _SAMPLE_ROWS:
        yield f"# null trains on all {findings.usable:,} rows, which takes longer in proportion."
        yield f"sample_size: {_SAMPLE_ROWS}"
    if (bound := _rejected_bound(findings)) is not None:
        yield f"# These rows are left out: {_comment(_format_counts(findings.rejected))}."
        yield f"max_rejected_fraction: {bound}"


def _format_lines(source: Table, names: Sequence[str]) -> Iterator[str]:
    if source.format != "tsv":
        yield f"format: {source.format}"
        return
    yield f"encoding: {_yaml(source.encoding)}"
    if source.delimiter != "\t":
        yield f"delimiter: {table.DELIMITERS[source.delimiter]}"
    if source.escape is not None:
        yield "# Makes the next character part of the field."
        yield f"escape: {_yaml(source.escape)}"
    yield "# minimal: quotes around a field are not part of it; none: a quote is a character like any other."
    yield f"quoting: {_yaml(source.quoting)}"
    yield f"header: {_yaml(True if source.header is not None else list(names))}"


def _training_lines(findings: Findings) -> Iterator[str]:
    script = findings.main_script or ""
    large = findings.usable >= _SAMPLE_ROWS
    # Chinese and Japanese have thousands of characters, which need a larger vocabulary.
    vocabulary = 8000 if large or script in ("Han", "Kana") else 2000
    size = "layers: 4, hidden: 256, heads: 4, steps: 1000" if large else "layers: 2, hidden: 128, heads: 2, steps: 200"
    rate, epochs = ("2.0e-4", 3) if large else ("5.0e-4", 5)
    yield "encoder:"
    yield "  # A small encoder that is trained on these texts: no download, no GPU. More accurate, with a network:"
    yield f"  # source: hub, handle: {_ENCODERS.get(script, 'bert_multi_cased')}; with trainer.learning_rate: 3.0e-5"
    yield "  source: pretrain"
    yield f"  pretrain: {{vocabulary: {vocabulary}, {size}}}"
    yield ""
    yield "trainer:"
    yield f"  epochs: {epochs}"
    yield f"  learning_rate: {rate}"


def _gate_lines(findings: Findings) -> Iterator[str]:
    shares = ", ".join(f"{script} {share:.1%}" for script, share in findings.scripts.items())
    yield f"# Letters: {_comment(shares) or 'none'}. Another language, or a wrong codec, has others."
    yield f"min_script_shares: {_yaml({findings.main_script: _SCRIPT_BOUND} if findings.main_script else {})}"
    task = make_task(("text",), {label: label for label in findings.labels})
    if findings.label_share < 1.2 * task.min_label_share:
        bound = math.floor(findings.label_share * 500) / 1000
        yield f"# One label is rare: {findings.label_share:.1%} of the rows of a split."
        yield f"min_label_share: {bound}"
        yield f"max_label_share: {round(1 - bound, 3)}"


def _rejected_bound(findings: Findings) -> Optional[float]:
    """Returns a bound above the share of rejected rows; None if the default is enough."""
    share = findings.rejected.total() / (findings.rejected.total() + findings.usable)
    default = DataConfig.model_fields["max_rejected_fraction"].default
    return None if share <= default else math.ceil(share * 120) / 100


def _choose_fraction(file: str, usable: Sequence[_Row]) -> tuple[float, dict[str, list[_Row]]]:
    """Returns the smallest fraction with enough rows in every split, and the rows of each."""
    for fraction in _FRACTIONS:
        splits: dict[str, list[_Row]] = {name: [] for name in features.SPLITS}
        boundaries = split.make_boundaries(fraction, fraction)
        for row in usable:
            splits[split.assign_split([text.encode() for text in row[0]], boundaries)].append(row)
        if len(usable) >= _MIN_ROWS and min(map(len, splits.values())) >= DataGateConfig().min_rows:
            return fraction, splits
    raise UserError(
        f"{file}: {len(usable)} usable rows are too few; a run needs at least {_MIN_ROWS} with different texts, so "
        "that the splits train, dev and test all have some"
    )


def _column_names(source: Table, roles: Roles) -> list[str]:
    """Returns the names in the header, or names by role for a table without one."""
    if source.header is not None:
        return list(source.header)
    names = [f"column_{index + 1}" for index in range(source.width)]
    for role, column in (("id", roles.id), ("text", roles.text), ("label", roles.label)):
        if column is not None:
            names[column.index] = role
    return names


def _path(file: str, out: str) -> str:
    """Returns the file's path relative to the configuration if it is below its folder, otherwise absolute."""
    folder = os.path.dirname(os.path.abspath(out))
    relative = os.path.relpath(os.path.abspath(file), folder)
    # `~` at the start would be read as the home folder.
    return os.path.abspath(file) if relative.startswith((os.pardir, "~")) else relative


def _describe_table(source: Table) -> str:
    header = "a header" if source.header is not None else "no header"
    rows = f"{len(source.rows):,} rows" if source.is_whole else f"{len(source.rows):,} rows in its first 128 MiB"
    if source.format != "tsv":
        return f"{rows} x {source.width} columns, {'JSON Lines' if source.format == 'jsonl' else 'Parquet'}"
    delimiter = table.DELIMITERS[source.delimiter]
    return (
        f"{rows} x {source.width} columns, {delimiter}-separated, {source.encoding}, {header}, quoting {source.quoting}"
    )


def _column_table(described: Sequence[Column], roles: Roles) -> rich.table.Table:
    result = rich.table.Table("column", "role", box=rich.box.SIMPLE_HEAD)
    for title in ("distinct", "characters"):
        result.add_column(title, justify="right")
    result.add_column("values", overflow="fold")
    texts = {column.index: "text" for column in roles.texts}
    named = {**texts, roles.label.index: "label", **({roles.id.index: "id"} if roles.id else {})}
    for column in described:
        values = ", ".join(f"{value} ({count:,})" for value, count in column.values.most_common(10))
        cells = (
            column.name,
            named.get(column.index, ""),
            f"{column.distinct:,}",
            f"{column.average_length:.0f}",
            values,
        )
        result.add_row(*(rich.text.Text(escape.line(cell)) for cell in cells))
    return result


def _describe_findings(findings: Findings) -> Iterator[str]:
    yield f"labels: {_label_counts(findings)}"
    shares = ", ".join(f"{script} {share:.1%}" for script, share in list(findings.scripts.items())[:4])
    yield f"letters: {shares or 'none'}"
    if findings.rejected:
        yield f"left out: {_format_counts(findings.rejected)}"


def _label_counts(findings: Findings) -> str:
    counts = findings.roles.label.values
    return ", ".join(f"{value} ({counts[value]:,})" for value in findings.labels)


def _format_counts(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())


def _shares(counts: dict[str, int]) -> dict[str, float]:
    """Returns the share of each, the largest first."""
    total = sum(counts.values())
    return {name: counts[name] / total for name in sorted(counts, key=lambda name: -counts[name])}


def _yaml(value: Any) -> str:
    """Formats a value in one line of YAML."""
    dumped = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, sort_keys=False, width=math.inf)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> str:
    """Makes text from the file safe for a comment: one line, without what YAML can't hold."""
    return yaml.reader.Reader.NON_PRINTABLE.sub("?", escape.line(text))


def _write(out: str, text: str) -> None:
    try:
        # Fails if the file exists, even if it was created since the check.
        with open(out, "x", encoding="utf-8") as stream:
            stream.write(text)
    except UnicodeEncodeError as error:
        raise UserError("FILE: its name is not UTF-8; rename it") from error
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror})") from error


def _print(console: rich.console.Console, text: str) -> None:
    console.print(escape.line(text), markup=False, highlight=False, soft_wrap=True)
