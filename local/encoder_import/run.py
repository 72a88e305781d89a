"""`import-encoder`: reads a folder, writes a Hub pair, and proves that it computes the same."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from typing import Iterator, Optional

from artifacts import encoder as encoder_artifact
from core.errors import UserError
from local.encoder_import import architecture, preprocess, proof, tokenizer, weights
from trainer import bert, hub_export

# What was compared, beside the two SavedModels.
_RECORD = "import.json"


def import_encoder(source: str, target: str) -> list[str]:
    """Imports an encoder.

    Args:
      source: a folder of transformers, or of an original TensorFlow checkpoint of BERT.
      target: a new folder, for `preprocess/` and `encoder/`.

    Returns:
      Lines that say what was imported and what was proved.

    Raises:
      UserError: the folder can't be imported, or the proof fails. Nothing is written.
    """
    _check_folders(source, target)
    with _staging(target) as folder:
        network, result = _write(source, folder)
        # Created by `tempfile` for its owner only.
        os.chmod(folder, 0o777 & ~_umask())
        os.replace(folder, target)
    sizes = network.sizes
    size = f"{sizes.layers} layers of {sizes.hidden}, {sizes.vocabulary:,} word pieces"
    return [f"{target}: {size}", _describe_outputs(result), _describe_tokens(result)]


def _check_folders(source: str, target: str) -> None:
    if not os.path.isdir(source):
        raise UserError(f"{source}: not a folder; should hold {architecture.CONFIG} or {architecture.BERT_CONFIG}")
    if os.path.lexists(target):
        raise UserError(f"--to {target}: exists already; should be a new folder")


@contextlib.contextmanager
def _staging(target: str) -> Iterator[str]:
    """Creates a folder beside the target, which is removed if it is not moved there."""
    parent = os.path.dirname(os.path.abspath(target))
    try:
        os.makedirs(parent, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{os.path.basename(os.path.abspath(target))}.", suffix=".tmp", dir=parent)
    except OSError as error:
        raise UserError(f"--to {target}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write(source: str, folder: str) -> tuple[bert.Bert, proof.Proof]:
    """Writes the pair and its records into a folder."""
    if os.path.isfile(os.path.join(source, architecture.CONFIG)):
        described = architecture.read(source)
        words = tokenizer.read(source, described.family)
        tensors, path = weights.read_weights(source)
    elif os.path.isfile(os.path.join(source, architecture.BERT_CONFIG)):
        described = architecture.read_bert_config(source)
        words = tokenizer.read_vocabulary(os.path.join(source, tokenizer.VOCABULARY))
        tensors, path = weights.read_checkpoint(source)
    else:
        raise UserError(f"{source}: holds neither {architecture.CONFIG} nor {architecture.BERT_CONFIG}")
    if len(words.pieces) > described.vocabulary:
        raise UserError(
            f"{source}: its tokenizer has {len(words.pieces)} pieces, but vocab_size is {described.vocabulary}; copy "
            "the tokenizer of this encoder"
        )
    network = weights.convert(tensors, described, path)
    preprocess.save_preprocess(words, encoder_artifact.preprocess_dir(folder))
    hub_export.save_encoder(network, encoder_artifact.encoder_dir(folder))
    names = {encoder_artifact.PREPROCESS: source, encoder_artifact.ENCODER: source}
    encoder_artifact.finish(
        folder, source="import", handle=source, preprocess_handle="", heads=described.heads, names=names
    )
    result = proof.prove(source, folder, described, words, weights.has_pooler(tensors, described))
    with open(os.path.join(folder, _RECORD), "w", encoding="utf-8") as stream:
        json.dump({"family": described.family, **dataclasses.asdict(result)}, stream, indent=2, ensure_ascii=False)
    return network, result


def _describe_outputs(result: proof.Proof) -> str:
    if result.difference is None:
        return "outputs: not proved; needs torch and transformers, in versions that read this folder"
    return f"outputs: equal to those of {result.outputs}, the largest difference is {result.difference:.1e}"


def _describe_tokens(result: proof.Proof) -> str:
    if result.tokens is None:
        return "tokens: not proved; needs transformers or sentencepiece, in a version that reads this folder"
    exceptions: Optional[str] = ", ".join(result.unequal)
    return f"tokens: equal to those of {result.tokens}" + (f", except for {exceptions}" if exceptions else "")
