"""A WordPiece vocabulary learned from reviews.

TF Text's BERT splitter, which is also in the exported preprocess model, splits the words, so the pieces are learned on
exactly the words that are looked up later. With `lower_case` it also strips accents by decomposing characters (NFD),
which decomposes Hangul syllables into jamo.
"""

import collections
from typing import Sequence

import tensorflow as tf
import tokenizers
from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
# The index is the id: padding is 0.
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END, MASK)

# Texts per call of the splitter: a few MiB.
_CHUNK_TEXTS = 4096

# One character for every three pieces: a character can need two pieces, at the start of a word and inside it, which
# leaves a third of the vocabulary for longer pieces. With 14,273 NSMC reviews and 2,000 pieces 3 % of the tokens are
# unknown and a review has 21 tokens; with a ratio of 4: 7 % and 19; with 2.5: 2 % and 23.
_PIECES_PER_CHARACTER = 3

# A pair of pieces that occurs only once is not worth merging.
_MIN_PAIR_COUNT = 2


def learn(texts: Sequence[bytes], size: int, lower_case: bool) -> list[str]:
    """Learns a vocabulary.

    The order of the texts does not matter. The trainer numbers characters in the order of a hash table that differs
    between runs, and breaks ties by number, so all characters are passed to it as special tokens with fixed numbers.

    Args:
      texts: UTF-8 reviews.
      size: maximum number of pieces, including special tokens; at least 15.
      lower_case: whether the splitter lower-cases and strips accents.

    Returns:
      The pieces in the order of their ids: `SPECIAL_TOKENS`, characters, `##` characters, longer pieces.
    """
    reviews = split_words(texts, lower_case)
    characters = _frequent_characters(reviews, size // _PIECES_PER_CHARACTER)
    known = frozenset(characters)
    # A word with an unknown character is unknown to the tokenizer, so skip it.
    reviews = [" ".join(word for word in review.split(" ") if known.issuperset(word)) for review in reviews]
    inner = {character for review in reviews for word in review.split(" ") for character in word[1:]}
    numbered = [*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters if c in inner)]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=_MIN_PAIR_COUNT,
        special_tokens=numbered,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.CharDelimiterSplit(" ")
    tokenizer.train_from_iterator(reviews, trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=lambda piece: ids[piece])


def write(file: str, pieces: Sequence[str]) -> None:
    """Writes one piece per line, as TF Text reads it; a piece can hold any character except a newline."""
    with open(file, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{piece}\n" for piece in pieces)


def split_words(texts: Sequence[bytes], lower_case: bool) -> list[str]:
    """Splits each text into words, joined by spaces.

    Args:
      texts: UTF-8.
      lower_case: as for `learn`.
    """
    splitter = BasicTokenizer(lower_case=lower_case)
    joined = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        words = splitter.tokenize(tf.constant(texts[start : start + _CHUNK_TEXTS]))
        joined.extend(tf.strings.reduce_join(words, axis=-1, separator=" ").numpy())
    return [line.decode("utf-8") for line in joined]


def _frequent_characters(reviews: Sequence[str], limit: int) -> list[str]:
    """Returns the most frequent characters in descending order; code points break ties."""
    counts = collections.Counter(character for review in reviews for character in review)
    del counts[" "]
    return sorted(counts, key=lambda character: (-counts[character], character))[:limit]
