"""The image for Kubeflow: the Dockerfile's steps, executed in clean folders (`dockerfile.py`), and `make image`.

One build installs the packages with the Dockerfile's own command: 15 s if they are in uv's cache, minutes if they have
to be downloaded. The other builds use a fake set-up. The image has the current set of versions; on a machine that can't
install it, the old set is used instead.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tests import dockerfile
from tests.setup_test import INSTALLED, versions

pytestmark = pytest.mark.e2e

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Folders of the repository that no task of a run needs.
LEFT_OUT = {"tests", "benchmarks"}
PACKAGES = sorted({folder.parent.name for folder in ROOT.glob("*/__init__.py")} - LEFT_OUT)
FOLDERS = [*PACKAGES, "configs", "data/encoder", "data/invariance"]
RUNNERS = ["kubeflow_runner.py", "local_runner.py"]

# Files that may be in a working checkout and must not be in the image.
LEAKS = [
    ".env",
    ".git/config",
    ".venv/bin/python",
    "configs/.secret.yaml",
    "data/nsmc/ratings_train.txt",
    "data/sample/train.tsv",
    "encoders/other/encoder/saved_model.pb",
    "key.json",
    "kubeflow.yaml",
    "pipeline/__pycache__/config.cpython-310.pyc",
    "requirements/current/dev.txt",
    "requirements/current/override.txt",
    "runs/nsmc/serving/1/saved_model.pb",
]
ENCODER = ["encoders/tiny/encoder/saved_model.pb", "encoders/tiny/preprocess/saved_model.pb"]

IMPORT_ALL = """
import importlib, sys
failures = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failures.append(f"{name}: {error!r}")
sys.exit("\\n".join(failures) or None)
"""

# Packages whose requirements are not installed, by name; an override changes versions, not names.
UNMET = """
from importlib.metadata import distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
installed = {canonicalize_name(each.name): each for each in distributions()}
for name, distribution in installed.items():
    for line in distribution.requires or ():
        wanted = Requirement(line)
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if needed and canonicalize_name(wanted.name) not in installed:
            print(name, "needs", line)
"""


def code(folder: pathlib.Path) -> set[str]:
    """Returns the paths of the repository's files that belong in the image."""
    files = (file for name in FOLDERS for file in (folder / name).rglob("*") if file.is_file())
    kept = (file for file in files if "__pycache__" not in file.parts and not file.name.startswith("."))
    return {str(file.relative_to(folder)) for file in kept} | set(RUNNERS)


# Error messages of uv and pip without a network.
NO_NETWORK = re.compile("error sending request|NewConnectionError|NameResolutionError")


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "checkout")


def make_checkout(folder: pathlib.Path) -> pathlib.Path:
    """Copies the repository to a folder, with additional files that must not be in the image."""
    for name in [*FOLDERS, "scripts"]:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in [*RUNNERS, "Dockerfile", ".dockerignore"]:
        shutil.copy(ROOT / name, folder / name)
    for name in [*LEAKS, *ENCODER]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def build(checkout, tmp_path):
    """Builds the image of the checkout without packages: the fake set-up writes its arguments to a file instead."""
    (checkout / "scripts/setup.sh").write_text('mkdir .venv; echo "$*" >.venv/arguments\n')

    def run(**arguments: str) -> dockerfile.Image:
        return dockerfile.Build(checkout, tmp_path / "stages", installs=("packages",), **arguments).image()

    return run


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The image for the CPU, with its packages."""
    folder = tmp_path_factory.mktemp("image")
    checkout = make_checkout(folder / "checkout")
    for name in ("Dockerfile", ".dockerignore"):
        text = (checkout / name).read_text()
        assert "requirements/current/base.txt" in text
        (checkout / name).write_text(text.replace("requirements/current/", f"requirements/{INSTALLED}/"))
    # Compiling bytecode takes a minute and is not needed here.
    build = dockerfile.Build(checkout, folder, installs=("packages",), DEVICE="cpu", UV_COMPILE_BYTECODE="false")
    try:
        built = build.image()
    except dockerfile.BuildError as error:
        if NO_NETWORK.search(str(error)):
            pytest.skip("the package index can't be reached")
        raise
    yield built
    subprocess.run(["rm", "-rf", folder], check=True)  # twice as fast as shutil


def start(image: dockerfile.Image, *command: str) -> subprocess.CompletedProcess:
    """Runs a command in the image; Python's bytecode is kept in /tmp for the next command."""
    return image.run(*command, env={"PYTHONPYCACHEPREFIX": str(image.root / "tmp") if not image.contained else "/tmp"})


def test_every_module_imports_in_the_image(image):
    modules = [file[: -len(".py")].replace("/", ".") for file in code(ROOT) if file.endswith(".py")]
    assert len(modules) > 100
    # These need the extra onnx, which the image does not have.
    required = {
        module for module in modules if not module.startswith(("local.engines.onnx_", "local.engines.openvino_"))
    }
    result = start(image, "python", "-W", "ignore", "-c", IMPORT_ALL, *sorted(required))
    assert result.returncode == 0, result.stderr[-3000:]


def test_a_tasks_command_starts_in_the_image(image):
    result = start(image, "python", "-m", "cluster.entrypoint", "--help")
    assert result.returncode == 0 and "--executor_class_path" in result.stdout, result.stderr[-3000:]


def test_the_packages_are_complete_and_match_the_lock(image):
    (site_packages,) = image.path(".venv/lib").glob("python3.*/site-packages")
    installed = {folder.name.split("-")[0].lower().replace("_", "-") for folder in site_packages.glob("*.dist-info")}
    assert {name.replace(".", "-") for name in installed} == set(versions(f"requirements/{INSTALLED}/base.txt"))
    result = start(image, "python", "-c", UNMET)
    assert (result.stdout, result.returncode) == ("", 0), result.stderr


