"""The profile of data: counts, vocabularies, and the distance of two profiles."""

import collections
import csv
import json
import os
import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from components.data_gate import comparison, profile, quality, text_counts, vocabulary, word_sketch
from components.data_gate.text_counts import LENGTH_EDGES, FrequentWords, TextCounts, script_of
from core.config import CURATED_SCHEMA, DataGateConfig

REPO = os.path.dirname(os.path.dirname(CURATED_SCHEMA))
NSMC = os.path.join(os.path.dirname(REPO), "shared", "nsmc")
needs_nsmc = pytest.mark.skipif(not os.path.isdir(NSMC), reason="the corpus is not beside the checkout")

TEXTS = strategies.lists(strategies.text(alphabet=strategies.characters(codec="utf-8")), max_size=8)


def rows_of(*path):
    with open(os.path.join(*path), encoding="utf-8", newline="") as stream:
        records = csv.DictReader(stream, delimiter="\t")
        return [(row["document"], int(row["label"])) for row in records if row["document"]]


def profile_of(rows):
    """Returns the profile of data whose only split is train."""
    counts = TextCounts([text for text, _ in rows])
    labels = {"negative": sum(label == 0 for _, label in rows), "positive": sum(label == 1 for _, label in rows)}
    split = profile.make_split_profile(labels, counts)
    common = vocabulary.make_vocabulary(counts)
    return profile.Profile(
        fingerprint="f", examples_sha256="e", reference="none", splits={"train": split}, vocabulary=common
    )


def compared(rows, others, **bounds):
    """Compares rows with others; returns the checks by name."""
    other = profile_of(others)
    unknown = vocabulary.unknown_shares(TextCounts([text for text, _ in rows]), other.vocabulary)
    pair = comparison.Comparison("skew", "test", profile_of(rows).splits["train"], unknown, "train", other)
    return {check.check: check for check in comparison.compare(pair, DataGateConfig.model_validate(bounds))}


@pytest.mark.parametrize(
    ("letter", "script"),
    [
        ("가", "Hangul"),
        ("ㅋ", "Hangul"),
        ("ﾡ", "Hangul"),
        ("\u1100", "Jamo"),
        ("\u11a8", "Jamo"),
        ("a", "Latin"),
        ("é", "Latin"),
        ("Ａ", "Latin"),
        ("漢", "Han"),
        ("ひ", "Kana"),
        ("カ", "Kana"),
        ("ｶ", "Kana"),
        ("ー", "Kana"),
        ("ж", "Cyrillic"),
        ("Ω", "Greek"),
        ("ა", "Other"),
        ("ª", "Other"),
    ],
)
def test_script_of_a_letter(letter, script):
    assert script_of(letter) == script


def test_counts():
    counts = TextCounts(["영화 Good!", "영화ㅋㅋ 2\t"])
    assert counts.letters() == {"Hangul": 6, "Latin": 4}
    assert counts.words == {"영화": 1, "good": 1, "영화ㅋㅋ": 1}
    assert counts.characters["영"] == 2 and counts.unreadable() == {}
    assert np.flatnonzero(counts.lengths).tolist() == [
        np.searchsorted(LENGTH_EDGES, 7, "right"),
        np.searchsorted(LENGTH_EDGES, 8, "right"),
    ]


def test_unreadable_characters():
    counts = TextCounts(["a\x00b\x85", "\ufffd\ufffd", "\ue000", "줄\n바꿈\t탭\r"])
    assert counts.unreadable() == {"control": 2, "replacement": 2, "private use": 1}


def test_lengths_from_one_letter_to_beyond_the_last_edge():
    counts = TextCounts(["", "a", "ab", "abc", "x" * 16384, "x" * 100_000])
    assert counts.lengths[:4].tolist() == [1, 1, 1, 1] and counts.lengths[-1] == 2
    assert counts.lengths.sum() == 6


def test_long_words_are_cut():
    assert TextCounts(["가" * 30]).words == {"가" * 12: 2, "가" * 6: 1}


def count_in_parts(parts):
    """Counts parts by themselves, merges the counts, and counts the frequent words in a second pass."""
    counts = TextCounts()
    for texts in parts:
        counts.merge(TextCounts(texts))
    counts.sketch_words()
    if counts.sketch is not None:
        passes = [FrequentWords(counts.sketch) for _ in parts]
        for words, texts in zip(passes, parts, strict=True):
            words.add(texts)
        counts.keep_frequent(sum((words.counts() for words in passes), collections.Counter()))
    return counts


