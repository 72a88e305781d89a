"""The client's tests with the newest kfp of the package index, in a separate environment: it conflicts with TFX."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

REPO = pathlib.Path(__file__).parents[2]
# Kept, so that later tests only check for a newer kfp.
VENV = REPO / "build" / "newest-kfp"
PYTHON = VENV / "bin" / "python"
# The imports of cluster.client, and the test runner.
PACKAGES = ("kfp", "pydantic", "pyyaml", "rich", "shtab", "pytest")


def run_quietly(*command, timeout_s):
    """Runs a command; returns whether it succeeded, and its output."""
    # As in scripts/setup.sh: uv uses this machine's certificates and pip's index.
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
        return False, f"{command[0]}: timed out after {error.timeout} s"
    return done.returncode == 0, done.stdout


def create(uv):
    """Creates the environment, with a newer Python than this one if available: the newest kfp may require it."""
    if not uv:
        return run_quietly(sys.executable, "-m", "venv", str(VENV), timeout_s=60)
    for python in (">=3.11", sys.executable):
        created, output = run_quietly(
            uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(VENV), timeout_s=60
        )
        if created:
            break
    return created, output


def install():
    """Updates the environment, if the index can be reached; returns the output."""
    uv = shutil.which("uv") or shutil.which(REPO / ".uv" / "bin" / "uv")
    if not PYTHON.exists():
        created, output = create(uv)
        if not created:
            return output
    pip = (uv, "pip", "install", "--python", str(PYTHON)) if uv else (str(PYTHON), "-m", "pip", "install")
    return run_quietly(*pip, "--quiet", "--upgrade", *PACKAGES, timeout_s=120)[1]


def test_the_client_works_with_the_newest_kfp():
    output = install()
    usable, version = run_quietly(str(PYTHON), "-c", "import kfp, pytest, shtab; print(kfp.__version__)", timeout_s=30)
    if not usable:
        pytest.skip(f"no environment with the newest kfp: {output.strip().splitlines()[-1:]}")
    passed, output = run_quietly(
        *(str(PYTHON), "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", "tests/cluster/client_test.py"),
        timeout_s=120,
    )
    assert passed, f"kfp {version}\n{output}"
    # Not the version in the environment of this test.
    assert tuple(map(int, version.split(".")[:2])) >= (2, 17)
