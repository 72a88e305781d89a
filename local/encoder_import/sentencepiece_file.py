"""Reads and writes SentencePiece's model files, to give the pieces the ids that an encoder uses.

The library's own messages need a newer protobuf than the old set of versions has, so the parts that are needed are
declared here; everything else in a file stays as it is.
"""

from typing import Any, Collection, Optional, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from core.errors import UserError

# SentencePiece's kinds of pieces.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

_FIELD = descriptor_pb2.FieldDescriptorProto


def _message_classes() -> Any:
    """Returns the class of sentencepiece_model.proto's ModelProto, with the fields that are needed."""
    file = descriptor_pb2.FileDescriptorProto(name="import_encoder/sentencepiece.proto", package="import_encoder")
    piece = file.message_type.add(name="Piece")
    piece.field.add(name="piece", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    piece.field.add(name="score", number=2, type=_FIELD.TYPE_FLOAT, label=_FIELD.LABEL_OPTIONAL)
    # Of an enumeration, which has the same encoding.
    piece.field.add(name="type", number=3, type=_FIELD.TYPE_INT32, label=_FIELD.LABEL_OPTIONAL, default_value="1")
    normalizer = file.message_type.add(name="Normalizer")
    normalizer.field.add(name="precompiled_charsmap", number=2, type=_FIELD.TYPE_BYTES, label=_FIELD.LABEL_OPTIONAL)
    model = file.message_type.add(name="Model")
    nested = {"type": _FIELD.TYPE_MESSAGE}
    model.field.add(name="pieces", number=1, label=_FIELD.LABEL_REPEATED, type_name=".import_encoder.Piece", **nested)
    model.field.add(
        name="normalizer_spec", number=3, label=_FIELD.LABEL_OPTIONAL, type_name=".import_encoder.Normalizer", **nested
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName("import_encoder.Model")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


_Model = _message_classes()


def read(path: str) -> bytes:
    """Reads a model file.

    Raises:
      UserError: it can't be read or holds no pieces.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read()
        found = pieces(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except message.DecodeError as error:
        raise UserError(f"{path}: not a SentencePiece model; copy the file again") from error
    if not found:
        raise UserError(f"{path}: a SentencePiece model without pieces; copy the file again")
    return content


def pieces(content: bytes) -> tuple[str, ...]:
    """Returns the pieces in the order of their ids."""
    return tuple(each.piece for each in _Model.FromString(content).pieces)


def write(
    scored: Sequence[tuple[str, float]],
    unknown: int,
    control: Collection[Optional[str]],
    words: Collection[str],
    charsmap: bytes,
) -> bytes:
    """Writes a Unigram model.

    Args:
      scored: pieces and scores, by id.
      unknown: id of the unknown piece.
      control: pieces that are never found in a text.
      words: pieces that are always found as a whole.
      charsmap: normalisation, as SentencePiece compiles it; empty for none.
    """
    model = _Model()
    for number, (piece, score) in enumerate(scored):
        kind = _CONTROL if piece in control else _USER_DEFINED if piece in words else _NORMAL
        model.pieces.add(piece=piece, score=score, type=_UNKNOWN if number == unknown else kind)
    model.normalizer_spec.precompiled_charsmap = charsmap
    return model.SerializeToString()


def renumber(content: bytes, path: str, family: str, mask: Optional[str]) -> bytes:
    """Gives the pieces the ids of fairseq, in which XLM-R and CamemBERT were trained.

    Raises:
      UserError: the file does not start with the unknown piece and the two around a text.
    """
    model = _Model.FromString(content)
    first = [each.piece for each in model.pieces[:3]]
    if first != ["<unk>", "<s>", "</s>"]:
        raise UserError(f"{path}: starts with the pieces {first}; of {family} it should with ['<unk>', '<s>', '</s>']")
    head, kept = (_CAMEMBERT, 1) if family == "camembert" else (_FAIRSEQ, 3)
    rest = list(model.pieces)[kept:]
    del model.pieces[:]
    for piece in head:
        model.pieces.add(piece=piece, score=0.0, type=_UNKNOWN if piece == "<unk>" else _CONTROL)
    model.pieces.extend(rest)
    if mask:
        model.pieces.add(piece=mask, score=0.0, type=_CONTROL)
    return model.SerializeToString()


# The pieces before the file's own, in the order of their ids.
_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_CAMEMBERT = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED")
