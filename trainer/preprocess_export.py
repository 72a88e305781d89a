"""Writes the preprocess model for a WordPiece vocabulary, with tf-models' exporter for TF Hub."""

from official.nlp.tools import export_tfhub_lib


def write_preprocess(vocabulary_file: str, folder: str, lower_case: bool, max_length: int) -> None:
    """Writes the SavedModel.

    Args:
      vocabulary_file: a word piece a line.
      folder: a new folder.
      lower_case: whether texts are lower-cased, and accents removed.
      max_length: the sequence length if a caller gives none.
    """
    export_tfhub_lib.export_preprocessing(
        folder,
        vocab_file=vocabulary_file,
        do_lower_case=lower_case,
        tokenize_with_offsets=False,
        default_seq_length=max_length,
        # Like TF Hub's own preprocess models. Without the assertions of ragged tensors the model is half the size, and
        # exporting and loading take half the time.
        experimental_disable_assert=True,
    )
