"""Bundled configurations by name, and the name of the command."""

import pathlib

import pytest

from core import installation

NAMES = ["kubeflow", "nsmc", "nsmc-pretrain", "sample"]


def test_every_bundled_configuration_has_a_name():
    assert sorted(file.stem for file in pathlib.Path(installation.CONFIGS).glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", [*NAMES, "glue/mrpc", "examples/stars"])
def test_a_name_selects_a_bundled_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pathlib.Path(installation.find_config(name)).samefile(pathlib.Path(installation.CONFIGS, f"{name}.yaml"))


@pytest.mark.parametrize("name", ["nsm", "./nsmc", "nsmc.yaml", "configs/nsmc.yaml", "../configs/nsmc", "/nsmc", ""])
def test_anything_else_is_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert installation.find_config(name) == name


def test_a_file_of_that_name_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nsmc").write_text("name: mine")
    assert installation.find_config("nsmc") == "nsmc"


@pytest.mark.parametrize(
    ("started", "script", "name", "command"),
    [
        ("/env/bin/reviews", "local_runner.py", "reviews", "reviews"),
        ("/env/bin/reviews-kubeflow", "kubeflow_runner.py", "reviews-kubeflow", "reviews-kubeflow"),
        ("local_runner.py", "local_runner.py", "local_runner.py", ".venv/bin/python local_runner.py"),
        ("/usr/bin/pytest", "kubeflow_runner.py", "kubeflow_runner.py", ".venv/bin/python kubeflow_runner.py"),
    ],
)
def test_a_command_has_the_name_by_which_it_was_started(started, script, name, command, monkeypatch):
    monkeypatch.setattr("sys.argv", [started])
    assert (installation.program(script), installation.command(script)) == (name, command)
