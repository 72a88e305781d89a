"""Names of the features of an example, and of the splits.

An example is a `tf.Example` with

| feature    | type     | shape | meaning                                              |
|------------|----------|-------|------------------------------------------------------|
| `id`       | bytes    | [1]   | from the id column, or `<file>:<offset>` without one |
| `document` | bytes    | [1]   | the text, UTF-8, never empty                         |
| `label`    | int64    | [1]   | index of the class in the task's label names; or     |
|            | float    | [1]   | a score                                              |
"""

ID = "id"
DOCUMENT = "document"
LABEL = "label"

TRAIN_SPLIT = "train"
DEV_SPLIT = "dev"
TEST_SPLIT = "test"
SPLITS = (TRAIN_SPLIT, DEV_SPLIT, TEST_SPLIT)
