import sys

import pytest

from benchmarks.training import contenders


def test_names_say_what_is_run():
    assert contenders.parse_name("ours") == contenders.Entry("ours", "ours", "float32", "grouped")
    entry = contenders.parse_name("pytorch-dynamic-bfloat16")
    assert (entry.module, entry.precision, entry.batching) == ("pytorch", "bfloat16", "dynamic")


@pytest.mark.parametrize("name", ["", "notebook-bfloat16", "pytorch", "pytorch-padded-float16", "theirs"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="no contender"):
        contenders.parse_name(name)


def test_an_interpreter_that_is_not_there_is_the_reason():
    entries = [contenders.parse_name(name) for name in ("ours", "pytorch-grouped")]
    left, reason = contenders.runnable(entries, "/nowhere/python")
    assert left == entries[:1]
    assert "/nowhere/python" in reason


def test_nothing_is_left_out_where_nothing_needs_torch():
    entries = [contenders.parse_name("ours")]
    assert contenders.runnable(entries, sys.executable) == (entries, None)
