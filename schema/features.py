"""Names of the features of an example, of a model's inputs, and of the splits.

An example is a `tf.Example` with

| feature         | type     | shape | meaning                                              |
|-----------------|----------|-------|------------------------------------------------------|
| `id`            | bytes    | [1]   | from the id column, or `<file>:<offset>` without one |
| `document`      | bytes    | [1]   | the text, or the first of a pair, UTF-8, never blank |
| `document_pair` | bytes    | [1]   | the second text of a pair; absent for a single text  |
| `label`         | int64    | [1]   | index of the class in the task's label names; or     |
|                 | float    | [1]   | a score                                              |
"""

from typing import Sequence

ID = "id"
DOCUMENT = "document"
DOCUMENT_PAIR = "document_pair"
LABEL = "label"

# The texts of an example, and the inputs of a served model that take them, both in the order of the encoder's segments.
TEXTS = (DOCUMENT, DOCUMENT_PAIR)
TEXT_INPUTS = ("text", "text_pair")

TRAIN_SPLIT = "train"
DEV_SPLIT = "dev"
TEST_SPLIT = "test"
SPLITS = (TRAIN_SPLIT, DEV_SPLIT, TEST_SPLIT)


def show_texts(texts: Sequence[str]) -> str:
    """Returns the texts of a row as people see them: a pair is joined by ` | `."""
    return " | ".join(texts)
