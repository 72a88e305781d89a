"""Collects the texts that the teachers label: the training split's and those of tables, without dev and test rows."""

import collections
from typing import Collection, Iterable, Mapping, Sequence

from components import text_tables
from core.config import TextsConfig

# The setting, which messages about a table name.
SETTING = "distill.texts"


def collect(
    train: Iterable[text_tables.Texts],
    tables: Sequence[TextsConfig],
    held_back: Mapping[str, Collection[text_tables.Texts]],
) -> tuple[list[text_tables.Texts], dict[str, int], dict[str, int]]:
    """Collects different rows.

    Args:
      train: the texts of each row of the training split.
      tables: tables of further texts.
      held_back: split -> rows that must not be used.

    Returns:
      The rows in the order of their bytes, split -> number of rows left out because they are in it, and the rejected
      rows of the tables by reason.

    Raises:
      UserError: a table can't be used.
    """
    rejected: collections.Counter[str] = collections.Counter()
    rows = set(train)
    for table in tables:
        rows.update(texts for texts, _ in text_tables.read_table(table, SETTING, rejected))
    left_out = {split: len(rows & set(held)) for split, held in held_back.items()}
    return sorted(rows.difference(*held_back.values())), left_out, dict(rejected)
