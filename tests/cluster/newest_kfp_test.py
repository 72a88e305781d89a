"""The client's tests with the newest kfp of the package index, which can't be installed beside TFX."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).parents[2]
# Kept, so that a later test only looks whether there is a newer kfp.
VENV = REPO / "build" / "newest-kfp"
PYTHON = VENV / "bin" / "python"
# What cluster.client needs, and the test runner.
PACKAGES = ("kfp", "pydantic", "pyyaml", "rich", "pytest")


def quietly(*command, timeout_s):
    """Runs a command; returns whether it went well, and what it said."""
    # As in scripts/setup.sh: uv takes this machine's certificates and pip's index.
    settings = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    if "PIP_INDEX_URL" in os.environ:
        settings["UV_INDEX_URL"] = os.environ["PIP_INDEX_URL"]
    try:
        done = subprocess.run(
            command,
            cwd=REPO,
            env={**settings, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        return False, f"{command[0]}: no end within {error.timeout} s"
    return done.returncode == 0, done.stdout


def make(uv):
    """Makes the environment, with a newer Python than this one's if there is any: the newest kfp may ask for it."""
    if not uv:
        return quietly(sys.executable, "-m", "venv", str(VENV), timeout_s=60)
    for python in (">=3.11", sys.executable):
        made, said = quietly(
            uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(VENV), timeout_s=60
        )
        if made:
            break
    return made, said


def install():
    """Brings the environment up to date, if the index can be reached; returns what was said."""
    uv = shutil.which("uv") or shutil.which(REPO / ".uv" / "bin" / "uv")
    if not PYTHON.exists():
        made, said = make(uv)
        if not made:
            return said
    pip = (uv, "pip", "install", "--python", str(PYTHON)) if uv else (str(PYTHON), "-m", "pip", "install")
    return quietly(*pip, "--quiet", "--upgrade", *PACKAGES, timeout_s=120)[1]


def test_the_client_works_with_the_newest_kfp():
    said = install()
    usable, version = quietly(str(PYTHON), "-c", "import kfp, pytest; print(kfp.__version__)", timeout_s=30)
    if not usable:
        pytest.skip(f"no environment with the newest kfp: {said.strip().splitlines()[-1:]}")
    passed, said = quietly(
        *(str(PYTHON), "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", "tests/cluster/client_test.py"),
        timeout_s=120,
    )
    assert passed, f"kfp {version}\n{said}"
    # Not the one of this test's environment.
    assert tuple(map(int, version.split(".")[:2])) >= (2, 17)
