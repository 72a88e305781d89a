"""Makes the bundled encoder: runs a pipeline that pretrains one, and writes it as a compact encoder.

The rows of the training file that become the dev split, and the test file, are not among the texts of the pre-training.
A killed pre-training goes on when the same command is run again.

Usage, in a checkout with its environment:
  .venv/bin/python data/encoder/make_encoder.py --train TSV --test TSV [--set KEY=VALUE ...] [--out DIR] [--root DIR]
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

NAME = "ko-reviews-small"
CONFIG = "nsmc-pretrain"
DESCRIPTION = "Korean movie reviews (NSMC): a BERT of 4 layers of 256, trained on texts and ratings"
LICENCE = "CC0-1.0"
NOT_BLESSED = 3  # the encoder is finished though the classifier missed a bound


def main() -> None:
    """Runs the pipeline and writes the encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="labelled reviews, as data.train")
    parser.add_argument("--test", required=True, help="labelled reviews, as data.test")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of the run")
    parser.add_argument("--out", type=pathlib.Path, default=REPO / "data" / "encoder" / NAME)
    parser.add_argument("--root", type=pathlib.Path, default=REPO / "runs")
    arguments = parser.parse_args()
    settings = [f"data.train={arguments.train}", f"data.test={arguments.test}", *arguments.set]
    runner = [sys.executable, str(REPO / "local_runner.py"), "run", "--config", CONFIG, "--root", str(arguments.root)]
    status = subprocess.run([*runner, "--set", *settings]).returncode
    if status not in (0, NOT_BLESSED):
        sys.exit(status)
    command = shlex.join(["python", "data/encoder/make_encoder.py", *sys.argv[1:]])
    write(arguments.root / CONFIG / "history" / "latest", arguments.out, command)


def write(run: pathlib.Path, out: pathlib.Path, command: str) -> None:
    """Writes the encoder of a run as a compact one.

    Args:
      run: the run's folder under `history`.
      out: the folder, created if needed.
      command: the command that made it, for its card.
    """
    # Before TensorFlow is imported.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from components.hub_encoder import compact
    from core.config import load_config

    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    settings = load_config(str(run / "config.yaml")).encoder.pretrain
    out.mkdir(parents=True, exist_ok=True)
    compact.write(
        summary["encoder"]["path"],
        str(out),
        settings.lower_case,
        settings.max_length,
        description=DESCRIPTION,
        licence=LICENCE,
        command=command,
    )
    print(out, *sorted(f"{path.name}: {path.stat().st_size:,} bytes" for path in out.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
