import io

import rich.console

from benchmarks.training.accuracy import Epoch, seconds_to, table

SLOW = [Epoch(10.0, 0.70), Epoch(10.0, 0.80), Epoch(10.0, 0.79)]
FAST = [Epoch(1.0, 0.75), Epoch(1.0, 0.79), Epoch(1.0, 0.82)]


def test_seconds_are_those_of_all_epochs_up_to_the_target():
    assert seconds_to(0.80, SLOW) == 20.0
    assert seconds_to(0.80, FAST) == 3.0


def test_the_target_is_the_lowest_of_the_best_accuracies():
    console = rich.console.Console(file=io.StringIO(), width=160)
    console.print(table({0: {"notebook": SLOW, "ours": FAST}}))
    ours = next(line for line in console.file.getvalue().splitlines() if "ours" in line)
    # Best, target, seconds to it, all seconds, notebook's 20 s to 3 s.
    assert [cell.strip() for cell in ours.split("│")[3:8]] == ["0.8200", "0.8000", "3.0", "3.0", "6.67"]
