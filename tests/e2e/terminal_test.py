"""What users of `local_runner.py` see on a terminal: nothing of the libraries, no row wider than the terminal."""

import os
import re
import sys

import pytest
from rich import cells

from tests import terminals
from tests.slow.runs import REPO, Place

pytestmark = pytest.mark.e2e

RUNNER = [sys.executable, os.path.join(REPO, "local_runner.py")]
NODES = 13
LIBRARIES = re.compile(r"warning|tensorflow/|site-packages|absl|apache_beam|[WIE]\d{4} ", re.IGNORECASE)


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory):
    # Without a space or a hyphen, and longer than a narrow terminal.
    return Place(str(tmp_path_factory.mktemp("a_job_in_a_folder_with_a_long_name")))


@pytest.fixture(scope="module", name="interrupted")
def _interrupted(place):
    return run(place, 80, interrupt_at="epoch 2/8")


@pytest.fixture(scope="module", name="resumed")
def _resumed(place, interrupted):
    return run(place, 60)


def run(place, columns, *settings, interrupt_at=None):
    words = ["run", "--config", place.config, "--root", place.root]
    return terminals.run([*RUNNER, *words, *(["--set", *settings] if settings else [])], columns, interrupt_at)


def check_rows(ended, columns):
    """Checks that only sentences with a path are longer than a row, and that no library printed anything."""
    for row in terminals.screen_rows(ended.output, 10_000):
        assert cells.cell_len(row) <= columns or "/" in row.replace("rows/s", "") and "epoch" not in row, row
        assert not LIBRARIES.search(row), row


def test_interrupted_component_is_not_failed(place, interrupted):
    assert interrupted.status == 130, interrupted.rows
    (row,) = [row for row in interrupted.rows if row.startswith("- ")]
    assert re.fullmatch(r"- Trainer +[\d.]+ s  interrupted", row)
    assert not any("left" in row or "^C" in row for row in interrupted.rows), "the progress line is gone"
    assert "failed" not in interrupted.output and "Traceback" not in interrupted.output
    assert "interrupted; run the same command to resume" in interrupted.rows
    check_rows(interrupted, 80)


def test_resumed_run_says_from_where_and_is_as_short_as_a_page(place, resumed):
    assert resumed.status == 0, resumed.rows
    text = "\n".join(resumed.rows)
    assert re.search(r"\n  resumed after step \d+ of 352, in epoch [1-8]/8\n", text)
    assert len(re.findall(r"^✓ ", text, re.MULTILINE)) == NODES + 4, "components and gates"
    assert text.count("cached\n") == 6 and "pushed to" in text
    assert len(resumed.rows) < 70
    check_rows(resumed, 60)
    assert os.path.getsize(os.path.join(place.history, "latest", "run.log")) > 20_000, "the libraries' output"


def test_refused_run_names_the_bound(place, resumed):
    refused = run(place, 80, "gates.model.calibration_error.max=0")
    assert refused.status == 3, refused.rows
    assert any(row.startswith("not blessed, nothing was pushed: ") for row in refused.rows)
    assert len(refused.rows) < 50
    check_rows(refused, 80)


def test_prediction_is_one_line(place, resumed):
    predicted = terminals.run(
        [*RUNNER, "predict", "--model", os.path.join(place.serving, place.versions()[0]), "최고다"], 80
    )
    assert predicted.status == 0
    (row,) = filter(None, predicted.rows)
    assert re.fullmatch(r"(긍정|부정) +[\d.]+%  최고다", row)
