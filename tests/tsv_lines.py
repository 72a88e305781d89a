"""Lines of a TSV for property tests: valid, damaged, and noise; columns `document` and `label`."""

import csv
import io

from hypothesis import strategies as st

QUOTINGS = ("minimal", "none")

# Bytes that break readers: separators, quotes, false line ends, byte order marks, and parts of characters.
PIECES = (
    b"\t", b'"', b'""', b"\r", b"\0", b"\n", b"\r\n", b"\xef\xbb\xbf", "\u2028".encode(), "\u0085".encode(), b"\x1b[2J",
    b"\xff", b"\xed\xa0\x80", b"\xea\xb0", b"\x81", b"+AAA-", b"\\x00", b"\x1a", b"\x0c", b" ", "　".encode(), b"1",
)  # fmt: skip

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=20)
_REVIEWS = st.sampled_from(["재미없다", "굿 ㅋㅋ", 'he said "no"', "a\tb", "최고!!", "👍🏽", "x" * 1200])


def good(quoting: str, encoding: str) -> st.SearchStrategy[bytes]:
    """Records as a CSV writer formats them; characters that can't be encoded become question marks."""
    return st.builds(
        lambda text, label: _written(text, label, quoting).encode(encoding, "replace"),
        st.one_of(_TEXTS, _REVIEWS),
        st.sampled_from("01"),
    )


def any_line(quoting: str, encoding: str) -> st.SearchStrategy[bytes]:
    """Valid records, damaged ones, and noise; one that contains a newline is two lines."""
    records = good(quoting, encoding)
    damage = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.sampled_from(PIECES)), max_size=3)
    noise = st.one_of(st.binary(max_size=30), st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join))
    return st.one_of(records, st.builds(_damaged, records, damage), noise)


def _written(text: str, label: str, quoting: str) -> str:
    if quoting == "none":
        return text.replace("\t", " ") + "\t" + label
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator="").writerow((text, label))
    return stream.getvalue()


def _damaged(line: bytes, damage: list[tuple[int, int, bytes]]) -> bytes:
    """Replaces `removed` bytes at each place with a piece."""
    for place, removed, piece in damage:
        line = line[:place] + piece + line[place + removed :]
    return line
