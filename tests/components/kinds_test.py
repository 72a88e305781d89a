"""Invented tables in the shapes of public files pass the data gate with its defaults; every row is accounted for."""

import csv
import dataclasses
import io
import random
from typing import Any, Mapping

import pytest

from components.tsv_example_gen import executor, parse
from core.config import DataConfig
from schema.labels import LeftOut
from tests.data_gates import failed, judge_file

ROWS = 1500

WORDS = {
    "en": "this phone works really well and my kids love it but sound is low great price never again music".split(),
    "ko": "영화 정말 재미있다 별로 배우 연기 최고 지루한 시간 감동 다시 보고 싶다 아깝다 음악 좋고 결말 이상".split(),
    "id": "aplikasi ini sangat bagus tapi sering lambat sekali mudah dipakai saya suka kecewa tolong perbaiki".split(),
    "ar": "هذا الفيلم رائع جدا ولكن القصة مملة قليلا احب الممثل كثيرا لا انصح به ابدا كان يوما جميلا".split(),
}


def texts(language, rows=ROWS):
    """Texts of 4 to 12 words."""
    chance = random.Random(language)
    return [" ".join(chance.choices(WORDS[language], k=chance.randint(4, 12))) for _ in range(rows)]


def labels(shares: Mapping[str, float], rows=ROWS):
    """Labels with about these shares, in an order of their own."""
    return random.Random(7).choices(list(shares), list(shares.values()), k=rows)


def table(header, *columns, end="\n", **form):
    """Writes columns as pandas does."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=end, **{"delimiter": "\t", **form})
    writer.writerows([*([header] if header else []), *zip(*columns, strict=True)])
    return stream.getvalue()


def raw(*columns):
    """Columns with tabs between them and quotation marks as they are."""
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))


@dataclasses.dataclass
class Kind:
    """A table, the settings that read it, and the rows that they leave out or that have no text."""

    content: str
    data: Mapping[str, Any]
    left_out: int = 0
    empty: int = 0
    encoding: str = "utf-8"


def alexa():
    """The first column has no name; 2.5 % of the reviews are empty; five stars are the most."""
    reviews = ["" if i % 40 == 39 else text for i, text in enumerate(texts("en"))]
    stars = labels({"1": 0.05, "2": 0.03, "3": 0.05, "4": 0.15, "5": 0.72})
    left_out = sum(star == "3" and bool(review) for star, review in zip(stars, reviews, strict=True))
    merged = {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}
    data = {"text": "verified_reviews", "label": "rating", "labels": merged, "ignore_labels": ["3"], "id": None}
    content = table(["", "rating", "verified_reviews"], [str(i) for i in range(ROWS)], stars, reviews)
    return Kind(content, data, left_out, reviews.count(""))


def hate_speech(label, values):
    """Quotation marks that close nothing; three labels, or True and False."""
    comments = ['"' + text if i % 50 == 0 else text for i, text in enumerate(texts("ko"))]
    content = "comments\t" + label + "\n" + raw(comments, labels(dict.fromkeys(values, 1.0)))
    return Kind(content, {"text": "comments", "label": label, "labels": values, "id": None, "quoting": "none"})


def sms_spam():
    """The label first, no header, stray quotation marks."""
    messages = [text + ' "' if i % 30 == 0 else text for i, text in enumerate(texts("en"))]
    data = {"header": ["label", "text"], "text": "text", "id": None, "quoting": "none"}
    return Kind(raw(labels({"ham": 0.87, "spam": 0.13}), messages), {**data, "labels": {"ham": "ham", "spam": "spam"}})


def imdb():
    r"""Commas, inner quotation marks as \", line breaks as <br />."""
    reviews = [f'{text}, he said "no"<br /><br />' for text in texts("en")]
    form = {"delimiter": ",", "escapechar": "\\", "doublequote": False}
    data = {"text": "review", "label": "sentiment", "delimiter": "comma", "escape": "\\", "id": None}
    content = table(["review", "sentiment"], reviews, labels({"positive": 1, "negative": 1}), **form)
    return Kind(content, {**data, "labels": {"negative": "negative", "positive": "positive"}})


def sst2():
    """Blanks around the names of the header."""
    content = "sentence \t label \n" + raw(texts("en"), labels({"0": 0.45, "1": 0.55}))
    return Kind(content, {"text": "sentence", "id": None, "quoting": "none"})