def test_rare_words_are_dropped_and_still_counted(monkeypatch):
    monkeypatch.setattr(text_counts, "WORD_LIMIT", 2)
    monkeypatch.setattr(word_sketch, "_FREQUENT", 2)
    counts = count_in_parts([["aa aa bb bb cc 가가 ㄴ"]])
    assert counts.words == {"aa": 2, "bb": 2}
    assert counts.dropped_words == {"Latin": 1, "Hangul": 2}
    held = vocabulary.Vocabulary(
        script="Latin", letters="abc", words=("aa",), expected=vocabulary.UnknownShares(letters=0, words=0)
    )
    # bb twice and the dropped word, of five.
    assert vocabulary.unknown_shares(counts, held).words == pytest.approx(3 / 5)


@hypothesis.given(TEXTS, TEXTS)
def test_counts_do_not_depend_on_the_order_or_the_batches(one, other):
    together, apart = TextCounts(one + other), TextCounts(other)
    apart.add(one)
    assert vars(together).keys() == vars(apart).keys()
    assert profile.make_split_profile({}, together) == profile.make_split_profile({}, apart)
    assert vocabulary.make_vocabulary(together) == vocabulary.make_vocabulary(apart)


@pytest.mark.parametrize("limit", [1, 5, 40, 10_000])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_cut_of_rare_words_does_not_depend_on_order_and_parts(limit, parts, monkeypatch):
    monkeypatch.setattr(text_counts, "WORD_LIMIT", limit)
    monkeypatch.setattr(word_sketch, "_FREQUENT", 8)
    chance = random.Random(0)
    texts = [" ".join(chance.choice("abcdef") * int(1 + chance.expovariate(0.4)) for _ in range(5)) for _ in range(300)]
    whole, parted = count_in_parts([texts]), count_in_parts([texts[::-1][part::parts] for part in range(parts)])
    assert whole.words == parted.words and whole.dropped_words == parted.dropped_words
    assert vocabulary.make_vocabulary(whole) == vocabulary.make_vocabulary(parted)
    exact = collections.Counter(text_counts.find_words(texts))
    assert sum(exact.values()) == sum(whole.words.values()) + sum(whole.dropped_words.values())
    assert whole.words == {word: count for word, count in exact.items() if count >= whole.least_count}
    assert (whole.sketch is None) == (len(exact) <= limit) == (whole.least_count == 1)


def test_words_of_a_vocabulary_are_estimated_in_one_pass(monkeypatch):
    monkeypatch.setattr(text_counts, "WORD_LIMIT", 1)
    counts = TextCounts(["aa bb aa", "cc aa"])
    counts.estimate_words(["aa", "dd"])
    assert counts.words == {"aa": 3, "dd": 0} and counts.dropped_words == {"Latin": 2}


@hypothesis.given(TEXTS)
def test_shares_add_up(texts):
    counts = TextCounts(texts)
    split = profile.make_split_profile({"a": len(texts)}, counts)
    assert split.rows == len(texts) and split.characters == sum(map(len, texts))
    shares = [profile.share_of(script, split.letters) for script in split.letters]
    assert sum(shares) == pytest.approx(1 if split.letters else 0)
    assert sum(split.unreadable.values()) + sum(split.letters.values()) <= split.characters
    own = vocabulary.unknown_shares(counts, vocabulary.make_vocabulary(counts))
    assert own == vocabulary.UnknownShares(letters=0, words=0), "a short list has all words"


@hypothesis.given(TEXTS, TEXTS)
def test_distances_are_symmetric_and_zero_to_oneself(one, other):
    here, there = TextCounts(one).letters(), TextCounts(other).letters()
    assert comparison.l_infinity(here, here)[0] == 0
    assert comparison.l_infinity(here, there) == comparison.l_infinity(there, here)
    assert 0 <= comparison.l_infinity(here, there)[0] <= 1


def test_l_infinity_treats_missing_counts_as_zero():
    assert comparison.l_infinity({"a": 1, "b": 1}, {"a": 1}) == (0.5, "a")
    assert comparison.l_infinity({}, {"a": 3}) == (1.0, "a")
    assert comparison.l_infinity({}, {}) == (0.0, "")


def test_a_vocabulary_has_the_main_script_and_expects_the_share_that_occurs_once():
    common = vocabulary.make_vocabulary(TextCounts(["좋은 영화 good", "좋은 음악"]))
    assert common.script == "Hangul"
    assert common.words == ("좋은", "영화", "음악")
    assert set(common.letters) == set("좋은영화음악")
    # Four of the eight letters occur once; so do two of the four words, but these have unknown letters already.
    assert common.expected == vocabulary.UnknownShares(letters=0.5, words=0.0)


def test_unknown_words_have_known_letters_only():
    common = vocabulary.make_vocabulary(TextCounts(["좋은 영화", "좋은 음악"]))
    unknown = vocabulary.unknown_shares(TextCounts(["좋은 화영 쀍은 bad"]), common)
    assert unknown == vocabulary.UnknownShares(letters=1 / 6, words=1 / 3)


