"""Peak memory of a training by number of reviews.

    python -m benchmarks.training_memory 34000 340000 [--shape 2x128]

Each number of rows is trained on for one epoch in a separate process. If the files have fewer rows, their texts are
repeated with a number in front.
"""

import argparse
import os
import tempfile
from typing import Optional, Sequence

import numpy as np
import rich.console
import rich.table

from benchmarks.training import data, encoder, shapes
from benchmarks.training.data import Rows
from benchmarks.training.trainer_process import Training, write_examples
from core.config import TrainerConfig

_FILES = ("../shared/nsmc/ratings_train.txt", "../shared/nsmc/ratings_more.txt")


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--files", nargs="+", default=_FILES, help="TSVs in NSMC's format")
    parser.add_argument("--shape", type=shapes.parse_shape, default="2x128")
    options = parser.parse_args(arguments)
    parts = [data.read_rows(file) for file in options.files]
    real = Rows([text for part in parts for text in part.texts], np.concatenate([part.labels for part in parts]))
    table = rich.table.Table("rows", "peak MiB", "seconds", "examples/s")
    with tempfile.TemporaryDirectory() as folder:
        made = encoder.prepare(real.texts, options.shape, 0, folder)
        for count in options.rows:
            examples = os.path.join(folder, f"examples-{count}")
            write_examples(examples, _grown(real, count), Rows(real.texts[:1000], real.labels[:1000]))
            config = TrainerConfig(epochs=1, precision="float32")
            process = Training(os.path.join(folder, f"training-{count}"), examples, made, config)
            started = process.start()
            _, status, used = os.wait4(started.pid, 0)
            if status:
                raise SystemExit(f"the training of {count} rows failed")
            figures = process.figures()
            table.add_row(
                f"{count:,}", f"{used.ru_maxrss / 1024:,.0f}", f"{figures.seconds:.0f}", f"{figures.examples_per_s:.0f}"
            )
    rich.console.Console().print(table)


def _grown(real: Rows, count: int) -> Rows:
    copies = -(-count // len(real.texts))
    texts = [b"%d %s" % (copy, text) if copy else text for copy in range(copies) for text in real.texts]
    return Rows(texts[:count], np.tile(real.labels, copies)[:count])


if __name__ == "__main__":
    main()
