"""The catalogue of encoders agrees with the addresses and the papers."""

import io
import re

import pytest
import rich.console
from rich import cells

from components.hub_encoder.catalogue import CATALOGUE, find, records, table
from core.errors import UserError

BUNDLED = "ko_reviews_small"


def test_multilingual_bert_comes_first():
    assert next(iter(CATALOGUE)) == "bert_multi_cased"


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != BUNDLED])
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


@pytest.mark.parametrize("width", [200, 80, 60])
def test_table_lists_every_entry_at_any_width(width):
    console = rich.console.Console(width=width, file=io.StringIO())
    console.print(table(CATALOGUE, width))
    text = console.file.getvalue()
    assert all(name in text.split() for name in CATALOGUE), "no handle is wrapped or cut"
    assert all(cells.cell_len(line) <= width for line in text.splitlines())
    rows = 1 if width == 200 else 2
    assert len(text.splitlines()) >= rows * len(CATALOGUE) + 1


@pytest.mark.parametrize(
    "words, names",
    [
        (["ko"], ["bert_multi_cased", BUNDLED]),
        (["Korean"], ["bert_multi_cased", BUNDLED]),
        (["zh"], ["bert_multi_cased", "bert_zh"]),
        (["electra"], ["electra_small", "electra_base", "electra_large"]),
        (["en", "albert", "BASE"], ["albert_en_base"]),
        ([], list(CATALOGUE)),
    ],
)
def test_entries_are_found_by_language_or_name(words, names):
    assert list(find(words)) == names
    assert [record["handle"] for record in records(find(words))] == names


def test_unknown_language_is_an_error():
    with pytest.raises(UserError, match="encoders klingon: none has this language or name"):
        find(["klingon"])


def test_licences_and_published_accuracies_are_named_where_their_authors_do():
    unknown = {name for name, entry in CATALOGUE.items() if not entry.licence}
    assert unknown == {name for name in CATALOGUE if name.startswith("experts_")}
    assert CATALOGUE["electra_small"].description.endswith("strong for its size; SST-2 91.2; Apache-2.0")
    assert records({"bert_zh": CATALOGUE["bert_zh"]})[0]["published"] == "XNLI 77.2"
    assert CATALOGUE["experts_pubmed"].description == CATALOGUE["experts_pubmed"].note
