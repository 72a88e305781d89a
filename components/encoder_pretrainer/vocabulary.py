"""A WordPiece vocabulary learned from reviews.

Words are split by TF Text's own BERT splitter, the one inside the exported preprocess model, so the pieces are
learned on exactly the words that are later looked up. With `lower_case` that splitter also strips accents by
decomposing characters (NFD), which takes Hangul syllables apart into jamo; without it they stay whole.
"""

import collections
from typing import Sequence

import tensorflow as tf
import tokenizers
from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
# Their places are their ids: padding is 0.
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END, MASK)

# Texts split at once: a few MiB of strings.
_CHUNK_TEXTS = 4096

# One character for every three pieces: a character can need two, at the start of a word and inside it, which
# leaves a third of the vocabulary for longer pieces. With 14,273 NSMC reviews and 2,000 pieces 3 % of the tokens are
# unknown and a review has 21; one in four: 7 % and 19; one in 2.5: 2 % and 23.
_PIECES_PER_CHARACTER = 3

# A pair of pieces seen once is no pattern.
_MIN_PAIR_COUNT = 2


def learn(texts: Sequence[bytes], size: int, lower_case: bool) -> list[str]:
    """Learns a vocabulary.

    The same texts give the same vocabulary, whatever their order. That takes some care: the trainer numbers
    characters in the order of a hash table that differs from run to run, and breaks ties by number, so all
    characters are given to it as tokens that are already numbered.

    Args:
      texts: UTF-8 reviews.
      size: most pieces that there may be, special tokens included; at least 15.
      lower_case: whether the splitter lower-cases and strips accents.

    Returns:
      The pieces in the order of their ids: `SPECIAL_TOKENS`, characters, `##` characters, longer pieces.
    """
    reviews = _split(texts, lower_case)
    characters = _frequent_characters(reviews, size // _PIECES_PER_CHARACTER)
    known = frozenset(characters)
    # The tokenizer gives up on a word with an unknown character, so such a word has nothing to teach.
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
    return sorted(ids, key=ids.get)


def write(file: str, pieces: Sequence[str]) -> None:
    """Writes one piece a line, as TF Text reads it; a piece may hold any character but a newline."""
    with open(file, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{piece}\n" for piece in pieces)


def _split(texts: Sequence[bytes], lower_case: bool) -> list[str]:
    """Returns each text's words, joined by spaces; a word holds no space."""
    splitter = BasicTokenizer(lower_case=lower_case)
    joined = []
    for start in range(0, len(texts), _CHUNK_TEXTS):
        words = splitter.tokenize(tf.constant(texts[start : start + _CHUNK_TEXTS]))
        joined.extend(tf.strings.reduce_join(words, axis=-1, separator=" ").numpy())
    return [line.decode("utf-8") for line in joined]


def _frequent_characters(reviews: Sequence[str], most: int) -> list[str]:
    """Returns the most frequent characters, the first one most so; code points break ties."""
    counts = collections.Counter(character for review in reviews for character in review)
    del counts[" "]
    return sorted(counts, key=lambda character: (-counts[character], character))[:most]
