"""Generates the bundled sample: synthetic Korean film reviews in the format of the NSMC corpus.

Writes `ratings_train.txt` and `ratings_test.txt`: TSV, UTF-8, LF, header `id document label`, minimal quoting with
doubled quotes, as pandas writes it; label 1 is a positive review, 0 a negative one. No sentence is taken from a corpus:
a small grammar conjugates predicates (`Forms`) and combines them into clauses and reviews (`Writer`).

The label depends on the whole sentence, not on single words. Predicates occur under both labels: negated (안 재밌다),
conceded (연기는 좋은데 스토리가 엉망), expected (노잼일 줄 알았는데 꿀잼), attributed to others (다들 명작이라는데 난 별로).
Counting words of praise and blame predicts about six of ten labels.

The same seed gives the same bytes on every Python version: all randomness comes from `random.Random.random`, the only
method whose sequence the standard library guarantees.

Usage: python data/sample/make_sample.py [--out DIR] [--seed N]
"""

import argparse
import csv
import os
import random
from pathlib import Path
from typing import Callable, NamedTuple, Sequence, TypeVar

TRAIN_ROWS = 3600
TEST_ROWS = 800
TRAIN_EMPTY = 5  # rows without a document, as in the corpus
TEST_EMPTY = 1
SEED = 20244
MAX_CHARS = 140  # the limit of the review form that NSMC's rows came from
MAX_ID = 10_300_000  # NSMC's ids end near here

NEGATIVE, POSITIVE = 0, 1

T = TypeVar("T")


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split("/"))


# A pair of lists, one for each label: index 0 is negative, index 1 positive.
ByLabel = tuple[tuple[str, ...], tuple[str, ...]]


class Domain(NamedTuple):
    """A topic of reviews, and the predicates that fit it."""

    subjects: tuple[str, ...]
    predicates: ByLabel


# Predicates are dictionary forms: adjectives as they are, `v ` before a verb, `n ` before a noun that takes 이다.
# Subjects and predicates go from common to rare.
ASPECTS = (
    Domain(
        _items("연기/배우들 연기/주연 연기/조연들 연기/아역 연기/배우들 호흡/표정 연기/여주 연기/남주 연기/캐스팅"),
        (
            _items("어색하다/부자연스럽다/밋밋하다/어설프다/v 오글거리다"),
            _items("훌륭하다/자연스럽다/뛰어나다/n 인상적/n 일품"),
        ),
    ),
    Domain(
        _items("스토리/줄거리/내용/각본/시나리오/이야기/구성/설정/story"),
        (
            _items("뻔하다/허술하다/산만하다/억지스럽다/유치하다"),
            _items("탄탄하다/신선하다/흥미롭다/치밀하다/재밌다"),
        ),
    ),
    Domain(
        _items("연출/영상/화면/CG/액션/촬영/미술/편집/특수효과/카메라"),
        (
            _items("어설프다/조잡하다/촌스럽다/산만하다/허접하다"),
            _items("화려하다/아름답다/멋지다/뛰어나다/n 압도적"),
        ),
    ),
    Domain(
        _items("음악/OST/배경음악/노래/주제가/사운드"),
        (
            _items("v 거슬리다/시끄럽다/밋밋하다/촌스럽다/어색하다"),
            _items("아름답다/감미롭다/신선하다/n 감동적/n 인상적"),
        ),
    ),
    Domain(
        _items("결말/마지막/반전/엔딩/마무리/마지막 장면/끝부분"),
        (
            _items("허무하다/뻔하다/허술하다/찝찝하다/뜬금없다"),
            _items("깔끔하다/훌륭하다/신선하다/n 감동적/n 인상적"),
        ),
    ),
    Domain(
        _items("초반/중반/후반/전개/전반부/후반부/중간/흐름"),
        (
            _items("지루하다/v 늘어지다/답답하다/산만하다/느슨하다"),
            _items("흥미진진하다/재밌다/매끄럽다/흥미롭다/깔끔하다"),
        ),
    ),
)
# Predicates that fit any aspect.
ANY_ASPECT = (
    _items("n 별로/n 엉망/아쉽다/n 최악/실망스럽다/형편없다/끔찍하다"),
    _items("좋다/n 최고/괜찮다/완벽하다/n 대박/훌륭하다/놀랍다"),
)
WHOLE = Domain(
    _items("영화/이 영화/이거/이 작품/이 드라마/이 애니/이번 편/시즌 2/극장판/솔직히 이 영화"),
    (
        _items(
            "재미없다/n 노잼/지루하다/n 최악/n 쓰레기/유치하다/n 별로/돈이 아깝다/n 망작/n 핵노잼/시간이 아깝다/"
            "허접하다/끔찍하다/n 시간 낭비/n 실망/n 졸작/n 꽝/n worst"
        ),
        _items(
            "재밌다/n 꿀잼/n 최고/n 감동적/n 명작/재미있다/훌륭하다/n 개꿀잼/n 대박/볼 만하다/n 갓영화/유쾌하다/놀랍다/"
            "n 인생 영화/n 걸작/n 수작/n best"
        ),
    ),
)
# Predicates without a subject, negative first. Their words of opinion are often the opposite of the idiom's meaning.
IDIOMS = (
    _items(
        "볼 게 없다/흠잡을 데가 많다/지루할 수밖에 없다/기대할 게 없다/v 보면 후회하다/재미라고는 없다/"
        "v 하품이 멈추지 않다/v 시간이 안 가다/칭찬할 데가 없다/집중할 수가 없다/n 기대 이하/웃을 틈이 없다/"
        "남는 게 없다/감동이라고는 없다/v 자꾸 졸리다/이보다 나쁠 수 없다/재밌는 장면이 없다/건질 게 없다/"
        "v 한 번 봐도 질리다/좋은 점이 없다/성의가 없다"
    ),
    _items(
        "흠잡을 데가 없다/v 안 보면 후회하다/버릴 게 없다/지루할 틈이 없다/볼 게 많다/v 눈물이 멈추지 않다/"
        "v 시간이 금방 가다/더 바랄 게 없다/눈을 뗄 수가 없다/n 기대 이상/하품할 새가 없다/남는 게 많다/"
        "실망할 일이 없다/v 자꾸 생각나다/이보다 좋을 수 없다/지루한 장면이 없다/나무랄 데가 없다/"
        "v 두 번 봐도 안 질리다/아쉬운 점이 없다/부족함이 없다"
    ),
)
# Mild predicates for the whole film: the first half of a contrast.
MILD = (
    _items("재미없다/지루하다/유치하다/뻔하다/답답하다/허접하다/n 별로"),
    _items("재밌다/좋다/볼 만하다/괜찮다/유쾌하다/n 감동적"),
)
# Adjectives and verbs that sound natural with the short negation (안 재밌다); the others only with 지 않다.
SHORT_NEGATION = _items(
    "재밌다/재미있다/지루하다/뻔하다/좋다/유치하다/어색하다/답답하다/늘어지다/거슬리다/오글거리다/허접하다/신선하다"
)

