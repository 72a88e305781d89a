"""What a review costs on a CPU: our SavedModel, the one of an earlier commit, ONNX Runtime and OpenVINO.

    git worktree add ../before da8728c
    python -m benchmarks.serving_cpu --before ../before --python other="ENV/bin/python"

Milliseconds a review, from text to label, tokenisation included in all of them. Every contender is a separate process
that answers the same reviews, alone or in batches of 32 as they come; they take turns, and are compared round by round.
The weights are random, and the same for all; the last column is the largest difference of a probability. Contenders:

    tensorflow    the SavedModel as `serve` and `predict` call it
    saved-model   the same, as it is called without them: `serving_default` on the whole batch
    before        `serving_default` of the SavedModel that the code of `--before CHECKOUT` exports
    onnx          `serve --engine onnx`: ONNX Runtime in float32
    onnx-int8     `serve --engine onnx-int8`: the same in 8-bit integers
    openvino      `serve --engine openvino`: OpenVINO in float32, on the graph that ONNX Runtime gets

The last three compute no padding either: the graph is ours. They run under the interpreter of `--python other=COMMAND`,
such as an environment with the extra `onnx`; without their packages they are left out, with the reason. On a machine
with more cores, `taskset -c 0,1` leaves two.
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Optional, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import rich.console  # noqa: E402
import rich.table  # noqa: E402

from benchmarks.serving_load import DEFAULT_TEXTS, read_texts  # noqa: E402
from benchmarks.training import data, encoder  # noqa: E402
from benchmarks.training.shapes import Shape, parse_shape  # noqa: E402
from benchmarks.training.speed import format_spread  # noqa: E402
from benchmarks.training.turns import Contender, ContenderError, Spread, ratios, take_turns  # noqa: E402

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TRAIN = os.path.join("..", "shared", "nsmc", "ratings_train.txt")
# Enough to learn the vocabulary from.
_TRAIN_ROWS = 20_000
_OURS = "tensorflow"
# Contender -> the packages that it needs, and has under the other interpreter.
_PACKAGES = {
    _OURS: "",
    "saved-model": "",
    "before": "",
    "onnx": "onnx, onnxruntime",
    "onnx-int8": "onnx, onnxruntime",
    "openvino": "onnx, openvino",
}
# Reviews of a turn by batch size: about a second or two, for an encoder at most 512 wide, and for a wider one.
_TURN = {1: (256, 64), 32: (640, 96)}
_LARGE_HIDDEN = 512


def main(words: Optional[Sequence[str]] = None) -> int:
    """Prints a table for each shape; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=parse_shape, nargs="+", default=[Shape(4, 256), Shape(12, 768)])
    parser.add_argument("--contenders", nargs="+", choices=_PACKAGES, default=list(_PACKAGES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: 5)")
    parser.add_argument("--before", metavar="CHECKOUT", help="a checkout of an earlier commit")
    parser.add_argument(
        "--python", metavar="other=COMMAND", default="", help="interpreter of the last three contenders"
    )
    parser.add_argument("--texts", default=DEFAULT_TEXTS, help="NSMC's form: id, text, label (default: %(default)s)")
    parser.add_argument("--train", default=_TRAIN, help="rows to learn a vocabulary from (default: %(default)s)")
    parser.add_argument("--cache", default=os.path.join("build", "benchmarks"), help="where encoders stay")
    options = parser.parse_args(words)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    able = _runnable(options, console)
    try:
        with tempfile.TemporaryDirectory() as folder:
            texts = os.path.join(folder, "texts.json")
            with open(texts, "w", encoding="utf-8") as stream:
                json.dump(read_texts(options.texts), stream)
            for shape in options.shapes:
                _measure(shape, able, options, texts, folder, console)
    except ContenderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _runnable(options: argparse.Namespace, console: rich.console.Console) -> list[str]:
    """Returns the contenders that can run; says why the others can't."""
    able = []
    for name in options.contenders:
        command = [*_interpreter(name, options), "-c", f"import {_PACKAGES[name] or 'sys'}"]
        done = subprocess.run(command, capture_output=True, text=True)
        reason = done.stderr.strip().splitlines()[-1] if done.returncode else ""
        if name == "before" and options.before is None:
            reason = "give --before CHECKOUT"
        if reason:
            console.print(f"left out: {name}: {reason}", markup=False)
        else:
            able.append(name)
    return able


def _interpreter(name: str, options: argparse.Namespace) -> list[str]:
    command = options.python.removeprefix("other=")
    return shlex.split(command) if command and _PACKAGES[name] else [sys.executable]


def _measure(
    shape: Shape, names: Sequence[str], options: argparse.Namespace, texts: str, folder: str, console: Any
) -> None:
    rows = data.read_rows(options.train, _TRAIN_ROWS)
    parts = os.path.abspath(encoder.prepare(rows.texts, shape, 0, options.cache))
    models = {}
    for name, checkout in (("now", _ROOT), ("before", options.before)):
        if checkout is not None:
            models[name] = os.path.join(folder, str(shape), name)
            _export(parts, models[name], checkout)
    with contextlib.ExitStack() as stack:
        started = []
        for name in names:
            console.print(f"{shape}: setting up {name} ...")
            model = models["before" if name == "before" else "now"]
            module = "saved-model" if name == "before" else name
            command = [*_interpreter(name, options), "-m", "benchmarks.serving_contender", module, model, texts]
            started.append(stack.enter_context(Contender(name, command)))
        for batch, counts in _TURN.items():
            count = counts[shape.hidden > _LARGE_HIDDEN]
            request = {"first": 0, "texts": count, "batch": batch}
            # The first calls are slow.
            take_turns(started, request, 1)
            # Every round has other reviews.
            answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for number in range(options.rounds):
                rotated = [*started[number % len(started) :], *started[: number % len(started)]]
                made = take_turns(rotated, {**request, "first": number * count}, 1)
                for name in names:
                    answers[name] += made[name]
            console.print(_table(shape, batch, count, answers))


def _export(parts: str, folder: str, checkout: str) -> None:
    script = os.path.join(_ROOT, "benchmarks", "serving_model.py")
    environment = {**os.environ, "PYTHONPATH": os.path.abspath(checkout)}
    done = subprocess.run([sys.executable, script, parts, folder], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ContenderError(f"{checkout}: exports no model: {done.stderr[-2000:]}")


def _table(shape: Shape, batch: int, count: int, answers: dict[str, list[dict[str, Any]]]) -> rich.table.Table:
    made = rich.table.Table(
        title=f"{shape}, batch of {batch}: median of {len(next(iter(answers.values())))} rounds of {count} reviews "
        f"(lowest to highest); load {os.getloadavg()[0]:.1f}"
    )
    columns = ("contender", "ms a review", f"it ÷ {_OURS}", "largest difference")
    for name in columns:
        made.add_column(name, justify="left" if name == "contender" else "right")
    base = next(iter(answers)) if _OURS not in answers else _OURS
    for name, turns in answers.items():
        own = [turn["ms"] for turn in turns]
        pairs = zip(turns, answers[base], strict=True)
        difference = max(
            np.abs(np.subtract(ours["probabilities"], theirs["probabilities"])).max() for ours, theirs in pairs
        )
        made.add_row(
            name,
            format_spread(Spread(statistics.median(own), min(own), max(own)), 2),
            format_spread(ratios(own, [turn["ms"] for turn in answers[base]]), 2),
            f"{difference:.1g}",
        )
    return made


if __name__ == "__main__":
    sys.exit(main())
