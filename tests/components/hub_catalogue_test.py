"""The catalogue of encoders agrees with the addresses and the papers."""

import os
import re

import pytest
import rich.console

from components.hub_encoder.catalogue import CATALOGUE, table


def test_multilingual_bert_comes_first():
    assert next(iter(CATALOGUE)) == "bert_multi_cased"


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_agrees_with_its_address(name):
    entry = CATALOGUE[name]
    for address in (entry.encoder, entry.preprocess):
        assert re.fullmatch(r"https://tfhub\.dev/[\w/.-]+/\d+", address)
    sizes = re.search(r"_L-(\d+)_H-(\d+)_A-(\d+)/", entry.encoder)
    if sizes:
        assert tuple(map(int, sizes.groups())) == (entry.layers, entry.hidden, entry.heads)
    assert entry.hidden % entry.heads == 0
    # Cased weights need a cased vocabulary.
    if "cased" in name:
        assert entry.preprocess.count("uncased") == entry.encoder.count("uncased")


@pytest.mark.parametrize(
    "name, published_m",
    [
        ("bert_multi_cased", 178),
        ("bert_en_uncased", 110),
        ("bert_en_uncased_large", 335),
        ("small_bert_en_uncased_L-2_H-128_A-2", 4.4),
        ("small_bert_en_uncased_L-8_H-512_A-8", 41.4),
        ("albert_en_base", 12),
        ("albert_en_large", 18),
        ("electra_small", 14),
    ],
)
def test_parameter_counts_agree_with_the_papers(name, published_m):
    assert CATALOGUE[name].parameters_m == pytest.approx(published_m, rel=0.04)


def test_table_lists_every_entry():
    console = rich.console.Console(width=200, record=True, file=open(os.devnull, "w", encoding="utf-8"))
    console.print(table())
    text = console.export_text()
    assert all(name in text for name in CATALOGUE)