# Fixed sentences, negative first. The two sides mirror each other, so that most words occur on both.
VERDICTS = (
    _items(
        "비추합니다/절대 보지 마세요/보면 손해/추천하는 사람들 이해 안 됨/다시는 안 봅니다/추천할 이유가 없다/"
        "두 번은 못 보겠다/강추하는 사람들은 알바/추천을 할 수가 없다/뭐라 할 말이 없다/비추하는 데는 이유가 있다/"
        "주변에 다 말리고 다님/믿고 보면 안 됩니다/이걸 본 게 후회됨/추천은 못 하겠다/이건 아니다/추천 안 함/"
        "꼭 보라던 친구랑 절교/다른 영화 보세요/돈 아까움/굳이 안 봐도 됩니다/중간에 껐다/보다가 잤음/강추 같은 소리/"
        "한 번 본 것도 후회/시간 많으면 보세요/말릴 때 들을걸/혼자 당하기 아깝다/다시 볼 일 없음/내 시간 돌려줘/"
        "영화관 가지 마세요/이런 영화는 그만 나왔으면/후속편은 나오지 마라/표값 물어내라/기억에 남는 게 없다/잊고 싶다"
    ),
    _items(
        "추천합니다/꼭 보세요/안 보면 손해/비추하는 사람들 이해 안 됨/다시 보고 싶다/추천 안 할 이유가 없다/"
        "두 번은 봐야 한다/비추하는 사람들은 뭘 본 건지/강추하는 데는 이유가 있다/주변에 다 알리고 다님/"
        "믿고 봐도 됩니다/안 봤으면 후회했을 듯/추천을 안 할 수가 없다/바로 이거다/추천 또 추천/"
        "보지 말라던 친구랑 절교/다른 영화 보지 마세요/돈 안 아까움/굳이 극장에서 볼 만합니다/중간에 끌 수가 없다/"
        "보느라 못 잤음/비추 같은 소리/한 번만 본 게 후회/시간 없어도 보세요/말려도 보길 잘함/혼자 보기 아깝다/"
        "벌써 끝나서 아쉽다/이제야 본 게 아쉬움/아쉬움 하나 없다/다시 볼 생각임/시간 순삭/영화관 가서 보세요/"
        "이런 영화 좀 더 나왔으면/후속편 빨리 나와라/표값 더 받아라/기억에 오래 남는다/잊을 수가 없다"
    ),
)
STARS = (
    _items(
        "별점 1점 준다/별점 1점/10점 만점에 1점/1점도 아깝다/별 반 개도 아깝다/10점 주는 사람들 이해가 안 된다/"
        "10점은 너무하다 나는 1점/평점 10점 보고 기대했는데 1점짜리/평점이 왜 이렇게 높지/평점 높다고 속지 마세요/"
        "10점 알바 그만해라/0점은 없나요/10점 줬다가 1점으로 바꿈/별 다섯 개는 무슨/별점이 아깝다"
    ),
    _items(
        "별점 10점 준다/별점 10점/10점 만점에 10점/10점도 모자라다/별 다섯 개도 모자라다/"
        "1점 주는 사람들 이해가 안 된다/1점은 너무하다 나는 10점/평점 1점 보고 걱정했는데 10점짜리/"
        "평점이 왜 이렇게 낮지/평점 낮다고 거르지 마세요/1점 테러 그만해라/100점은 없나요/1점 줬다가 10점으로 바꿈/"
        "별 반 개라니 무슨/10점이 아깝지 않다"
    ),
)
SARCASM = (
    _items(
        "만점짜리 수면제/불면증에 최고/잠 안 올 때 강추/명작이라 쓰고 망작이라 읽는다/감동이 넘쳐서 하품이 다 나왔다/"
        "최고의 장면은 엔딩 크레딧/제일 재밌는 건 예고편이었다/팝콘이 제일 맛있었다/의자가 편해서 푹 잤다/"
        "감독님 덕분에 꿀잠 잤습니다/최고의 시간 낭비/참 대단한 영화다 두 시간을 이렇게 날리다니/졸작의 교과서로 강추"
    ),
    _items(
        "단점은 너무 빨리 끝난다는 것/재미없다는 말은 다 거짓말/유일한 흠은 두 시간뿐이라는 것/"
        "너무 울어서 눈이 부은 게 흠/망작이라 쓰고 명작이라 읽는다/여운 때문에 잠을 못 잤다/휴지가 모자란 게 문제/"
        "속편이 없다는 게 최악의 단점/나만 알고 싶어서 별로라고 해야겠다/팝콘 먹는 것도 잊었다/"
        "예고편이 제일 재미없었다/이런 졸작이라면 백 편도 본다/의자에서 일어날 수가 없었다"
    ),
)
REACTIONS = (
    _items(
        "중간에 껐다/잠들었다/나가고 싶었다/하품만 했다/혼났다/끝까지 못 봤다/빨리 감기로 봤다/10분 만에 포기했다/"
        "화가 났다/추천 안 하기로 했다/추천은 못 하겠다/주변에 다 말리는 중/다시는 안 볼 듯"
    ),
    _items(
        "또 봤다/밤새 정주행했다/끝까지 봤다/극장에서 두 번 봤다/잠을 못 잤다/박수 쳤다/푹 빠졌다/10분 만에 빠져들었다/"
        "눈물이 났다/꼭 추천하기로 했다/추천을 안 할 수가 없다/주변에 다 알리는 중/다시 볼 듯"
    ),
)
SHORT = (
    _items(
        "노잼/핵노잼/개노잼/쓰레기/망작/별로/최악/졸작/비추/실망/지루함/bad/worst/유치함/에휴/뭐야 이게/안 재밌음/"
        "안 웃김/하나도 안 웃김/not good/재밌긴 개뿔/추천 안 함"
    ),
    _items(
        "꿀잼/개꿀잼/개꿀/갓/명작/굿/최고/수작/강추/대박/재밌음/good/best/감동/쵝오/짱/갓작/굿굿/안 지루함/안 유치함/"
        "하나도 안 지루함/not bad/지루하긴 개뿔/실망 안 함"
    ),
)
SHORT_NOUNS = (_items("노잼/최악/쓰레기/망작/재미없음/핵노잼"), _items("꿀잼/개꿀잼/명작/걸작/재밌음/강추"))
DENIALS = (" 아님", " 아니야", " 아니던데", "? 아닌데", "? 글쎄")
SHORT_LEADS = ("", "", "이 영화 ", "영화 ", "진짜 ", "완전 ", "그냥 ", "한마디로 ", "ㄹㅇ ", "역시 ", "이건 ", "아 ")

