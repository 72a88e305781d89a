import errno
import os
import sqlite3

import pytest

from local import run as local


def wrapped(inner, outer):
    """An error as a library raises it that caught another one."""
    try:
        try:
            raise inner
        except type(inner) as error:
            raise outer from error
    except type(outer) as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        sqlite3.OperationalError("database or disk is full"),
        wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("the stage failed")),
    ],
)
def test_full_disk_is_named_with_the_way_out(tmp_path, error):
    told = local._told(error, [], str(tmp_path))
    assert told.startswith("no space is left on a disk") and str(tmp_path) in told and "make room" in told


def test_another_error_is_told_as_itself(tmp_path):
    told = local._told(OSError(errno.EACCES, "Permission denied"), [], str(tmp_path))
    assert "Permission denied" in told and "space" not in told


def test_summary_that_cannot_be_written_is_told_and_hides_nothing(tmp_path):
    content = {"status": "pushed", "metrics": {"candidate": None}, "versions": {}}
    told = local._write(str(tmp_path / "gone"), content, [])
    assert "summary.json and report.html were not written: No such file or directory" in told
    assert content["status"] == "pushed" and content["report_path"] is None