@pytest.mark.parametrize(("arguments", "extras"), [({}, "gpu"), ({"DEVICE": "gpu"}, "gpu"), ({"DEVICE": "cpu"}, "")])
def test_the_device_selects_the_extra(build, arguments, extras):
    assert build(**arguments).path(".venv/arguments").read_text().strip() == extras


def test_an_unknown_device_is_refused_with_a_message(build):
    with pytest.raises(dockerfile.BuildError, match="DEVICE=tpu: should be gpu or cpu"):
        build(DEVICE="tpu")


def test_the_image_contains_only_the_code_of_the_checkout(build):
    image = build()
    app = {str(file.relative_to(image.path("."))) for file in image.path(".").rglob("*") if file.is_file()}
    assert app == code(ROOT) | {".venv/arguments"}
    outside = {file for file in image.root.rglob("*") if file.is_file() and image.path(".") not in file.parents}
    assert outside == set()


def test_the_context_contains_no_other_files_of_the_checkout(checkout):
    ignore = dockerfile.Ignore((ROOT / ".dockerignore").read_text())
    sent = set(map(str, ignore.files(checkout)))
    assert sent & set(LEAKS) == {"encoders/other/encoder/saved_model.pb"}
    assert code(ROOT) | set(ENCODER) <= sent


def test_an_encoder_is_in_the_image_if_requested(build):
    image = build(ENCODER="encoders/tiny")
    encoder = image.root / "opt/encoder"
    files = {str(file.relative_to(encoder)) for file in encoder.rglob("*") if file.is_file()}
    assert files == {"encoder/saved_model.pb", "preprocess/saved_model.pb"}
    assert image.run("cat", "/opt/encoder/encoder/saved_model.pb").stdout == ENCODER[0]


def test_a_missing_encoder_is_an_error(build):
    with pytest.raises(dockerfile.BuildError, match="COPY encoders/none: not in the build context"):
        build(ENCODER="encoders/none")


def test_the_user_is_not_root_and_can_write_to_the_launchers_folders(build):
    image = build()
    user, group = image.user.split(":")
    assert user.isdecimal() and user != "0" and group == "0"
    for user in (image.user, "4711:4711"):  # a cluster may choose another
        image.user = user
        script = "set -e; for folder in /minio /s3 /gcs $HOME /tmp; do mkdir $folder/of_$0; done; find . ! -readable"
        result = image.run("sh", "-c", script, user.split(":")[0])
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_image_is_as_the_compiler_expects(build):
    image = build(REVISION="0123456789ab")
    assert image.workdir == "/app"  # kubeflow.image_dir
    assert image.env["TF_USE_LEGACY_KERAS"] == "1"
    assert image.labels["org.opencontainers.image.revision"] == "0123456789ab"


MUTATIONS = {
    "a folder that does not exist": ("COPY --chmod=755 schema schema", "COPY --chmod=755 schemas schema"),
    "a folder that .dockerignore keeps out": ("COPY --chmod=755 schema schema", "COPY --chmod=755 data/sample schema"),
    "a command that does not exist": ("RUN install", "RUN instal"),
    "a script that does not exist": ("sh scripts/setup.sh gpu", "sh scripts/set-up.sh gpu"),
    "a stage that does not exist": ("--from=packages", "--from=package"),
    "a path that the stage lacks": ("/app/.venv .venv", "/app/venv .venv"),
    "an instruction that does not exist": ("WORKDIR", "WORKDRI"),
}


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_broken_step_is_an_error(checkout, build, fault):
    old, new = MUTATIONS[fault]
    text = (checkout / "Dockerfile").read_text()
    assert old in text
    (checkout / "Dockerfile").write_text(text.replace(old, new))
    with pytest.raises(dockerfile.BuildError):
        build()


def test_a_misspelt_build_argument_is_an_error(build):
    with pytest.raises(dockerfile.BuildError, match="DEVISE"):
        build(DEVISE="cpu")


def make_image(path: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "image", *arguments], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def tools(tmp_path):
    """A PATH without container engines."""
    for name in ("git", "make", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_make_image_builds_with_the_available_engine(tools, engine):
    (tools / engine).write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tools / engine).chmod(0o755)
    result = make_image(str(tools), "TAG=registry.example.com/reviews:7", "ARGS=--build-arg DEVICE=cpu")
    words = result.stdout.splitlines()
    assert words[:4] == ["build", "--tag", "registry.example.com/reviews:7", "--build-arg"]
    assert words[4].startswith("REVISION=") and words[5:] == ["--build-arg", "DEVICE=cpu", "."]


def test_make_image_without_an_engine_is_an_error(tools):
    result = make_image(str(tools))
    assert result.returncode != 0 and "neither docker nor podman is on PATH" in result.stderr


def engine() -> str:
    """Returns the name of a working engine; '' if there is none."""
    for name in filter(shutil.which, ("docker", "podman")):
        if subprocess.run([name, "info"], capture_output=True, timeout=60).returncode == 0:
            return name
    return ""


def test_an_engine_builds_the_image():
    name = engine()
    if not name:
        pytest.skip("neither docker nor podman works here")
    arguments = [f"--build-arg PIP_INDEX_URL={os.environ['PIP_INDEX_URL']}"] if "PIP_INDEX_URL" in os.environ else []
    command = ["make", "image", "TAG=reviews:test", f"ARGS={' '.join(['--build-arg DEVICE=cpu', *arguments])}"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    task = [name, "run", "--rm", "reviews:test", "python", "-m", "cluster.entrypoint", "--help"]
    result = subprocess.run(task, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and "--executor_class_path" in result.stdout, result.stderr[-3000:]