OPENERS = _items(
    "솔직히/개인적으로/주말에 봤는데/친구랑 봤는데/기대하고 봤는데/기대 없이 봤는데/케이블에서 봤는데/"
    "예고편 보고 갔는데/원작 읽고 봤는데/오랜만에 다시 봤는데/SF 좋아하는데/평점 보고 봤는데/한마디로/일단/와/아/"
    "다 보고 나니/극장에서 봤는데/뒤늦게 봤는데/엄마랑 봤는데/배우 보고 골랐는데/B급 감성 좋아하는데/내 feel로는"
)
NEUTRAL = _items(
    "원작 소설을 먼저 읽고 봤다/주말 저녁에 혼자 봤다/케이블에서 틀어 주길래 봤다/배우 이름만 보고 골랐다/"
    "러닝타임은 두 시간쯤 된다/시사회로 먼저 보고 왔다/어릴 때 보고 다시 봤다/가족이랑 같이 봤다/개봉 첫날 조조로 봤다/"
    "감독 전작은 다 챙겨 봤다/요즘 이런 장르가 많이 나온다/예매해 놓고 한참 기다렸다/친구가 보자고 해서 봤다/"
    "리뷰는 안 읽고 갔다/1편은 못 보고 2편부터 봤다"
)
TITLES = _items(
    "달빛 정류장/푸른 골목의 밤/우산 없는 날/마지막 우체부/그 여름의 옥상/열두 번째 창문/바다로 간 시계/안녕, 파란 대문"
)
SPEAKERS = _items("다들/친구는/평론가들은/남들은/동생은/댓글에서는/엄마는/주변에서는/네티즌들은/같이 본 사람은")
SELF = _items("나는/난/내 눈엔/나한테는/저는/내가 보기엔/내 기준")
NODS = _items("는 말 인정/더니 진짜네/는 평이 딱 맞다/고 하는 이유를 알겠다/는 말이 맞음/는 사람들 말이 맞네")
PROTESTS = _items(
    "는 사람들 이해가 안 된다/는 건 무슨 소리냐/는 말 믿지 마세요/니 너무하네/는 평을 이해할 수가 없다/"
    "고 하는 사람은 뭘 본 거지/고 하는 이유를 모르겠다/는 말은 인정 못 함"
)
CONJUNCTIONS = _items("근데/그런데/하지만/그치만/but/다만")
RIVALS = _items("전작/1편/원작/원작 소설/리메이크/예고편/전편/옛날 드라마")
COMPARABLE = (_items("지루하다/유치하다/허접하다/재미없다/뻔하다"), _items("재밌다/훌륭하다/n 감동적/좋다/신선하다"))

