import shlex
import sys

import pytest

from benchmarks.training import contenders, data, turns


def test_a_name_selects_module_precision_batching_and_interpreter():
    assert contenders.parse_name("ours") == contenders.Entry("ours", "ours", "float32", "grouped")
    entry = contenders.parse_name("pytorch-dynamic-bfloat16")
    assert (entry.module, entry.precision, entry.batching, entry.python) == ("pytorch", "bfloat16", "dynamic", "torch")
    entry = contenders.parse_name("ours-bfloat16@current")
    assert (entry.name, entry.module, entry.precision, entry.python) == (
        "ours-bfloat16@current",
        "ours",
        "bfloat16",
        "current",
    )


def test_ours_can_train_the_whole_table():
    entry = contenders.parse_name("ours-whole-bfloat16")
    assert (entry.module, entry.whole_table, entry.precision) == ("ours", True, "bfloat16")
    assert not contenders.parse_name("ours").whole_table


def test_a_task_is_one_of_those_that_ours_can_train():
    entry = contenders.parse_name("ours-classes-bfloat16")
    assert (entry.module, entry.task, entry.precision) == ("ours", "classes", "bfloat16")
    assert contenders.parse_name("ours").task == "binary"
    assert {contenders.parse_name(f"ours-{task}").task for task in data.TASKS if task != "binary"} == (
        data.TASKS.keys() - {"binary"}
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notebook-score",
        "pytorch-padded-classes",
        "ours-pairs",
        "pytorch-grouped-whole",
        "notebook-bfloat16",
        "pytorch",
        "pytorch-padded-float16",
        "theirs",
        "ours@",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown contender"):
        contenders.parse_name(name)


def test_a_contender_without_its_interpreter_is_left_out_with_the_reason():
    entries = [contenders.parse_name(name) for name in ("ours", "pytorch-grouped", "ours@current")]
    pythons = {"torch": "/nowhere/python", "current": shlex.join([sys.executable, "-c", "raise SystemExit(3)"])}
    able, reasons = contenders.runnable(entries, pythons)
    assert able == entries[:1]
    assert reasons == [
        "pytorch-grouped: /nowhere/python: No such file or directory",
        f"ours@current: {sys.executable} failed",
    ]


def test_a_label_without_an_interpreter_is_an_error_before_anything_starts():
    with pytest.raises(turns.ContenderError, match="@current: no interpreter; give --python current=COMMAND"):
        contenders.runnable([contenders.parse_name("ours@current")], {})


def test_a_contender_runs_under_the_command_of_its_label(tmp_path):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >{tmp_path}/log\nexit 4\n')
    script.chmod(0o755)
    workload = turns.Workload(encoder="e", train="t")
    with pytest.raises(turns.ContenderError, match="status 4"):
        contenders.start(contenders.parse_name("ours@current"), workload, {"current": f"env A=1 {script}"})
    assert (tmp_path / "log").read_text().startswith("-m benchmarks.training.ours {")
