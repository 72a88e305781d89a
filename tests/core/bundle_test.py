"""Bundled configurations by name, and paths that stay what they are."""

import pathlib

import pytest

from core import bundle

NAMES = ["kubeflow", "nsmc", "nsmc-pretrain", "sample"]


def test_every_bundled_configuration_has_a_name():
    assert sorted(file.stem for file in pathlib.Path(bundle.CONFIGS).iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_bundled_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pathlib.Path(bundle.find_config(name)).samefile(pathlib.Path(bundle.CONFIGS, f"{name}.yaml"))


@pytest.mark.parametrize("name", ["nsm", "./nsmc", "nsmc.yaml", "configs/nsmc.yaml", "../configs/nsmc", "/nsmc", ""])
def test_anything_else_is_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundle.find_config(name) == name


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nsmc").write_text("name: mine")
    assert bundle.find_config("nsmc") == "nsmc"