# Particles: the form after a consonant, the form after a vowel.
SUBJECT, TOPIC, ALSO, EVEN, NONE = ("이", "가"), ("은", "는"), ("도", "도"), ("까지", "까지"), ("", "")
INTENSIFIERS = _items("너무/진짜/정말/참/꽤/엄청/완전/매우/넘/진심/아주/상당히")
NOUN_INTENSIFIERS = _items("진짜/완전/역시/정말/진심/ㄹㅇ/그냥/말 그대로/확실히")
HEDGES = ("", "", "좀", "살짝", "조금", "다소")
NEGATION_ADVERBS = _items("전혀/하나도/별로/그다지/그렇게/생각보다")
NOUN_NEGATION_ADVERBS = _items("절대/결코/전혀/확실히")

# Ends of a review. Those of the second table are more frequent with one label, as in real reviews.
PLAIN_TAILS = ("", "", "", "", "", ".", ".", "..", "...", "!", "~", "ㅋㅋ", " ㅋㅋㅋ", "ㅠㅠ", " ㅎㅎ", "ㅋ", "!!")
LEANING_TAILS = ((";;", "ㅡㅡ", " ㅡㅡ", "ㅠㅠ", "...", "?"), ("^^", " ^^", "!!!", "♥", "ㅎㅎ", "~~"))
TYPOS = tuple(
    tuple(pair.split(">"))
    for pair in _items(
        "재밌>재밋/재밌>잼있/재미있>재미잇/않>안/괜찮>괜찬/없>업/최고>쵝오/했>햇/됩>됍/너무>넘/너무>느무/진짜>진쨔/"
        "영화>영하/그런데>그런대/근데>근대/었>엇/았>앗/좋은>조은/좋아>조아/봤>봣/졌>젓"
    )
)


# Korean morphology. A Hangul syllable is 0xAC00 + (initial * 21 + vowel) * 28 + final consonant.
_FINALS = {"": 0, "ㄴ": 4, "ㄹ": 8, "ㅁ": 16, "ㅂ": 17, "ㅆ": 20}
_A, _O, _EO, _YEO, _EU, _I = 0, 8, 4, 6, 18, 20  # indices of the vowels ㅏ ㅗ ㅓ ㅕ ㅡ ㅣ


def final_index(word: str) -> int:
    """Returns the index of `word`'s final consonant, 0 for none; the letters and digits used here end in a vowel."""
    return (ord(word[-1]) - 0xAC00) % 28 if "가" <= word[-1] <= "힣" else 0


def with_final(word: str, jamo: str) -> str:
    """Replaces the final consonant of `word`, for example ("지루하", "ㄴ") -> "지루한"."""
    return word[:-1] + chr(ord(word[-1]) - final_index(word) + _FINALS[jamo])


def _vowel_index(syllable: str) -> int:
    return (ord(syllable) - 0xAC00) // 28 % 21


def _with_vowel(word: str, vowel: int) -> str:
    return word[:-1] + chr(ord(word[-1]) + (vowel - _vowel_index(word[-1])) * 28)


def particle(word: str, after_consonant: str, after_vowel: str) -> str:
    """Adds a particle to `word` in the form that its last sound requires; an empty word takes none."""
    if not word:
        return ""
    return word + (after_consonant if final_index(word) else after_vowel)


