"""The bundled encoder and well-known ones of TF Hub. Imports neither TensorFlow nor TFX."""

import dataclasses
import difflib
import os
from typing import Any, Mapping, Optional, Sequence

import rich.table

from core import installation
from core.config import ARCHIVE_SUFFIXES
from core.errors import UserError

# The setting that names an encoder.
HANDLE = "encoder.handle"

_HUB = "https://tfhub.dev"

# Vocabulary size of each preprocess model.
_UNCASED, _CASED, _MULTILINGUAL, _CHINESE, _ALBERT = 30_522, 28_996, 119_547, 21_128, 30_000


# ISO 639 codes of the languages of multilingual BERT; Chinese is there twice, simplified and traditional.
_LANGUAGES = frozenset(
    "af an ar ast az azb ba bar be bg bn bpy br bs ca ce ceb cs cv cy da de el en es et eu fa fi fr fy ga gl gu he "
    "hi hr ht hu hy id io is it ja jv ka kk kn ko ky la lb lmo lt lv mg min mk ml mn mr ms my nb nds ne new nl nn "
    "oc pa pl pms pnb pt ro ru scn sco sh sk sl sq sr su sv sw ta te tg th tl tr tt uk ur uz vi vo war yo zh".split()
)

# Of all weights that BERT's authors released (google-research/bert, README.md), and of ALBERT's and ELECTRA's (their
# cards on Hugging Face). The pages of the BERT experts on TF Hub name none.
_APACHE = "Apache-2.0"

# What the authors publish in README.md of google-research/bert (XNLI: multilingual.md), albert and electra, on the
# development set; of the small BERTs and XNLI on the test set.
_SMALL_BERTS = {(2, 128): "SST-2 83.2", (4, 256): "SST-2 85.9", (4, 512): "SST-2 89.7", (8, 512): "SST-2 89.6"}

# From this width on, a note has its own column.
_WIDE = 150


