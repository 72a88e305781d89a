"""The bundled sample: reproducible, in NSMC's format, balanced, and not predictable from single words."""

import csv
import math
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, Iterable

import pandas as pd
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
TRAIN, TEST = SAMPLE / "ratings_train.txt", SAMPLE / "ratings_test.txt"

PRAISE = "재밌 재미있 꿀잼 최고 명작 훌륭 대박 감동 좋 완벽 강추 추천 깔끔 신선 화려 아름다 10점".split()
BLAME = "재미없 노잼 지루 최악 쓰레기 별로 엉망 망작 아깝 비추 실망 유치 뻔 어색 허술 산만 1점".split()

Row = tuple[int, str, int]  # id, document, label
Split = Callable[[str], Iterable[str]]  # document -> its features


def read(path: Path) -> list[Row]:
    """Returns the rows of a file, each line parsed separately like in the pipeline."""
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert header == "id\tdocument\tlabel"
    rows = [next(csv.reader([line], delimiter="\t", strict=True)) for line in lines]
    return [(int(number), document, int(label)) for number, document, label in rows]


@pytest.fixture(scope="module")
def training() -> list[Row]:
    return read(TRAIN)


@pytest.fixture(scope="module")
def held_out() -> list[Row]:
    return read(TEST)


def make(out: Path, *arguments: str) -> None:
    script = SAMPLE / "make_sample.py"
    subprocess.run([sys.executable, "-B", str(script), "--out", str(out), *arguments], check=True, timeout=60)


def test_script_reproduces_the_committed_files(tmp_path):
    make(tmp_path / "new")
    written = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (TRAIN, TEST)}


def test_another_seed_gives_other_reviews(tmp_path):
    make(tmp_path, "--seed", "7")
    other = {document for _, document, _ in read(tmp_path / TRAIN.name)}
    kept = [document for _, document, _ in read(TRAIN)]
    assert sum(document in other for document in kept) < 0.1 * len(kept)


@pytest.mark.parametrize(("path", "count", "empty"), [(TRAIN, 3600, 5), (TEST, 800, 1)], ids=["train", "test"])
def test_sizes_labels_and_lengths(path, count, empty):
    rows = read(path)
    documents = [document for _, document, _ in rows]
    assert len(rows) == count
    assert documents.count("") == empty
    assert {label for *_, label in rows} == {0, 1}
    assert 0.48 <= statistics.mean(label for *_, label in rows) <= 0.52
    lengths = [len(document) for document in documents]
    assert max(lengths) <= 140
    assert 22 <= statistics.median(lengths) <= 34  # NSMC: 27
    assert sum(length > 100 for length in lengths) >= 0.01 * count
    assert sum(" " not in document for document in documents) >= 0.02 * count


@pytest.mark.parametrize("path", [TRAIN, TEST], ids=["train", "test"])
def test_pandas_reads_the_same_rows_and_writes_the_same_bytes(path, tmp_path):
    frame = pd.read_csv(path, sep="\t", keep_default_na=False)
    assert list(frame.itertuples(index=False, name=None)) == read(path)
    frame.to_csv(tmp_path / "again.txt", sep="\t", index=False, lineterminator="\n")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", [TRAIN, TEST], ids=["train", "test"])
def test_quoted_rows_are_few_and_have_doubled_quotes(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    quoted = [line for line in lines if '"' in line]
    assert 0.003 * len(lines) <= len(quoted) <= 0.02 * len(lines)  # NSMC: about 1 in 200
    assert all(re.fullmatch(r'\d+\t"(?:[^"]|"")+"\t[01]', line) for line in quoted)


@pytest.mark.parametrize("path", [TRAIN, TEST], ids=["train", "test"])
def test_no_control_characters(path):
    content = path.read_bytes().decode("utf-8")
    assert content.endswith("\n") and not content.endswith("\n\n")
    assert all(character.isprintable() or character in "\t\n" for character in content)


def test_ids_are_unique_over_both_files(training, held_out):
    numbers = [number for number, *_ in training + held_out]
    assert len(set(numbers)) == len(numbers)
    assert all(number > 0 for number in numbers)


def test_few_duplicates_little_overlap_and_no_contradiction(training, held_out):
    documents = [document for _, document, _ in training if document]
    assert len(documents) - len(set(documents)) < 0.02 * len(documents)
    training_documents = set(documents)
    assert sum(document in training_documents for _, document, _ in held_out if document) < 0.02 * len(held_out)
    labelled = {(document, label) for _, document, label in training + held_out if document}
    assert len({document for document, _ in labelled}) == len(labelled)


def count_rows(rows: list[Row], split: Split) -> dict[str, list[int]]:
    """Counts the negative and positive rows with each feature of `split(document)`."""
    counts: dict[str, list[int]] = {}
    for _, document, label in rows:
        for feature in split(document):
            counts.setdefault(feature, [0, 0])[label] += 1
    return counts


def words(document: str) -> set[str]:
    """Returns the words of a document without punctuation and emoticons."""
    return set(re.findall(r"[^\W_ㅋㅎㅠㅡ]+", document))


def test_no_single_word_decides_the_label(training, held_out):
    rows = training + held_out
    negative, positive = (sum(label == wanted for *_, label in rows) for wanted in (0, 1))
    for word, (bad, good) in count_rows(rows, words).items():
        present_is_good = good + negative - bad
        assert max(present_is_good, len(rows) - present_is_good) < 0.6 * len(rows), word
        # A word in 30 rows or more would be worth memorising; 1 in 20 must contradict it.
        assert bad + good < 30 or max(bad, good) <= 0.95 * (bad + good), (word, bad, good)


@pytest.mark.parametrize("stem", PRAISE + BLAME)
def test_strong_words_occur_under_both_labels(stem, training, held_out):
    labels = [label for _, document, label in training + held_out if stem in document]
    assert len(labels) >= 40
    assert 0.15 <= statistics.mean(labels) <= 0.85


def test_counting_words_of_praise_and_blame_is_not_enough(training, held_out):
    def balance(document: str) -> int:
        return sum(stem in document for stem in PRAISE) - sum(stem in document for stem in BLAME)

    assert statistics.mean((balance(document) > 0) == label for _, document, label in training + held_out) < 0.7


def ngrams(document: str) -> set[str]:
    return {document[i : i + n] for n in range(1, 6) for i in range(len(document) - n + 1)}


def test_naive_bayes_on_character_ngrams_is_not_enough(training, held_out):
    totals = Counter(label for *_, label in training)
    weights = {
        ngram: math.log((good + 1) / (totals[1] + 2)) - math.log((bad + 1) / (totals[0] + 2))
        for ngram, (bad, good) in count_rows(training, ngrams).items()
    }
    scores = [sum(weights.get(ngram, 0.0) for ngram in ngrams(document)) for _, document, _ in held_out]
    accuracy = statistics.mean((score > 0) == label for score, (*_, label) in zip(scores, held_out, strict=True))
    assert 0.8 <= accuracy <= 0.95