class Forms(NamedTuple):
    """The forms of one predicate, or of a clause that ends in it, for the sentence patterns."""

    stem: str  # 재밌, to which 지만, 고, 네 are added
    plain: str  # 재밌다
    quoted: str  # 재밌다, 명작이라: before 는데, 고, 더니
    adnominal: str  # 재밌는
    prospective: str  # 재밌을
    past: str  # 재밌었
    nominal: str  # 재밌음
    polite: str  # 재밌어요
    formal: str  # 재밌습니다
    because: str  # 재밌어서
    although: str  # 재밌어도
    bare: str  # 명작; of adjectives and verbs the nominal

    def after(self, words: str) -> "Forms":
        """Returns these forms with `words` (a subject, an adverb) before each."""
        return Forms(*(f"{words} {form}".strip() for form in self))


def _infinitive(stem: str) -> str:
    """Returns the 아/어 form of a stem that is not ㅂ-irregular: 하 -> 해, 좋 -> 좋아, 늘어지 -> 늘어져, 어설프 -> 어설퍼."""
    if stem.endswith("하"):
        return stem[:-1] + "해"
    vowel = _vowel_index(stem[-1])
    if final_index(stem):
        return stem + ("아" if vowel in (_A, _O) else "어")
    return _with_vowel(stem, {_I: _YEO, _EU: _EO}.get(vowel, vowel))


def conjugate_stem(stem: str, verb: bool = False) -> Forms:
    """Returns the forms of an adjective or a verb; a final ㅂ is treated as irregular (아름답 -> 아름다운)."""
    irregular = final_index(stem) == _FINALS["ㅂ"]
    open_stem = with_final(stem, "") + "우" if irregular else stem
    infinitive = with_final(stem, "") + "워" if irregular else _infinitive(stem)
    closed = bool(final_index(open_stem))
    takes_neun = verb or stem[-1] in "있없밌"
    prospective, nominal = (stem + "을", stem + "음") if closed else (with_final(open_stem, f) for f in "ㄹㅁ")
    adnominal = stem + "는" if takes_neun else stem + "은" if closed else with_final(open_stem, "ㄴ")
    plain = stem + "다"
    if verb:
        plain = stem + "는다" if closed else with_final(stem, "ㄴ") + "다"
    formal = stem + "습니다" if final_index(stem) else with_final(stem, "ㅂ") + "니다"
    return Forms(
        stem, plain, plain, adnominal, prospective, with_final(infinitive, "ㅆ"), nominal,
        infinitive + "요", formal, infinitive + "서", infinitive + "도", nominal,
    )  # fmt: skip


def conjugate_noun(noun: str, negated: bool = False) -> Forms:
    """Returns the forms of a noun with 이다, or with 아니다 when `negated` (the noun then comes with its particle)."""
    full = noun + (" 아니" if negated else "이")
    stem = full if negated or final_index(noun) else noun
    past, polite, although = (stem + "었", stem + "에요", stem + "어도")
    if stem == noun:
        past, polite, although = (noun + "였", noun + "예요", noun + "여도")
    nominal = with_final(full, "ㅁ")
    return Forms(
        stem, stem + "다", stem + "라", with_final(full, "ㄴ"), with_final(full, "ㄹ"), past, nominal,
        polite, with_final(full, "ㅂ") + "니다", stem + "라서", although, nominal if negated else noun,
    )  # fmt: skip


def conjugate(entry: str) -> Forms:
    """Returns the forms of a table's entry: `재밌다`, `v 늘어지다` or `n 명작`."""
    if entry.startswith("n "):
        return conjugate_noun(entry[2:])
    return conjugate_stem(entry.removeprefix("v ")[:-1], verb=entry.startswith("v "))


