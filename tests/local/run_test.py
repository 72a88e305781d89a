import errno
import os
import sqlite3

import pytest

from components.run_report import gather
from components.run_report.summary import Summary
from local import run as local


def wrap(inner, outer):
    """Returns the outer error, raised from the inner one."""
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
        wrap(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("the stage failed")),
    ],
)
def test_full_disk_error_explains_what_to_do(tmp_path, error):
    message = local._describe_error(error, [], str(tmp_path))
    assert message.startswith("no space left on device") and str(tmp_path) in message and "free some" in message


def test_other_error_is_quoted(tmp_path):
    message = local._describe_error(OSError(errno.EACCES, "Permission denied"), [], str(tmp_path))
    assert "Permission denied" in message and "space" not in message


def test_summary_that_cannot_be_written_keeps_the_status(tmp_path):
    summary = Summary("reviews", "pushed")
    summary, message = local._write_report(str(tmp_path / "gone"), summary, gather.Details())
    assert "summary.json and report.html were not written: No such file or directory" in message
    assert summary.status == "pushed" and summary.report_path is None