def test_a_full_list_has_all_equally_frequent_words_or_none(monkeypatch):
    monkeypatch.setattr(vocabulary, "_MAX_WORDS", 2)
    assert vocabulary.make_vocabulary(TextCounts(["aa aa ab ba"])).words == ("aa",)
    assert vocabulary.make_vocabulary(TextCounts(["aa aa ab ab ba"])).words == ("aa", "ab")


@pytest.mark.parametrize("letter", ["가", "𐐨"], ids=["three bytes", "four bytes"])
def test_a_profile_of_any_text_is_small(letter, tmp_path):
    chance = random.Random(0)
    alphabet = [chr(ord(letter) + i) for i in range(11_000 if letter == "가" else 40)]
    words = ["".join(chance.choices(alphabet, k=12)) for _ in range(3000)]
    data_profile = profile_of([(f"{word} {word}", 0) for word in words])
    assert len(data_profile.vocabulary.words) == 3000
    profile.write(str(tmp_path), data_profile)
    assert os.listdir(tmp_path) == [profile.PROFILE_FILE]
    assert (tmp_path / profile.PROFILE_FILE).stat().st_size < 200_000
    assert profile.read(str(tmp_path / profile.PROFILE_FILE)) == data_profile


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format"),
        ({"splits": {}}, "the split train is missing"),
        ({"more": 1}, "more"),
        ({"vocabulary": None}, "vocabulary"),
        ({"fingerprint": 7}, "fingerprint"),
    ],
)
def test_invalid_profiles(change, words, tmp_path):
    whole = profile_of([("좋은 영화", 1)]).model_dump(mode="json")
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**whole, **change}))
    with pytest.raises(ValueError, match=words):
        profile.read(str(path))
    with pytest.raises(OSError):
        profile.read(str(tmp_path / "none.json"))


def test_reasons_of_a_comparison():
    train = [("좋은 영화", 1), ("나쁜 영화", 0)] * 5
    results = compared([("좋은 영화", 1)] * 9 + [("bad", 0)], train, min_compared_rows=10)
    assert results["label_skew"].reason == (
        "test: 10.0% of the rows are negative, versus 50.0% in train; 0.4 exceeds gates.data.label_skew.max = 0.1"
    )
    assert results["script_skew"].reason.startswith("test: 7.7% of the letters are Latin, versus 0.0% in train")
    assert results["length_skew"].reason.startswith("test: text lengths diverge by ")
    assert results["oov_skew/words"].reason == (
        "test: 0.0% of the Hangul words are not in the vocabulary of train (expected: 0.0%)"
    )
    assert compared(train, train, min_compared_rows=11)["label_skew"].value is None


def test_divergence_of_disjoint_lengths_is_one():
    check = compared([("가", 0)] * 4, [("가" * 100, 0)] * 4, min_compared_rows=1)["length_skew"]
    assert check.value == pytest.approx(1.0)
    assert "shorter than 2 characters, versus 128" in check.reason


def assert_room(results, share):
    """Asserts that every value is at most this share of its bound."""
    for name, check in results.items():
        assert check.value is not None and check.value <= share * check.bound, (name, check.reason)


def test_the_bundled_sample_is_homogeneous():
    train, test = (rows_of(REPO, "data", "sample", f"ratings_{name}.txt") for name in ("train", "test"))
    assert_room(compared(test, train), 0.3)
    assert_room(compared(train, train), 0.0)


@needs_nsmc
def test_halves_of_real_reviews_are_similar():
    rows = rows_of(NSMC, "ratings_train.txt")
    random.Random(0).shuffle(rows)
    assert_room(compared(rows[:7000], rows[7000:]), 0.2)


@needs_nsmc
def test_real_test_rows_are_similar_to_the_training_rows():
    train, test = rows_of(NSMC, "ratings_train.txt"), rows_of(NSMC, "ratings_test.txt")
    assert_room(compared(test, train), 0.2)
    known = {text for text, _ in train}
    found = sum(text in known for text, _ in test)
    assert 0 < quality.check_in_train("test", found, len(test), DataGateConfig()).value < 0.02
    splits = profile_of(train).splits
    assert quality.check_unreadable(splits, DataGateConfig()).value == 0
    (hangul,) = quality.check_script_shares(splits, DataGateConfig(min_script_shares={"Hangul": 0.5}))
    assert hangul.value > 0.98


@needs_nsmc
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_real_reviews_in_the_wrong_codec_have_other_scripts(share):
    train, test = rows_of(NSMC, "ratings_train.txt"), rows_of(NSMC, "ratings_test.txt")
    cut = int(len(test) * share)
    garbled = [(text.encode("cp949", "ignore").decode("latin-1"), label) for text, label in test[:cut]] + test[cut:]
    assert not compared(garbled, train)["script_skew"].passed