class Writer:
    """Writes reviews with a given label; `rng` is its only source of randomness."""

    def __init__(self, rng: random.Random):
        self._rng = rng
        self._patterns: tuple[tuple[float, Callable[[int], str]], ...] = (
            # With these weights character n-grams reach almost 90 % and every strong word occurs under both labels.
            (0.06, self.short),
            (0.37, self.statement),
            (0.12, self.agreement),
            (0.15, self.contrast),
            (0.02, self.afterthought),
            (0.08, self.expectation),
            (0.05, self.hearsay),
            (0.03, self.protest),
            (0.02, self.comparison),
            (0.03, self.wish),
            (0.05, self.consequence),
            (0.07, self.fixed),
        )

    def chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._rng.random() * len(items))]

    def common(self, items: Sequence[T]) -> T:
        """Picks from a list sorted from common to rare: half of the picks are from its first quarter."""
        share = self._rng.random()
        return items[int(share * share * len(items))]

    def negate(self, entry: str) -> Forms:
        """Negates a table's entry, with the short or the long form, with or without an adverb."""
        if entry.startswith("n ") and not entry.endswith("적"):
            noun = particle(entry[2:], *TOPIC)
            forms, adverbs = conjugate_noun(noun, negated=True), NOUN_NEGATION_ADVERBS
        else:
            word, verb = entry.removeprefix("v "), entry.startswith("v ")
            if word in SHORT_NEGATION and self.chance(0.55):
                forms = conjugate(entry).after("안")
            else:
                long = conjugate(entry).stem + "지" + self.pick(("", "", "", "는"))
                forms = conjugate_stem(long + " 않", verb)
            adverbs = NEGATION_ADVERBS
        return forms.after(self.pick(adverbs)) if self.chance(0.3) else forms

    def predicate(self, entries: ByLabel, label: int, negation: float = 0.11) -> Forms:
        """Writes a predicate with `label`: a word of it, or with probability `negation` a negated word of the other."""
        if self.chance(negation):
            return self.negate(self.common(entries[1 - label]))
        entry = self.common(entries[label])
        forms = conjugate(entry)
        if not self.chance(0.35) or " " in entry.removeprefix("n ").removeprefix("v "):
            return forms
        return forms.after(self.pick(NOUN_INTENSIFIERS if entry.startswith("n ") else INTENSIFIERS))

    def domains(self, count: int) -> list[Domain]:
        """Returns `count` different topics."""
        left = list(ASPECTS)
        return [left.pop(int(self._rng.random() * len(left))) for _ in range(count)]

    def aspect_clause(self, label: int, domain: Domain, particles: Sequence[tuple[str, str]]) -> Forms:
        """A clause on one aspect: 연기가 훌륭하다."""
        entries = ANY_ASPECT if self.chance(0.4) else domain.predicates
        return self.predicate(entries, label).after(particle(self.common(domain.subjects), *self.pick(particles)))

    def whole_clause(self, label: int) -> Forms:
        """A clause on the whole film, often without a subject: 이 영화는 지루하다, 꿀잼이다, 볼 게 없다."""
        if self.chance(0.25):
            return conjugate(self.common(IDIOMS[label]))
        forms = self.predicate(WHOLE.predicates, label)
        if self.chance(0.6):
            return forms
        return forms.after(particle(self.common(WHOLE.subjects), *self.pick((NONE, TOPIC))))

    def opinion(self, label: int) -> Forms:
        """An expected or quoted opinion on the whole film, which is rarely a negation."""
        return self.predicate(WHOLE.predicates, label, negation=0.06)

    def clause(self, label: int) -> Forms:
        """A clause on the film or on one aspect of it."""
        if self.chance(0.5):
            return self.whole_clause(label)
        return self.aspect_clause(label, self.pick(ASPECTS), (SUBJECT, SUBJECT, TOPIC, NONE, ALSO))

    def end(self, forms: Forms) -> str:
        """A sentence's end in one of the styles of speech."""
        return self.common((
            forms.plain, forms.bare, forms.past + "다", forms.stem + "네요", forms.polite, forms.nominal, forms.formal,
            forms.stem + "네", forms.past + "음", forms.past + "어요", forms.past + "습니다", forms.past + "네요",
            forms.stem + "더라",
        ))  # fmt: skip

    def concession(self, forms: Forms) -> str:
        """The first half of a contrast, up to its connective: 좋은데, 좋긴 한데, 좋다. 근데."""
        if self.chance(0.12):
            return f"{self.end(forms)}{self.pick(('.', '..', ',', '', ' ㅋㅋ'))} {self.pick(CONJUNCTIONS)}"
        if self.chance(0.22):
            return f"{forms.plain} {self.pick(('싶었는데', '싶었지만', '했는데', '생각했는데'))}"
        return self.common((
            forms.adnominal + "데", forms.stem + "지만", forms.past + "지만", forms.past + "는데",
            forms.stem + "긴 한데", forms.stem + "긴 하지만", forms.although,
        ))  # fmt: skip

    def short(self, label: int) -> str:
        """A word or two: 꿀잼, 진짜 노잼, 최악 아님."""
        if self.chance(0.2):
            return self.pick(SHORT_NOUNS[1 - label]) + self.pick(DENIALS)
        words = self.pick(SHORT[label])
        return words if " " in words else self.pick(SHORT_LEADS) + words

    def statement(self, label: int) -> str:
        return self.end(self.clause(label))

    def agreement(self, label: int) -> str:
        """Two clauses that agree: 연기도 좋고 음악도 훌륭하다, 지루한데 결말까지 허무하다."""
        domain, other = self.domains(2)
        first = self.aspect_clause(label, domain, (ALSO, ALSO, NONE))
        if self.chance(0.3):
            return f"{first.adnominal}데 {self.end(self.aspect_clause(label, other, (EVEN, EVEN, ALSO)))}"
        return f"{first.stem}고 {self.end(self.aspect_clause(label, other, (ALSO, ALSO, NONE)))}"

    def contrast(self, label: int) -> str:
        """The clause after the contrast decides: 연기는 좋은데 스토리가 엉망."""
        domain, other, third = self.domains(3)
        decisive = self.aspect_clause(label, other, (SUBJECT, SUBJECT, TOPIC, NONE))
        if self.chance(0.2):
            hedged = conjugate(self.common(MILD[1 - label])).after(self.pick(HEDGES))
            return f"{self.concession(hedged)} {self.end(decisive)}"
        first = self.aspect_clause(1 - label, domain, (TOPIC, TOPIC, NONE))
        if self.chance(0.25):
            also = self.aspect_clause(1 - label, third, (ALSO,))
            first = self.aspect_clause(1 - label, domain, (ALSO,)).after(also.stem + "고")
        return f"{self.concession(first)} {self.end(decisive if self.chance(0.5) else self.whole_clause(label))}"

    def afterthought(self, label: int) -> str:
        """The concession comes last: 재밌었다. 결말은 좀 뻔하지만."""
        aside = self.aspect_clause(1 - label, self.pick(ASPECTS), (TOPIC, NONE))
        aside = self.pick((aside.stem + "지만", aside.past + "지만", aside.stem + "긴 해도", aside.adnominal + "데도"))
        start = self.pick((". ", ".. ", ", ", " ")) + self.pick(("비록 ", "물론 ", "", ""))
        return f"{self.end(self.clause(label))}{start}{aside}"

    def expectation(self, label: int) -> str:
        """An expectation and the result: 노잼일 줄 알았는데 꿀잼. Sometimes the expectation holds."""
        if self.chance(0.15):
            knew, held = self.pick(("다", "음", "지")), self.pick((" 역시", " 역시나", " 아니나 다를까", "."))
            return f"{self.opinion(label).prospective} 줄 알았{knew}{held} {self.end(self.clause(label))}"
        expected = self.opinion(1 - label).prospective
        knew = self.pick(("줄 알았는데", "줄 알았는데", "거라고 생각했는데", "줄 알았더니"))
        if self.chance(0.25):
            return f"{expected} {knew} {self.pick(('아니었다', '아니네', '전혀 아님', '아니었음', '완전 반대'))}"
        return f"{expected} {knew} {self.end(self.clause(label))}"

    def hearsay(self, label: int) -> str:
        """Other people's opinion and the writer's: 다들 명작이라는데 난 별로. Sometimes they agree."""
        if self.chance(0.2):
            quotation = self.opinion(label).quoted + self.pick(("더니", "고 하더니", "고 해서 봤는데"))
            own = self.pick(("역시", "인정", "진짜", "과연"))
        else:
            quotation = self.opinion(1 - label).quoted + self.pick(("는데", "고 하는데", "더니", "고 하던데"))
            own = self.pick(SELF)
        return f"{self.pick(SPEAKERS)} {quotation} {own} {self.end(self.clause(label))}"

    def protest(self, label: int) -> str:
        """A protest against (or a nod to) an opinion: 재미없다는 사람들 이해가 안 된다."""
        if self.chance(0.3):
            return self.opinion(label).quoted + self.pick(NODS)
        text = self.pick(("", "", "이게 ", "이걸 보고 ")) + self.opinion(1 - label).quoted + self.pick(PROTESTS)
        return f"{text} {self.end(self.clause(label))}" if self.chance(0.35) else text

    def comparison(self, label: int) -> str:
        """A comparison, in which the better film decides: 전작보다 훨씬 재밌다, 전작이 훨씬 재밌다."""
        rival, adverb = self.pick(RIVALS), self.pick(("훨씬", "더", "백배", "훨씬 더"))
        if self.chance(0.5):
            return f"{rival}보다 {adverb} {self.end(conjugate(self.pick(COMPARABLE[label])))}"
        rival = particle(rival, *SUBJECT) + self.pick(("", " 이것보다", " 이거보다"))
        return f"{rival} {adverb} {self.end(conjugate(self.pick(COMPARABLE[1 - label])))}"

    def wish(self, label: int) -> str:
        """A missed chance, or a rescue: 결말만 좋았으면 명작이었을 텐데."""
        subject, hero = (self.common(domain.subjects) for domain in self.domains(2))
        other = self.predicate(WHOLE.predicates, 1 - label, negation=0.0).past + "을 텐데"
        if label == NEGATIVE:
            better = conjugate(self.pick(ANY_ASPECT[POSITIVE])).past
            end = self.pick(("아쉽다", "아쉬움", self.end(self.clause(label)), self.end(self.clause(label))))
            return f"{subject}만 {better}{self.pick(('으면', '어도', '더라면'))} {other} {end}"
        saved = particle(hero, *SUBJECT) + self.pick((" 살렸다", " 살림", " 다 했다"))
        end = self.pick((saved, saved, self.end(self.clause(label)), self.end(self.clause(label))))
        return f"{subject} {self.pick(('아니었으면', '없었으면', '빠졌으면'))} {other} {end}"

    def consequence(self, label: int) -> str:
        """A reason and its consequence: 스토리가 탄탄해서 또 봤다."""
        return f"{self.clause(label).because} {self.pick(REACTIONS[label])}"

    def fixed(self, label: int) -> str:
        """Stars, sarcasm or a verdict, usually next to a clause of the grammar."""
        if self.chance(0.35):
            return self.pick(self.pick((STARS, SARCASM, VERDICTS))[label])
        sentence = self.pick(self.pick((STARS, VERDICTS))[label])
        if self.chance(0.4):
            first = self.aspect_clause(1 - label, self.pick(ASPECTS), (TOPIC, NONE))
            return f"{self.concession(first)} {sentence}"
        return f"{self.end(self.clause(label))}{self.pick(('.', '', '..'))} {sentence}"

    def quotation(self, label: int) -> str:
        """A review with double quotes around a title, a saying or a word."""
        clause = self.end(self.clause(label))
        title = f'"{self.pick(TITLES)}"'
        return self.pick((
            f"{title} 만든 감독 작품인데 {clause}",
            f"{title} 이후로 오랜만에 봤는데 {clause}",
            f"{title} 생각하고 봤는데 {clause}",
            f'"{self.end(self.opinion(1 - label))}" 이런 댓글 있던데 {clause}',
            f'"{self.end(self.opinion(label))}" 소리가 절로 나온다',
            f'"{self.pick(SHORT_NOUNS[1 - label])}" 이 말 믿지 마세요 {clause}',
            f'"{self.pick(SHORT_NOUNS[1 - label])}" 이러던데 {clause}',
        ))  # fmt: skip

    def body(self, label: int) -> str:
        """Writes one pattern, sometimes with an opener or a sentence before it and more sentences after it."""
        pattern = self._pattern()
        text = pattern(label)
        if pattern == self.short:
            return text
        if self.chance(0.15):
            text = f"{self.pick(OPENERS)} {text}"
        elif self.chance(0.12):
            text = f"{self.pick(NEUTRAL)}{self.pick(('.', '..', ''))} {text}"
        for _ in range(self.pick((0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 4))):
            text = f"{text}{self.pick(('.', '.', '..', '', '!'))} {self._extra(label)}"
        return text

    def _pattern(self) -> Callable[[int], str]:
        if self.chance(0.01):  # more often than NSMC's 1 row in 200, so that the test file has some too
            return self.quotation
        remaining = self._rng.random() * sum(weight for weight, _ in self._patterns)
        for weight, pattern in self._patterns:
            remaining -= weight
            if remaining < 0:
                return pattern
        return self.statement

    def _extra(self, label: int) -> str:
        if self.chance(0.3):
            return self.pick(VERDICTS[label])
        return self.pick((self.statement, self.agreement, self.contrast, self.expectation))(label)

    def roughen(self, text: str, label: int) -> str:
        """Adds punctuation or an emoticon, sometimes a typo or missing spaces, as in typed text."""
        if self.chance(0.06):
            wrong = self.pick([pair for pair in TYPOS if pair[0] in text] or [("", "")])
            text = text.replace(wrong[0], wrong[1], 1)
        if self.chance(0.03) and len(text) < 40:
            text = text.replace(" ", "")
        elif self.chance(0.10):
            text = "".join("" if char == " " and self.chance(0.4) else char for char in text)
        leaning = LEANING_TAILS[label if self.chance(0.75) else 1 - label]
        return text + self.pick(leaning if self.chance(0.25) else PLAIN_TAILS)

    def review(self, label: int) -> str:
        """Returns a review with `label` of at most `MAX_CHARS` characters."""
        while True:
            text = self.roughen(self.body(label), label)
            if len(text) <= MAX_CHARS:
                return text


