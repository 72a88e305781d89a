"""Texts whose tokens are compared, by what makes them difficult."""

# No tokenizer is difficult here, so a difference means that this one was misunderstood.
REQUIRED = "English"

TEXTS = {
    "Korean": ("이 영화 정말 재미있어요!", "배우들 연기가 좋았다... 별점 10점 ㅋㅋㅋ", "시간이 아까웠다 ㅠㅠ (진심)"),
    "English": ("the film was a great surprise, and it's worth your time.", "no; not again - 3 out of 10"),
    "capital letters": ("A GREAT Movie", "TV판 OST", "ΟΔΥΣΣΕΥΣ ΣΑΣ", "İstanbul Straße ǅ"),
    "accents": ("café naïve Ångström", "cafe\u0301 e\u0301\u0327", "Việt Nam", "हिन्दी संगीत", "한\u0301글"),
    "emoji": ("최고👍👍", "👨‍👩‍👧‍👦 가족 영화 ❤️", "🇰🇷🫠🥹", "😂ㅋㅋ😂"),
    "decomposed Hangul": ("\u110b\u1167\u11bc\u1112\u116a 최고", "\u1100\u1161\u11a8본"),
    "Chinese and Japanese": ("这部电影很好看。", "映画はとても面白かった", "中文abc中文", "\U00020000\U0002b825"),
    "control characters": ("영\u0000화", "a\u0007b\u001bc", "줄\r\n바꿈\t탭", "수직\u000b탭\u000c쪽", "a\u0085b"),
    "invisible characters": ("영\u200b화", "\ufeff시작", "a\u00adb", "오른\u200f쪽", "a\u2060b", "\ue000 사용자"),
    "replacement characters": ("깨진 \ufffd 글자", "깨\ufffd진"),
    "spaces": ("영화\u00a0최고", "영화\u3000최고", "  앞뒤  빈칸  ", "a\u2003b\u2028c\u2029d\u202fe", "\u1680"),
    "full-width and compatibility characters": ("ＡＢＣ１２３！", "㈜영화사 ㎏ ½ ﬁn", "ㄱㄴㄷ ﾊﾝｶｸ"),
    "punctuation": ("“좋다”—정말…!?", "a.b,c/d\\e|f~g^h`i", "$5 + 3 = 8 < 9", "‥·・〈〉『』", "``quoted'' it''s"),
    "punctuation of newer Unicode": ("a⸺b⸻c", "a\u2e52b", "a𑇉b", "a\u166db"),
    "numbers": ("1,234,567.89", "2024년 12월 3일", "٣٤٥ १२३", "10/10"),
    "long words": ("가" * 99, "가" * 100, "가" * 101, "a" * 100, "a" * 101, "ㅋ" * 300, "b" * 1200),
    "empty texts": ("", " ", "\u200b"),
    "other scripts": ("ภาพยนตร์ดีมาก", "фильм Хороший", "فيلم رائع", "סרט טוב", "ქართული ფილმი", "ᏣᎳᎩ"),
}
