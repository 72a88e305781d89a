"""Settings and table of the recipe benchmark."""

import io

import pytest
import rich.console

from benchmarks.recipe import Outcome, compare, make_table, parse_settings


def test_settings_are_those_of_the_trainer():
    assert parse_settings("epochs=3,learning_rate=1e-4") == {"epochs": 3, "learning_rate": 1e-4}
    assert parse_settings("") == {}


@pytest.mark.parametrize("text", ["epoch=3", "epochs=many", "epochs"])
def test_an_unknown_setting_or_value_is_refused(text):
    with pytest.raises(ValueError):
        parse_settings(text)


def test_differences_are_those_of_the_same_seed_in_points():
    assert compare([0.82, 0.84, 0.86], [0.80, 0.83, 0.86]) == "+1.00 ± 0.58"
    assert compare([0.82], [0.80]) == "+2.00"


def test_the_table_has_mean_and_spread_of_each_setting():
    outcomes = {
        "": [Outcome(0.80, 0.5, 2, 60.0), Outcome(0.82, 0.5, 3, 60.0)],
        "dropout=0.2": [Outcome(0.83, 0.4, 3, 70.0, 0.81), Outcome(0.83, 0.4, 3, 70.0, 0.82)],
    }
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(make_table(outcomes))
    base, other = (
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in console.file.getvalue().splitlines()
        if line.startswith("│")
    )
    assert base == ["base", "80.00 82.00", "81.00", "1.41", "", "0.5000", "2 3", "60", ""]
    assert other == ["dropout=0.2", "83.00 83.00", "83.00", "0.00", "+2.00 ± 1.00", "0.4000", "3 3", "70", "81.50"]