class Row(NamedTuple):
    """One line of a file."""

    id: int
    document: str
    label: int


def make_rows(rng: random.Random, count: int, empty: int, used_ids: set[int]) -> list[Row]:
    """Returns the rows of one file, half with each label, `empty` of them without a document; adds to `used_ids`.

    A short text may occur twice, as in the corpus.
    """
    writer = Writer(rng)
    order = sorted(range(count), key=lambda _: rng.random())
    rows = []
    for place in order:
        label = place % 2
        document = "" if place < empty else writer.review(label)
        rows.append(Row(_new_id(rng, used_ids), document, label))
    return rows


def _new_id(rng: random.Random, used_ids: set[int]) -> int:
    while (number := 1 + int(rng.random() * MAX_ID)) in used_ids:
        pass
    used_ids.add(number)
    return number


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the rows atomically in the format of NSMC's files."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)
    os.replace(partial, path)


def make_sample(out: Path, seed: int = SEED) -> None:
    """Writes both files into the folder `out`, creating it if necessary."""
    out.mkdir(parents=True, exist_ok=True)
    used_ids: set[int] = set()
    write_rows(out / "ratings_train.txt", make_rows(random.Random(2 * seed), TRAIN_ROWS, TRAIN_EMPTY, used_ids))
    write_rows(out / "ratings_test.txt", make_rows(random.Random(2 * seed + 1), TEST_ROWS, TEST_EMPTY, used_ids))


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line and writes both files."""
    parser = argparse.ArgumentParser(description="Generates the bundled sample of synthetic reviews.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: here)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives other rows (default: %(default)s)")
    args = parser.parse_args(argv)
    make_sample(args.out, args.seed)


if __name__ == "__main__":
    main()
