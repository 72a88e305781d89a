"""Texts on disk are the same sequence as a list of them."""

import pytest

from components.encoder_pretrainer.packed_texts import PackedTexts

TEXTS = ["굿".encode(), b"", b"a longer text", b"", b"\n"]


@pytest.mark.parametrize("texts", [TEXTS, [], [b""]])
def test_packed_texts_are_a_sequence(texts):
    packed = PackedTexts(iter(texts))
    assert list(packed) == texts and len(packed) == len(texts) and bool(packed) == bool(texts)
    assert packed[1:4] == texts[1:4] and packed[::-2] == texts[::-2]
    assert [packed[row] for row in range(-len(texts), len(texts))] == texts * 2
    with pytest.raises(IndexError):
        packed[len(texts)]
