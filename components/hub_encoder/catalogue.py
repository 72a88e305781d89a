"""Well-known encoders of TF Hub, each with its preprocess model."""

import dataclasses
from typing import Mapping, Optional

import rich.box
import rich.table

_HUB = "https://tfhub.dev"

# Vocabulary size of each preprocess model.
_UNCASED, _CASED, _MULTILINGUAL, _CHINESE, _ALBERT = 30_522, 28_996, 119_547, 21_128, 30_000


@dataclasses.dataclass(frozen=True)
class Entry:
    """One encoder of the catalogue.

    Attributes:
      encoder: the encoder's address.
      preprocess: the preprocess model's address.
      layers: Transformer layers.
      hidden: width of the outputs.
      heads: attention heads of a layer.
      parameters_m: trainable parameters, in millions.
      note: languages and training, in a few words.
    """

    encoder: str
    preprocess: str
    layers: int
    hidden: int
    heads: int
    parameters_m: float
    note: str


def table() -> rich.table.Table:
    """Returns the catalogue as a table for the terminal."""
    # Never truncated, even in a narrow terminal: users copy handles and compare numbers.
    columns = [rich.table.Column(title, no_wrap=True) for title in ("handle", "layers", "weights")]
    result = rich.table.Table(*columns, "note", box=rich.box.SIMPLE_HEAD)
    for name, entry in CATALOGUE.items():
        result.add_row(name, f"{entry.layers} x {entry.hidden}", f"{entry.parameters_m:.1f} M", entry.note)
    return result


def _parameters_m(
    vocabulary: int, layers: int, hidden: int, embedding: Optional[int] = None, shared: bool = False
) -> float:
    """Counts a BERT's parameters, in millions.

    Args:
      vocabulary: word pieces.
      layers: Transformer layers.
      hidden: width; the feed-forward layers are four times as wide.
      embedding: width of the embeddings if it differs from `hidden`.
      shared: whether all layers share one set of weights, as ALBERT's do.
    """
    width = embedding or hidden
    # 512 positions, 2 segments, and the layer norm's scale and offset.
    embeddings = (vocabulary + 512 + 2 + 2) * width + ((width + 1) * hidden if embedding else 0)
    # Attention 4 h^2 + 4 h, feed-forward 8 h^2 + 5 h, two layer norms 4 h.
    layer = 12 * hidden**2 + 13 * hidden
    pooler = hidden**2 + hidden
    return (embeddings + layer * (1 if shared else layers) + pooler) / 1e6


def _bert(path: str, preprocess: str, vocabulary: int, sizes: tuple[int, int, int], note: str) -> Entry:
    layers, hidden, heads = sizes
    return Entry(
        f"{_HUB}/{path}", f"{_HUB}/tensorflow/{preprocess}", *sizes, _parameters_m(vocabulary, layers, hidden), note
    )


def _albert(size: str, sizes: tuple[int, int, int]) -> Entry:
    layers, hidden, _ = sizes
    return Entry(
        f"{_HUB}/tensorflow/albert_en_{size}/3",
        f"{_HUB}/tensorflow/albert_en_preprocess/3",
        *sizes,
        _parameters_m(_ALBERT, layers, hidden, embedding=128, shared=True),
        "English; layers share weights: small on disk, as slow as BERT",
    )


def _small_berts() -> dict[str, Entry]:
    """Returns the 24 sizes of Turc et al. 2019; each head is 64 wide."""
    entries = {}
    for layers in (2, 4, 6, 8, 10, 12):
        for hidden in (128, 256, 512, 768):
            name = f"bert_en_uncased_L-{layers}_H-{hidden}_A-{hidden // 64}"
            entries[f"small_{name}"] = _bert(
                f"tensorflow/small_bert/{name}/2",
                "bert_en_uncased_preprocess/3",
                _UNCASED,
                (layers, hidden, hidden // 64),
                "English, lower-cased; a small BERT",
            )
    return entries


_BASE = (12, 768, 12)
_LARGE = (24, 1024, 16)
_PRE_UNCASED = "bert_en_uncased_preprocess/3"
_PRE_CASED = "bert_en_cased_preprocess/3"

CATALOGUE: Mapping[str, Entry] = {
    "bert_multi_cased": _bert(
        "tensorflow/bert_multi_cased_L-12_H-768_A-12/4",
        "bert_multi_cased_preprocess/3",
        _MULTILINGUAL,
        _BASE,
        "104 languages, including Korean",
    ),
    "bert_zh": _bert(
        "tensorflow/bert_zh_L-12_H-768_A-12/4",
        "bert_zh_preprocess/3",
        _CHINESE,
        _BASE,
        "Chinese, simplified and traditional",
    ),
    "bert_en_cased": _bert(
        "tensorflow/bert_en_cased_L-12_H-768_A-12/4",
        _PRE_CASED,
        _CASED,
        _BASE,
        "English; BERT-Base",
    ),
    "bert_en_uncased": _bert(
        "tensorflow/bert_en_uncased_L-12_H-768_A-12/4",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; BERT-Base",
    ),
    "bert_en_cased_large": _bert(
        "tensorflow/bert_en_cased_L-24_H-1024_A-16/4",
        _PRE_CASED,
        _CASED,
        _LARGE,
        "English; BERT-Large",
    ),
    "bert_en_uncased_large": _bert(
        "tensorflow/bert_en_uncased_L-24_H-1024_A-16/4",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; BERT-Large",
    ),
    "bert_en_wwm_cased_large": _bert(
        "tensorflow/bert_en_wwm_cased_L-24_H-1024_A-16/4",
        _PRE_CASED,
        _CASED,
        _LARGE,
        "English; BERT-Large, whole words masked",
    ),
    "bert_en_wwm_uncased_large": _bert(
        "tensorflow/bert_en_wwm_uncased_L-24_H-1024_A-16/4",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; BERT-Large, whole words masked",
    ),
    **_small_berts(),
    "albert_en_base": _albert("base", _BASE),
    "albert_en_large": _albert("large", _LARGE),
    "electra_small": Entry(
        f"{_HUB}/google/electra_small/2",
        f"{_HUB}/tensorflow/{_PRE_UNCASED}",
        12,
        256,
        4,
        _parameters_m(_UNCASED, 12, 256, embedding=128),
        "English, lower-cased; trained to detect replaced words, strong for its size",
    ),
    "electra_base": _bert(
        "google/electra_base/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; trained to detect replaced words",
    ),
    "electra_large": _bert(
        "google/electra_large/2",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; trained to detect replaced words",
    ),
    "experts_wiki_books": _bert(
        "google/experts/bert/wiki_books/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; BERT-Base, a later training recipe",
    ),
    "experts_wiki_books_sst2": _bert(
        "google/experts/bert/wiki_books/sst2/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; fine-tuned on the sentiment of film reviews (SST-2)",
    ),
    "experts_pubmed": _bert(
        "google/experts/bert/pubmed/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; trained on medical abstracts",
    ),
}
