"""The example configurations read ten lines of the files that they are written for."""

import collections
import os

import pytest

from components.tsv_example_gen import executor, parse
from core.config import load_config
from schema.labels import LeftOut

CONFIGS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "configs", "examples")

STARS = """\
review\tstars
Never again\t1
Broke after a day\t2
"It is ""fine"", I guess"\t3
Good value\t4
Love it\t5
"Love it, and
so does my cat"\t5
Would buy again\t4.0
Meh\t 3
"""

# Configuration -> (the ten lines, rows of each label, rows left out, one of the texts).
FILES = {
    "stars": (STARS, {"one": 1, "two": 1, "three": 2, "four": 2, "five": 2}, 0, 'It is "fine", I guess'),
    "stars-to-sentiment": (
        STARS,
        {"negative": 2, "positive": 4},
        2,
        "Love it, and\nso does my cat",
    ),
    "hate-speech": (
        "comments\tcontain_gender_bias\tbias\thate\n"
        '"그 배우 연기 좋던데\tFalse\tnone\tnone\n'
        "응원합니다\tFalse\tnone\tnone\n"
        "좀 별로네 진짜\tFalse\tothers\toffensive\n"
        "노래나 하지 그래\tFalse\tothers\toffensive\n"
        "다시는 보기 싫다\tTrue\tgender\thate\n"
        "꺼져라 좀\tFalse\tothers\thate\n"
        "행복하세요\tFalse\tnone\tnone\n"
        "그래도 볼만함\tFalse\tnone\tnone\n"
        "시청률이 말해준다\tFalse\tothers\toffensive\n",
        {"none": 4, "offensive": 3, "hate": 2},
        0,
        '"그 배우 연기 좋던데',
    ),
    "nsmc-rating": (
        "id\tdocument\trating\n" + "".join(f"{i}\t영화 감상 {i}\t{i}\n" for i in range(1, 10)),
        {str(i): 1 for i in range(1, 10)},
        0,
        "영화 감상 7",
    ),
    "sms-spam": (
        "".join(f"ham\tSee you at {i}\n" for i in range(7))
        + 'ham\tHe said "ok and left\nspam\tWIN a prize, text WIN to 1234\nspam\tFree entry!!\n',
        {"ham": 8, "spam": 2},
        0,
        'He said "ok and left',
    ),
    "csv": (
        "review,sentiment\n"
        + "".join(f"Fine number {i},Positive\n" for i in range(5))
        + '"Bad, really bad",negative\n"He said ""no""",negative\n"Two\nlines",NEGATIVE\n',
        {"positive": 5, "negative": 3},
        0,
        "Two\nlines",
    ),
}


def test_every_example_has_a_file_here():
    assert {name.removesuffix(".yaml") for name in os.listdir(CONFIGS)} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_read_as_the_example_means_it(name, tmp_path):
    content, expected, left_out, text = FILES[name]
    assert content.count("\n") == 10
    (tmp_path / "table").write_text(content, encoding="utf-8", newline="")
    loaded = load_config(os.path.join(CONFIGS, f"{name}.yaml"), [f"data.train={tmp_path / 'table'}"])
    outcomes = [
        outcome
        for part in executor.make_plan(loaded.data).ranges
        for _, outcome in executor.parsed_records(part, loaded.data, loaded.task)
    ]
    rows = [outcome for outcome in outcomes if isinstance(outcome, parse.Row)]
    assert collections.Counter(loaded.task.format_label(row.label) for row in rows) == expected
    assert sum(isinstance(outcome, LeftOut) for outcome in outcomes) == left_out
    assert len(rows) + left_out == len(outcomes), "no row is rejected"
    assert any(row.texts == (text,) for row in rows)
