"""Archives from untrusted sources: what is unpacked, and that nothing is written outside the folder."""

import gzip
import io
import os
import tarfile

import hypothesis
import pytest
from hypothesis import strategies as st

from components.hub_encoder import archive


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def pack_tar(*members, content=b"", form=tarfile.PAX_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info in members:
            info.size = info.size or (len(content) if info.isreg() else 0)
            tar.addfile(info, io.BytesIO(content) if info.isreg() and info.size == len(content) else None)
    return stream.getvalue()


@pytest.fixture(name="unpack")
def fixture_unpack(tmp_path):
    """Unpacks bytes and returns the files in the folder; checks that nothing is written beside it."""

    def unpack(data):
        (tmp_path / "archive").write_bytes(data)
        folder = tmp_path / "in" / "folder"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            archive.unpack(str(tmp_path / "archive"), str(folder))
        finally:
            assert os.listdir(tmp_path / "in") == ["folder"]
            assert sorted(os.listdir(tmp_path)) == ["archive", "in"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return unpack


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_and_folders_are_unpacked(pack, unpack):
    data = pack_tar(member("./a", tarfile.DIRTYPE), member("./a/b"), member("한" * 60), content=b"x")
    assert unpack(pack(data)) == {"a/b": b"x", "한" * 60: b"x"}


@pytest.mark.parametrize(
    "info, fault",
    [
        (member("/etc/passwd"), "'/etc/passwd' has an absolute path"),
        (member("C:/windows"), "'C:/windows' has an absolute path"),
        (member("../out"), r"'\.\./out' has a path that leaves the folder"),
        (member("a/../../out"), "has a path that leaves the folder"),
        (member("a\\..\\..\\out"), "has a path that leaves the folder"),
        (member("..", tarfile.DIRTYPE), "has a path that leaves the folder"),
        (member("vocab.txt", tarfile.SYMTYPE, linkname="/etc/passwd"), "'vocab.txt' is a link to '/etc/passwd'"),
        (member("vocab.txt", tarfile.SYMTYPE, linkname="good"), "is a link to 'good'"),
        (member("vocab.txt", tarfile.LNKTYPE, linkname="good"), "is a link to 'good'"),
        (member("null", tarfile.CHRTYPE), "'null' is neither a file nor a folder"),
        (member("disk", tarfile.BLKTYPE), "is neither a file nor a folder"),
        (member("pipe", tarfile.FIFOTYPE), "is neither a file nor a folder"),
        (member("\x1b[2Jx"), r"'\\x1b\[2Jx' has a control character"),
        (member("\u202egnp.exe"), r"'\\u202egnp.exe' has a control character"),
    ],
)
def test_unsafe_member_is_an_error(info, fault, unpack):
    with pytest.raises(archive.UnsafeArchiveError, match=f"its member .*{fault}"):
        unpack(pack_tar(member("good"), info, content=b"x"))


def test_member_over_the_size_limit_is_not_written(unpack, tmp_path):
    # Only the header, without the content.
    data = pack_tar(member("good"), content=b"x")[:1024] + member("bomb", size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    fault = f"its member 'bomb' brings the total to {(1 << 40) + 1} bytes; the limit is"
    with pytest.raises(archive.UnsafeArchiveError, match=fault):
        unpack(data)
    assert not (tmp_path / "in" / "folder" / "bomb").exists()


def test_decompression_bomb_is_an_error(unpack, monkeypatch):
    monkeypatch.setattr(archive, "_FREE_BYTES", 1 << 20)
    fault = "its member 'zeros' brings the total to 8388608 bytes; the limit is"
    with pytest.raises(archive.UnsafeArchiveError, match=fault):
        unpack(gzip.compress(pack_tar(member("zeros"), content=bytes(8 << 20))))


def test_header_that_would_fill_the_memory_is_not_read(unpack):
    bomb = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(archive.UnsafeArchiveError, match=f"a header in it requests {1 << 40} bytes"):
        unpack(bomb)


def test_negative_size_does_not_loop_forever(unpack):
    header = member("back", size=-1024).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises((archive.UnsafeArchiveError, tarfile.ReadError)):
        unpack(header + bytes(1024))


def test_nested_headers_do_not_overflow_the_stack(unpack):
    nested = b"".join(
        member("x", tarfile.XHDTYPE, size=1).tobuf(tarfile.USTAR_FORMAT) + b"\n" + bytes(511) for _ in range(2000)
    )
    with pytest.raises((archive.UnsafeArchiveError, tarfile.ReadError)):
        unpack(nested)


def test_too_many_members_are_an_error(unpack, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(archive.UnsafeArchiveError, match="its member '3' exceeds the limit of 3 members"):
        unpack(pack_tar(*(member(str(i), tarfile.DIRTYPE) for i in range(5))))


def test_wrong_checksum_of_gzip_is_an_error(unpack):
    data = bytearray(gzip.compress(pack_tar(member("a"), content=b"x" * 2000)))
    data[-6] ^= 1  # Within the checksum.
    with pytest.raises(tarfile.ReadError, match="damaged: CRC check failed"):
        unpack(bytes(data))


@pytest.mark.parametrize("data", [b"", b"<html></html>", bytes(100), b"\x1f\x8b\x08cut", b"x" * 5000])
def test_file_that_is_not_an_archive_is_an_error(data, unpack):
    with pytest.raises(tarfile.ReadError, match="^not a tar archive, or damaged"):
        unpack(data)


NAMES = st.sampled_from(["a", "b", "a/b", "../x", "/x", "a" * 200, "가" * 80, "."])
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE])
MEMBERS = st.builds(member, NAMES, KINDS, linkname=st.sampled_from(["", "..", "/etc"]))
PATCHES = st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=12)), max_size=4)


@hypothesis.settings(
    max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(st.lists(MEMBERS, max_size=4), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), PATCHES)
def test_any_bytes_are_unpacked_or_an_error(unpack, members, form, patches):
    data = bytearray(pack_tar(*members, content=b"text", form=form))
    for place, patch in patches:
        data[place : place + len(patch)] = patch
    try:
        unpack(bytes(data))
    except (archive.UnsafeArchiveError, tarfile.ReadError, OSError):
        pass
