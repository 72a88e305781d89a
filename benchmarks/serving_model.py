"""Exports a classifier with random weights, for `benchmarks.serving_cpu`.

    python benchmarks/serving_model.py ENCODER FOLDER

With `PYTHONPATH=CHECKOUT`, the code of another checkout exports it. The same encoder gets the same weights.
"""

import os
import sys

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf  # noqa: E402

from artifacts import encoder as encoder_artifact  # noqa: E402
from artifacts import model_card  # noqa: E402
from schema.task import make_task  # noqa: E402
from trainer import export, model  # noqa: E402

MAX_LENGTH = 128
# A new head gives every text almost the same probability; one of larger weights shows differences.
_HEAD_SCALE = 10.0
_LAYOUT = {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8", "max_line_bytes": 1 << 20}


def main(encoder: str, folder: str) -> None:
    """Exports the classifier.

    Args:
      encoder: folder with `preprocess/`, `encoder/` and `encoder.json`.
      folder: the model's folder.
    """
    task = make_task(("document",), {"0": "부정", "1": "긍정"})
    head = model.Head(task, encoder_artifact.read(encoder).hidden, 0.0, seed=0)
    head.kernel.assign(_HEAD_SCALE * head.kernel)
    classifier = model.Classifier(model.load_encoder(encoder_artifact.encoder_dir(encoder)), head)
    preprocess = tf.saved_model.load(encoder_artifact.preprocess_dir(encoder))
    try:
        from trainer.packing import Packer
    except ImportError:  # An earlier commit.
        served = export.ServedClassifier(preprocess, classifier, task, MAX_LENGTH)
    else:
        served = export.ServedClassifier(Packer(preprocess, 1, MAX_LENGTH), classifier, task)
    export.export(folder, served)
    model_card.write(folder, model_card.ModelCard(task, _LAYOUT, MAX_LENGTH))


if __name__ == "__main__":
    main(*sys.argv[1:])
