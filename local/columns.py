"""Finds out which column of a table is the text, the label and the id."""

import collections
import dataclasses
import itertools
import re
from typing import Optional, Sequence

from core.errors import UserError
from local.table import Table

# More distinct values are numbers or names, not classes.
_MAX_LABELS = 20
# Share of the rows that have one of the frequent values; the others are typos.
_MIN_LABELLED = 0.95
# Rows of a class: fewer, and the values are probably not classes.
_MIN_REPEATS = 5
# The rarest values, up to this share of the rows together, are typos or "nan" and no labels.
_RARE_SHARE = 0.005
_LABEL_NAME = re.compile(
    r"label|sentiment|polarity|class|target|rating|stars?$|score|라벨|레이블|감성|감정|평점|별점", re.I
)
_ID_NAME = re.compile(r"(^|[^a-z])(id|idx|index|no|key|uuid)$|번호|아이디", re.I)
# Names of the second text column of a pair, without digits, underscores and blanks; the first has the same name with
# another digit, or is listed here.
_PAIRS = {"sentence": "question", "hypothesis": "premise", "answer": "question", "string": "string"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# Starts of values that belong before their opposite, which the alphabet puts first.
_NEGATIVE = ("부정", "나쁨", "싫", "비추", "unf", "unh")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column and what its values look like.

    Attributes:
      index: place in the table, from 0.
      name: name in the header, or one made from its place or role.
      distinct: number of distinct values that are not blank.
      average_length: characters of a value.
      values: rows by value; empty if a few values don't make up almost all rows.
      is_unique: whether no value is blank or appears twice.
      is_number: whether most values are numbers.
    """

    index: int
    name: str
    distinct: int
    average_length: float
    values: collections.Counter[str]
    is_unique: bool
    is_number: bool


@dataclasses.dataclass(frozen=True)
class Roles:
    """What the columns are for.

    Attributes:
      text: the text, or the first text of a pair.
      label: the label.
      id: the id.
      others: further columns that could be the label.
      pair: the second text of a pair.
    """

    text: Column
    label: Column
    id: Optional[Column]
    others: tuple[Column, ...]
    pair: Optional[Column] = None

    @property
    def texts(self) -> tuple[Column, ...]:
        """The text columns."""
        return (self.text,) if self.pair is None else (self.text, self.pair)


def describe(table: Table) -> list[Column]:
    """Describes the columns of a table, in order."""
    names = table.header or tuple(f"column_{index + 1}" for index in range(table.width))
    return [_describe(index, name, [row[index] for row in table.rows]) for index, name in enumerate(names)]


def assign(columns: Sequence[Column], file: str) -> Roles:
    """Chooses the columns: the label has few distinct values, the text is long and varied, the id is unique.

    Raises:
      UserError: there is no label or no text, or the header repeats a name.
    """
    labels = sorted((column for column in columns if _could_be_label(column)), key=_label_order)
    if not labels:
        raise UserError(f"{file}: no column looks like a label (from 2 to {_MAX_LABELS} distinct values); add one")
    label = labels[0]
    texts = [column for column in columns if column is not label and not column.is_number and column.distinct > 1]
    if not texts:
        raise UserError(f"{file}: no column looks like a text; the label is {label.name!r}")
    rows = max(column.distinct for column in texts)
    text = max(texts, key=lambda column: column.average_length * column.distinct / rows)
    text, pair = _find_pair(texts) or (text, None)
    ids = [
        column for column in columns if column.is_unique and column.name.strip() and column not in (text, pair, label)
    ]
    identity = min(ids, key=lambda column: (not _ID_NAME.search(column.name), column.index), default=None)
    for column in filter(None, (text, pair, label)):
        if [each.name for each in columns].count(column.name) > 1:
            raise UserError(f"{file}: the header has two columns {column.name!r}; rename one")
    others = tuple(column for column in labels[1:] if column not in (text, pair))
    return Roles(text, label, identity, others, pair)


def _find_pair(texts: Sequence[Column]) -> Optional[tuple[Column, Column]]:
    """Returns two neighbouring columns that are named like a pair: sentence1 and sentence2, premise and hypothesis."""
    for first, second in itertools.pairwise(texts):
        names = [re.sub(r"[\W\d_]", "", column.name.lower()) for column in (first, second)]
        numbers = [re.sub(r"\D", "", column.name) for column in (first, second)]
        # Without a header, `describe` names the columns by their place.
        numbered = names[0] == names[1] != "column" and numbers == ["1", "2"]
        if second.index == first.index + 1 and (numbered or (_PAIRS.get(names[1]) == names[0] and numbers == ["", ""])):
            return first, second
    return None


def frequent_labels(label: Column) -> list[str]:
    """Returns the values of a label column in class order, without rare ones such as typos.

    Numbers are sorted by value, words by the alphabet, but well-known negative words come first.
    """
    values, rare = list(label.values), 0
    # Two values may be as unbalanced as they are: the rarer one is not a typo.
    for value, count in label.values.most_common()[:1:-1]:
        rare += count
        if count == 1 or rare <= _RARE_SHARE * label.values.total():
            values.remove(value)
    if all(_NUMBER.fullmatch(value) for value in values):
        return sorted(values, key=float)
    return sorted(values, key=lambda value: (not value.lower().startswith(_NEGATIVE), value))


def _describe(index: int, name: str, values: Sequence[str]) -> Column:
    counts = collections.Counter(value for value in values if value.strip())
    frequent = collections.Counter(dict(counts.most_common(_MAX_LABELS)))
    numbers = sum(count for value, count in counts.items() if _NUMBER.fullmatch(value.strip()))
    return Column(
        index=index,
        name=name,
        distinct=len(counts),
        average_length=sum(map(len, values)) / len(values),
        values=frequent if frequent.total() >= _MIN_LABELLED * counts.total() else collections.Counter(),
        is_unique=len(counts) == len(values),
        is_number=2 * numbers > counts.total(),
    )


def _could_be_label(column: Column) -> bool:
    # The second of two values may be rare.
    return len(column.values) >= 2 and column.values.total() >= _MIN_REPEATS * len(column.values)


def _label_order(column: Column) -> tuple[bool, bool, int, int]:
    return not _LABEL_NAME.search(column.name), column.distinct != 2, column.distinct, -column.index
