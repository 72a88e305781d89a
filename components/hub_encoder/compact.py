"""A compact encoder: a BERT in a few megabytes, to keep in a repository or to send.

Its folder holds

- `vocab.txt`: a word piece a line;
- `weights.npz`: the weights in float16, by their names in tf-models;
- `encoder.json`: a `CompactCard`;
- `pretraining.json` as `artifacts.pretraining` describes, if this pipeline trained it.

The two SavedModels of an encoder artifact are built from these files.
"""

import dataclasses
import json
import os
import shutil
import zipfile
from typing import Mapping

import numpy as np
import tensorflow as tf

from artifacts import encoder as encoder_artifact
from artifacts import model_files, pretraining
from core.errors import UserError, first_line
from trainer import bert, hub_export, native, preprocess_export

VOCABULARY = "vocab.txt"
WEIGHTS = "weights.npz"


@dataclasses.dataclass(frozen=True)
class CompactCard:
    """What a compact encoder is.

    Attributes:
      description: language, texts and size, in a sentence.
      licence: SPDX name.
      command: the command that made it.
      layers: Transformer layers.
      hidden: width of the outputs.
      heads: attention heads of a layer.
      vocabulary: number of word pieces.
      lower_case: whether its tokenizer lower-cases.
      max_length: the longest text that it was trained on, in tokens.
      sha256: file name -> digest.
    """

    description: str
    licence: str
    command: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    lower_case: bool
    max_length: int
    sha256: Mapping[str, str]


def is_compact(folder: str) -> bool:
    """Returns whether a local folder holds a compact encoder."""
    return os.path.isfile(os.path.join(folder, WEIGHTS))


def read_card(folder: str) -> CompactCard:
    """Reads the card of a compact encoder, and checks the files against its digests.

    Raises:
      UserError: the card can't be read, or a file is missing or has another digest.
    """
    path = os.path.join(folder, encoder_artifact.CARD)
    try:
        with open(path, encoding="utf-8") as stream:
            card = CompactCard(**json.load(stream))
        digests = {name: model_files.file_sha256(os.path.join(folder, name)) for name in (VOCABULARY, WEIGHTS)}
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; copy the compact encoder again") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a valid card of a compact encoder ({first_line(error)})") from error
    for name, digest in digests.items():
        if digest != card.sha256.get(name):
            raise UserError(
                f"{os.path.join(folder, name)}: has the digest {digest}, but {encoder_artifact.CARD} records "
                f"{card.sha256.get(name)}; the file was damaged or changed: copy the compact encoder again"
            )
    return card


def unpack(folder: str, target: str) -> None:
    """Writes the two SavedModels of a compact encoder.

    Args:
      folder: the compact encoder.
      target: an existing folder, for `preprocess/` and `encoder/`.

    Raises:
      UserError: a file is missing or damaged.
    """
    card = read_card(folder)
    network = _read_network(folder, card)
    vocabulary = os.path.join(folder, VOCABULARY)
    preprocess_export.write_preprocess(
        vocabulary, encoder_artifact.preprocess_dir(target), card.lower_case, card.max_length
    )
    hub_export.save_encoder(network, encoder_artifact.encoder_dir(target))
    if os.path.isfile(os.path.join(folder, pretraining.PRETRAINING_FILE)):
        shutil.copy(os.path.join(folder, pretraining.PRETRAINING_FILE), target)


def write(
    source: str, target: str, lower_case: bool, max_length: int, description: str, licence: str, command: str
) -> CompactCard:
    """Writes an encoder that EncoderPretrainer trained as a compact one.

    Args:
      source: folder of an encoder artifact, with `preprocess/` and `encoder/`.
      target: an existing folder; files of another compact encoder in it are replaced.
      lower_case: as in `CompactCard`.
      max_length: as in `CompactCard`.
      description: as in `CompactCard`.
      licence: as in `CompactCard`.
      command: as in `CompactCard`.

    Returns:
      Its card.

    Raises:
      UserError: the encoder is not a BERT with a WordPiece vocabulary.
    """
    pieces = encoder_artifact.read_vocabulary(source)
    network = native.rebuild_bert(tf.saved_model.load(encoder_artifact.encoder_dir(source)))
    if network is None or not pieces or network.variant != bert.Variant():
        raise UserError(f"{source}: should be an encoder that EncoderPretrainer trained")
    with open(os.path.join(target, VOCABULARY), "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{piece}\n" for piece in pieces)
    weights = {weight.name: weight.numpy().astype(np.float16) for weight in network.weights}
    np.savez_compressed(os.path.join(target, WEIGHTS), **weights)
    if os.path.isfile(os.path.join(source, pretraining.PRETRAINING_FILE)):
        shutil.copy(os.path.join(source, pretraining.PRETRAINING_FILE), target)
    card = CompactCard(
        description=description,
        licence=licence,
        command=command,
        layers=network.sizes.layers,
        hidden=network.sizes.hidden,
        heads=network.sizes.heads,
        vocabulary=len(pieces),
        lower_case=lower_case,
        max_length=max_length,
        sha256={name: model_files.file_sha256(os.path.join(target, name)) for name in (VOCABULARY, WEIGHTS)},
    )
    with open(os.path.join(target, encoder_artifact.CARD), "w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(card), stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    return card


def _read_network(folder: str, card: CompactCard) -> bert.Bert:
    path = os.path.join(folder, WEIGHTS)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            variables = {
                name: tf.Variable(arrays[name].astype(np.float32), name=name.removesuffix(":0"))
                for name in arrays.files
            }
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: can't be read ({first_line(error)}); copy the compact encoder again") from error
    sizes = bert.infer_sizes({name: tuple(variable.shape) for name, variable in variables.items()})
    if sizes is None or sizes.vocabulary != card.vocabulary:
        raise UserError(f"{path}: its weights are not those of a BERT with {card.vocabulary} word pieces")
    return bert.Bert(variables, sizes)