@dataclasses.dataclass(frozen=True)
class Entry:
    """One encoder of the catalogue.

    Attributes:
      encoder: the encoder's address, or the folder of a bundled compact encoder.
      preprocess: the preprocess model's address, or the same folder.
      layers: Transformer layers.
      hidden: width of the outputs.
      heads: attention heads of a layer.
      parameters_m: trainable parameters, in millions.
      note: languages and training, in a few words.
      licence: SPDX name of the weights' licence, as their authors state it; empty if they do not.
      published: accuracy that its authors report, in per cent, with the task; empty if they report none.
    """

    encoder: str
    preprocess: str
    layers: int
    hidden: int
    heads: int
    parameters_m: float
    note: str
    licence: str = ""
    published: str = ""

    @property
    def description(self) -> str:
        """The note, the published accuracy and the licence, as far as they are known."""
        return "; ".join(part for part in (self.note, self.published, self.licence) if part)

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639 codes of the languages that it was trained on."""
        by_name = {"English": "en", "Chinese": "zh", "Korean": "ko"}
        name = next((name for name in by_name if self.note.startswith(name)), None)
        return frozenset([by_name[name]]) if name else _LANGUAGES


def find(words: Sequence[str]) -> dict[str, Entry]:
    """Finds the entries that match all words: a language's code, or a part of the handle or of the note.

    Raises:
      UserError: no entry matches.
    """
    entries = {name: entry for name, entry in CATALOGUE.items() if all(_matches(name, entry, word) for word in words)}
    if not entries:
        raise UserError(f"encoders {' '.join(words)}: none has this language or name; `encoders` lists all")
    return entries


def find_entry(handle: str) -> Optional[Entry]:
    """Returns the entry with this name, or with an encoder of this address; None if there is none."""
    by_address = {entry.encoder: entry for entry in CATALOGUE.values()}
    return CATALOGUE.get(handle) or by_address.get(handle)


def check_names(handle: str, preprocess: str = "", setting: str = HANDLE) -> None:
    """Checks what can be checked of `encoder.handle` and `encoder.preprocess` without reading a folder.

    Args:
      handle: name of an entry, or an address or a folder.
      preprocess: the same, of the preprocess model; empty if `handle` has one.
      setting: the setting that `handle` is from, for errors.

    Raises:
      UserError: a name is not in the catalogue, or the address of an encoder needs that of a preprocess model too.
    """
    for field, name in ((setting, handle), ("encoder.preprocess", preprocess or handle)):
        if name not in CATALOGUE and not _is_location(name):
            raise _unknown_name(field, name)
    if not preprocess and is_archive(handle) and not find_entry(handle):
        if setting != HANDLE:
            raise UserError(
                f"{setting} = {handle}: not in the catalogue; set a folder or an archive that holds preprocess/ and "
                "encoder/"
            )
        raise UserError(
            f"encoder.preprocess: missing; {handle} is not in the catalogue, so set the address or folder of its "
            "preprocess model too"
        )


def is_archive(location: str) -> bool:
    """Returns whether a location is the web address of an archive."""
    return location.startswith(("https://", "http://"))


def is_archive_file(location: str) -> bool:
    """Returns whether a location is the local path of an archive."""
    return is_local(location) and location.endswith(ARCHIVE_SUFFIXES)


def is_local(location: str) -> bool:
    """Returns whether a location is a local path."""
    return "://" not in location


def _is_location(handle: str) -> bool:
    return not is_local(handle) or os.sep in handle or handle.startswith(".") or is_archive_file(handle)


def _unknown_name(field: str, name: str) -> UserError:
    close = difflib.get_close_matches(name, CATALOGUE, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return UserError(
        f"{field} = {name!r}: not in the catalogue; {hint}see `local_runner.py encoders`, or set an https:// or gs:// "
        "address or the path of a folder or an archive"
    )


def _matches(name: str, entry: Entry, word: str) -> bool:
    word = word.lower()
    if word in _LANGUAGES:
        return word in entry.languages
    return word in name.lower() or word in entry.note.lower()


def table(entries: Mapping[str, Entry], width: int) -> rich.table.Table:
    """Returns entries as a table for the terminal.

    Args:
      entries: name -> entry.
      width: columns of the terminal; in a narrow one a note is below its handle.
    """
    wide = width >= _WIDE
    # Users copy handles and compare numbers, so these are never cut or wrapped. At 60 columns they just fit.
    titles = ("layers", "weights", "handle")
    columns = [rich.table.Column(title, no_wrap=title != "handle", overflow="fold") for title in titles]
    result = rich.table.Table(*columns, *(["note"] if wide else []), box=None, padding=(0, 2, 0, 0))
    for name, entry in entries.items():
        numbers = (f"{entry.layers} x {entry.hidden}", f"{entry.parameters_m:.1f} M")
        result.add_row(*numbers, *([name, entry.description] if wide else [f"{name}\n[dim]{entry.description}[/]"]))
    return result


def records(entries: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """Returns entries for programs."""
    return [
        {"handle": name, **dataclasses.asdict(entry), "languages": sorted(entry.languages)}
        for name, entry in entries.items()
    ]


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


def _bert(
    path: str,
    preprocess: str,
    vocabulary: int,
    sizes: tuple[int, int, int],
    note: str,
    published: str = "",
    licence: str = _APACHE,
) -> Entry:
    layers, hidden, heads = sizes
    return Entry(
        f"{_HUB}/{path}",
        f"{_HUB}/tensorflow/{preprocess}",
        *sizes,
        _parameters_m(vocabulary, layers, hidden),
        note,
        licence,
        published,
    )


def _albert(size: str, sizes: tuple[int, int, int], published: str) -> Entry:
    layers, hidden, _ = sizes
    return Entry(
        f"{_HUB}/tensorflow/albert_en_{size}/3",
        f"{_HUB}/tensorflow/albert_en_preprocess/3",
        *sizes,
        _parameters_m(_ALBERT, layers, hidden, embedding=128, shared=True),
        "English; layers share weights: small on disk, as slow as BERT",
        _APACHE,
        published,
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
                _SMALL_BERTS.get((layers, hidden), ""),
            )
    return entries


_BASE = (12, 768, 12)
_LARGE = (24, 1024, 16)
_PRE_UNCASED = "bert_en_uncased_preprocess/3"
_PRE_CASED = "bert_en_cased_preprocess/3"

_KO_REVIEWS_SMALL = os.path.join(installation.ROOT, "data", "encoder", "ko-reviews-small")

CATALOGUE: Mapping[str, Entry] = {
    "bert_multi_cased": _bert(
        "tensorflow/bert_multi_cased_L-12_H-768_A-12/4",
        "bert_multi_cased_preprocess/3",
        _MULTILINGUAL,
        _BASE,
        "104 languages, including Korean",
        "XNLI 81.9 in English, 76.6 in Chinese",
    ),
    "ko_reviews_small": Entry(
        _KO_REVIEWS_SMALL,
        _KO_REVIEWS_SMALL,
        *(4, 256, 4),
        _parameters_m(8000, 4, 256, embedding=128),
        "Korean; bundled, trained on 660,000 movie reviews and 512,000 of their ratings",
        "CC0-1.0",
    ),
    "bert_zh": _bert(
        "tensorflow/bert_zh_L-12_H-768_A-12/4",
        "bert_zh_preprocess/3",
        _CHINESE,
        _BASE,
        "Chinese, simplified and traditional",
        "XNLI 77.2",
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
        "MultiNLI 86.1",
    ),
    "bert_en_uncased_large": _bert(
        "tensorflow/bert_en_uncased_L-24_H-1024_A-16/4",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; BERT-Large",
        "MultiNLI 86.1",
    ),
    "bert_en_wwm_cased_large": _bert(
        "tensorflow/bert_en_wwm_cased_L-24_H-1024_A-16/4",
        _PRE_CASED,
        _CASED,
        _LARGE,
        "English; BERT-Large, whole words masked",
        "MultiNLI 86.5",
    ),
    "bert_en_wwm_uncased_large": _bert(
        "tensorflow/bert_en_wwm_uncased_L-24_H-1024_A-16/4",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; BERT-Large, whole words masked",
        "MultiNLI 87.1",
    ),
    **_small_berts(),
    "albert_en_base": _albert("base", _BASE, "SST-2 92.9"),
    "albert_en_large": _albert("large", _LARGE, "SST-2 94.9"),
    "electra_small": Entry(
        f"{_HUB}/google/electra_small/2",
        f"{_HUB}/tensorflow/{_PRE_UNCASED}",
        12,
        256,
        4,
        _parameters_m(_UNCASED, 12, 256, embedding=128),
        "English, lower-cased; trained to detect replaced words, strong for its size",
        _APACHE,
        "SST-2 91.2",
    ),
    "electra_base": _bert(
        "google/electra_base/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; trained to detect replaced words",
        "SST-2 95.1",
    ),
    "electra_large": _bert(
        "google/electra_large/2",
        _PRE_UNCASED,
        _UNCASED,
        _LARGE,
        "English, lower-cased; trained to detect replaced words",
        "SST-2 96.9",
    ),
    "experts_wiki_books": _bert(
        "google/experts/bert/wiki_books/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; BERT-Base, a later training recipe",
        licence="",
    ),
    "experts_wiki_books_sst2": _bert(
        "google/experts/bert/wiki_books/sst2/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; fine-tuned on the sentiment of film reviews (SST-2)",
        licence="",
    ),
    "experts_pubmed": _bert(
        "google/experts/bert/pubmed/2",
        _PRE_UNCASED,
        _UNCASED,
        _BASE,
        "English, lower-cased; trained on medical abstracts",
        licence="",
    ),
}
