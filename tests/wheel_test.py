"""The wheel: its content, and that it works when installed with the locked packages, outside of the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from artifacts import model_card
from tests import saved_models

pytestmark = pytest.mark.e2e

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = [
    folder.parent.name for folder in ROOT.glob("*/__init__.py") if folder.parent.name not in ("tests", "benchmarks")
]
FOLDERS = [*PACKAGES, "configs", "data"]
# As in `make wheel`.
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout: setuptools leaves `build` and an egg-info folder behind."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "encoders", "runs", "*.egg-info")
    shutil.copytree(ROOT, folder / "checkout", ignore=left_out)
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=folder / "checkout", check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The scripts of a new environment with the wheel, and with the locked packages of the current environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    uv = subprocess.run(["sh", ROOT / "scripts" / "setup.sh", "--uv"], check=True, capture_output=True, text=True)
    install = [ROOT / uv.stdout.strip(), "pip", "install", "--no-deps", "--offline", "--python", python, wheel]
    subprocess.run(install, check=True, capture_output=True)
    where = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    packages = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    locked = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    pathlib.Path(packages, "locked.pth").write_text(locked)
    return folder / "bin"


@pytest.fixture
def call(scripts, tmp_path):
    """Runs a console script in an empty folder; returns its standard output."""

    def run(*words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [scripts / words[0], *map(str, words[1:])]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_contains_only_the_code_and_its_files(wheel):
    files = (file for name in FOLDERS for file in (ROOT / name).rglob("*") if file.is_file())
    expected = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected | {"local_runner.py", "kubeflow_runner.py"}


def test_the_wheel_has_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split(".dist-info/")[-1]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(names["METADATA"]).decode()
    assert "licenses/LICENSE" in names
    assert "Name: review-sentiment-pipeline" in metadata and "License: Apache-2.0" in metadata
    assert (ROOT / "README.md").read_text().splitlines()[0] in metadata


@pytest.mark.parametrize("script", ["reviews", "reviews-kubeflow"])
def test_help_names_the_script(call, script):
    assert call(script, "--help").startswith(f"usage: {script} ")


def test_an_installed_package_compiles_its_own_configuration(call, tmp_path):
    assert "wrote nsmc.yaml" in call("reviews-kubeflow", "compile")
    text = (tmp_path / "nsmc.yaml").read_text()
    assert "/app/data/invariance/korean.tsv" in text and "site-packages" not in text and str(ROOT) not in text


def test_an_installed_package_predicts(call, tmp_path):
    folder = saved_models.save(str(tmp_path / "model"))
    card = model_card.ModelCard(
        saved_models.TASK, {"label": "label", "quoting": "minimal", "header": True, "encoding": "utf-8"}
    )
    model_card.write(folder, card)
    (line,) = call("reviews", "predict", "--model", folder, "정말 최고다").splitlines()
    assert line.split()[0] in ("긍정", "부정")


@pytest.mark.slow
def test_an_installed_package_runs_the_bundled_sample(call, tmp_path):
    call("reviews", "run")
    assert (tmp_path / "runs" / "sample" / "history" / "latest" / "report.html").exists()
    assert call("reviews", "predict", "이것은 놀라운 영화입니다!").split()[0] in ("긍정", "부정")
