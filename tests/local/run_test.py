import errno
import os
import sqlite3

import pytest

from components.run_report import gather
from components.run_report.summary import Summary
from core.config import load_config
from core.errors import UserError
from local import history
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
    summary, message = local._write_report(str(tmp_path / "gone"), summary, gather.Details(), True)
    assert "summary.json and report.html were not written: No such file or directory" in message
    assert summary.status == "pushed" and summary.report_path is None


@pytest.mark.parametrize(("reached_verdict", "latest"), [(True, "run-2"), (False, "run-1")])
def test_only_a_verdict_moves_the_link_to_the_latest_run(tmp_path, reached_verdict, latest):
    for run in ("run-1", "run-2"):
        (tmp_path / run).mkdir()
    history.set_latest(str(tmp_path / "run-1"))
    summary, message = local._write_report(
        str(tmp_path / "run-2"), Summary("reviews", "failed"), gather.Details(), reached_verdict
    )
    assert message is None and summary.report_path == str(tmp_path / "run-2" / "report.html")
    assert os.readlink(tmp_path / "latest") == latest


def test_copied_files_can_be_copied_again(tmp_path):
    """A run of the `config.yaml` of an earlier run names the copies."""
    (tmp_path / "job.yaml").write_text("name: job\ndata: {train: a.tsv}\n")
    config = local._copy_files(load_config(str(tmp_path / "job.yaml")), str(tmp_path / "runs"))
    assert config.data.schema_file.startswith(str(tmp_path / "runs" / "files"))
    size = os.path.getsize(config.data.schema_file)
    assert local._copy_files(config, str(tmp_path / "runs")) == config
    assert os.path.getsize(config.data.schema_file) == size > 0


def test_missing_schema_file_is_named(tmp_path):
    (tmp_path / "job.yaml").write_text("name: job\ndata: {train: a.tsv, schema_file: gone.pbtxt}\n")
    with pytest.raises(UserError, match="data.schema_file = .*gone.pbtxt: No such file or directory"):
        local._copy_files(load_config(str(tmp_path / "job.yaml")), str(tmp_path / "runs"))
