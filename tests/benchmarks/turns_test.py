import json
import sys
import time

import pytest

from benchmarks.training import turns

# A process that appends its name to a log in each step of 10 ms.
FAKE = """
import sys, time
from benchmarks.training import turns
print("noise on standard output")
name, log = sys.argv[1:]
def step():
    time.sleep(0.01)
    with open(log, "a") as stream:
        stream.write(name)
turns.work(step, lambda made: None, 4)
"""


def start(name, log):
    return turns.Contender(name, [sys.executable, "-c", FAKE, name, str(log)])


def runs_of(text):
    return [a for a, b in zip(text, text[1:] + "\0", strict=True) if a != b]


def test_contenders_work_one_at_a_time_and_a_different_one_begins_each_round(tmp_path):
    log = tmp_path / "log"
    with start("a", log) as a, start("b", log) as b:
        answers = turns.take_turns([a, b], 0.05, rounds=2)
    # a b, then b a: in the middle b has two turns in a row.
    assert runs_of(log.read_text()) == ["a", "b", "a"]
    for name in "ab":
        assert sum(one["examples"] for one in answers[name]) == 4 * log.read_text().count(name)
        assert all(one["seconds"] >= 0.05 for one in answers[name])


def test_a_turn_shorter_than_a_step_is_one_step(tmp_path):
    with start("a", tmp_path / "log") as a:
        assert a.turn(0.0)["examples"] == 4


def test_the_output_of_a_contender_that_fails_in_its_set_up_is_shown():
    with pytest.raises(turns.ContenderError, match="x ended with status 3: no such thing"):
        turns.Contender("x", [sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"])


def test_the_output_of_a_contender_that_fails_in_its_turn_is_shown():
    code = "from benchmarks.training import turns; turns.Referee().answer(); input(); raise ValueError('broken step')"
    with turns.Contender("x", [sys.executable, "-c", code]) as contender:
        with pytest.raises(turns.ContenderError, match="broken step"):
            contender.turn(1.0)


def test_an_idle_contender_ends_when_it_is_closed(tmp_path):
    contender = start("a", tmp_path / "log")
    started = time.monotonic()
    contender.close()
    assert time.monotonic() - started < 5


def test_a_workload_is_passed_to_its_process_unchanged(monkeypatch):
    workload = turns.Workload(encoder="e", train="t", rows=5, precision="bfloat16")
    monkeypatch.setattr(sys, "argv", ["module", json.dumps(vars(workload))])
    assert turns.Workload.from_argument() == workload


def test_ratios_are_taken_round_by_round():
    assert turns.ratios([4.0, 8.0, 9.0], [2.0, 2.0, 3.0]) == turns.Spread(median=3.0, low=2.0, high=4.0)


def test_every_stretch_of_evenly_mixed_batches_has_the_mean_cost():
    costs = [(7 * i) % 100 for i in range(100)]
    order = turns.evenly_mixed(costs)
    assert sorted(order) == list(range(100))
    for start_at in (0, 30, 70):
        stretch = [costs[number] for number in order[start_at : start_at + 10]]
        assert abs(sum(stretch) / 10 - 49.5) < 8


def test_evenly_mixed_batches_of_one_cost_are_all_there():
    assert sorted(turns.evenly_mixed([3, 3, 3])) == [0, 1, 2]