def indonesian():
    """Many copies of short praises, 5 % neutral."""
    praises = ["bagus", "mantap", "good app", "ok"]
    reviews = [praises[i % 4] if i % 5 == 0 else text for i, text in enumerate(texts("id"))]
    chosen = labels({"negative": 0.4, "neutral": 0.0625, "positive": 0.5375})
    chosen = ["positive" if i % 5 == 0 else label for i, label in enumerate(chosen)]
    names = {name: name for name in ("negative", "neutral", "positive")}
    content = table(["content", "sentiment"], reviews, chosen, delimiter=",")
    return Kind(content, {"text": "content", "label": "sentiment", "labels": names, "delimiter": "comma", "id": None})


def arabic():
    """Four labels, two thirds of the rows have one of them; no header."""
    shares = {"OBJ": 0.66, "NEUTRAL": 0.08, "NEG": 0.17, "POS": 0.09}
    data = {"header": ["document", "label"], "id": None, "labels": {name: name.lower() for name in shares}}
    return Kind(raw(texts("ar"), labels(shares)), {**data, "quoting": "none"})


def nsmc(encoding="utf-8", end="\n", id_name="id", cut=False, index=False):
    """Copies of NSMC as people pass them on."""
    columns = [[str(i) for i in range(ROWS)], texts("ko"), labels({"0": 1, "1": 1})]
    header = [id_name, "document", "label"]
    if index:
        columns, header = [columns[0], *columns], ["", *header]
    content = table(header, *columns, end=end)
    data = {"id": id_name, "encoding": encoding}
    return Kind(content.removesuffix(end) if cut else content, data, encoding=encoding)


def naver_by_pandas():
    """Reviews with line breaks, quoted by pandas."""
    reviews = [text.replace(" ", "\n", 1) if i % 3 == 0 else text for i, text in enumerate(texts("ko"))]
    return Kind(table(["document", "label"], reviews, labels({"0": 1, "1": 1})), {"id": None})


KINDS = {
    "Amazon Alexa": alexa(),
    "hate speech": hate_speech("hate", {"none": "none", "offensive": "offensive", "hate": "hate"}),
    "gender bias": hate_speech("contain_gender_bias", {"False": "no", "True": "yes"}),
    "SMS spam": sms_spam(),
    "Kaggle IMDb": imdb(),
    "SST-2 with blanks": sst2(),
    "Indonesian apps": indonesian(),
    "Arabic tweets": arabic(),
    "NSMC in cp949": nsmc("cp949"),
    "NSMC with a mark": dataclasses.replace(nsmc(), encoding="utf-8-sig"),
    "NSMC with CRLF": nsmc(end="\r\n"),
    "NSMC with a cut last line": nsmc(cut=True),
    "NSMC with grade": nsmc(id_name="grade"),
    "NSMC with an index": nsmc(index=True),
    "Naver by pandas": naver_by_pandas(),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_public_kind_of_table_is_read_whole_and_passes_the_gate(name, tmp_path):
    kind = KINDS[name]
    (tmp_path / "table").write_bytes(kind.content.encode(kind.encoding))
    data = DataConfig(train=str(tmp_path / "table"), **kind.data)
    # The default of a run depends on the number of classes.
    results = judge_file(tmp_path, data, min_label_share=data.make_task().min_label_share)
    assert not failed(results), [results[check].reason for check in failed(results)]
    reason = results["rejected_fraction/train"].reason
    assert reason.startswith(f"train: 0 of {ROWS:,} rows rejected (0.00%)")
    assert (f"; {kind.left_out} left out by data.ignore_labels" in reason) is (kind.left_out > 0)
    assert results["empty_texts/train"].value == pytest.approx(kind.empty / ROWS)


PAIRS = {
    "KorSTS": (
        "genre\tscore\tsentence1\tsentence2\n",
        {"task": "regression", "score_range": (0, 5), "label": "score"},
        [f"{i % 51 / 10:.3f}" for i in range(ROWS)],
    ),
    "KorNLI": (
        "genre\tgold_label\tsentence1\tsentence2\n",
        {"label": "gold_label", "labels": {each: each for each in ("entailment", "neutral", "contradiction")}},
        labels({"entailment": 1, "neutral": 1, "contradiction": 1}),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_with_stray_quotation_marks_are_read_whole(name, tmp_path):
    header, fields, values = PAIRS[name]
    firsts = ['"' + text for text in texts("ko")]
    (tmp_path / "table").write_text(header + raw(["news"] * ROWS, values, firsts, texts("ko")[::-1]), encoding="utf-8")
    data = DataConfig(train=str(tmp_path / "table"), text=("sentence1", "sentence2"), id=None, quoting="none", **fields)
    outcomes = [
        outcome
        for part in executor.make_plan(data).ranges
        for _, outcome in executor.parsed_records(part, data, data.make_task())
    ]
    assert len(outcomes) == ROWS
    assert not any(isinstance(outcome, (parse.Rejection, LeftOut)) for outcome in outcomes)
    assert [row.texts[0] for row in outcomes] == firsts
