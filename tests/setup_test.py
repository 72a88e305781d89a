"""The set-up: the lock files agree with setup.py, and scripts/setup.sh does the right thing on odd machines.

The script runs for real, in a folder of its own, with a PATH of a few real tools and of stand-ins for uv and Python.
A stand-in Python is this interpreter under another version; the stand-in uv writes down what it was asked.
"""

import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.e2e

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCKS = {
    "": "requirements.txt",
    "dev": "requirements-dev.txt",
    "bench": "requirements-bench.txt",
    "gpu": "requirements-gpu.txt",
}


def entries(lock: str) -> dict[str, str]:
    """The text of each package in a lock file, by canonical name."""
    text = (ROOT / lock).read_text()
    blocks = re.findall(r"^(\S+==.*(?:\n[ ]+.*)*)", text, flags=re.MULTILINE)
    return {canonicalize_name(block.split("==")[0]): block for block in blocks}


def versions(lock: str) -> dict[str, str]:
    return {name: block.split("==")[1].split()[0] for name, block in entries(lock).items()}


@pytest.fixture
def metadata(monkeypatch):
    """What setup.py hands to setuptools."""
    captured = {}
    monkeypatch.setattr(setuptools, "setup", lambda **kwargs: captured.update(kwargs))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return captured


@pytest.mark.parametrize("extra", LOCKS)
def test_direct_dependencies_are_locked_at_their_version(metadata, extra):
    wanted = metadata["install_requires"] + metadata["extras_require"].get(extra, [])
    locked = versions(LOCKS[extra])
    for requirement in map(Requirement, wanted):
        assert str(requirement.specifier) == f"=={locked.get(canonicalize_name(requirement.name))}", requirement


def test_packages_hold_every_folder_with_code(metadata):
    names = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    folders = {path.parent.relative_to(ROOT) for name in names for path in ROOT.glob(f"{name}/**/*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(metadata["packages"])


@pytest.mark.parametrize("lock", ["requirements-dev.txt", "requirements-bench.txt", "requirements-gpu.txt"])
def test_an_extra_adds_to_the_base_and_changes_nothing(lock):
    base, extended = versions("requirements.txt"), versions(lock)
    assert base.items() < extended.items()


@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_package_has_hashes(lock):
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in entries(lock).values())


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_names_no_address_path_or_index(lock):
    text = (ROOT / lock).read_text()
    assert "/" not in text
    assert not re.findall(r"--(?!hash=|override\b)\S+", text)


def test_the_lock_obeys_the_override():
    lines = (ROOT / "requirements-override.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins.items() <= versions("requirements.txt").items()


# What the scripts use of a machine, beside what a test puts there.
TOOLS = """
    awk bash cat dirname env find flock grep ln ls make mkdir mktemp mv rm sed sh sha256sum sort tail tee
""".split()

PYTHON = """#!/bin/sh
echo "$0 $*" | sed -n '/ -m /p' >>"{log}"
case "$1 $2" in
    "-c "*)
        exec "{real}" -I -S -c 'import sys, sysconfig
sys.version_info, sys.executable, sysconfig.get_path = {version}, "'"$0"'", lambda name: "{headers}"
exec(sys.argv[1])' "$2" ;;
    "-m venv") {has_venv} && mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python" ;;
    "-m pip") {has_pip} || exit 1
        if [ "$3" = install ]; then mkdir -p .uv/bin && ln -s "{uv}" .uv/bin/uv; fi ;;
esac
"""

UV = """#!/bin/sh
if [ "$1" = --version ]; then echo "uv {version} (x86_64-unknown-linux-gnu)"; exit; fi
echo "uv $* CXX=$CXX" >>"{log}"
case "$1 $2" in
    "venv "*) mkdir -p .venv/bin && ln -s "{python}" .venv/bin/python ;;
    "pip sync") {sync} ;;
esac
"""


class Machine:
    """A machine of a test: PATH, a home folder, and a copy of the set-up with tiny lock files."""

    def __init__(self, folder: pathlib.Path):
        self.bin, self.home, self.repo = folder / "bin", folder / "home", folder / "a repo"
        self._stock, self._log = folder / "stock", folder / "log"
        self._tools = folder / "tools"
        self._tools.mkdir()
        self._python310 = self._stock / "python3.10"
        self.python(self._python310)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self._tools / tool).symlink_to(found)
        for name in ("scripts/setup.sh", ".ci/run", "Makefile"):
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.repo / name)
        for lock in LOCKS.values():
            (self.repo / lock).write_text(f"# {lock}\n")
        self.command(self.bin / "g++", "exit 0")

    def command(self, path: pathlib.Path, body: str) -> pathlib.Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def python(self, path, version=(3, 10, 13), headers=True, venv=True, pip=True) -> pathlib.Path:
        include = sysconfig.get_path("include") if headers else self._tools
        flags = {"has_venv": str(venv).lower(), "has_pip": str(pip).lower()}
        uv = self.uv(self._stock / "uv")
        return self.command(
            path, PYTHON.format(log=self._log, real=sys.executable, version=version, headers=include, uv=uv, **flags)
        )

    def uv(self, path, version="0.13.9", sync="exit 0") -> pathlib.Path:
        text = UV.format(version=version, log=self._log, python=self._python310, sync=sync)
        return self.command(path, text)

    def pyenv(self, version: str, **kwargs) -> pathlib.Path:
        numbers = tuple(map(int, version.split(".")))
        return self.python(self.home / ".pyenv/versions" / version / "bin/python3", numbers, **kwargs)

    def call(self, *command: str, cwd: str = ".") -> subprocess.CompletedProcess:
        environment = {"PATH": f"{self.bin}:{self._tools}", "HOME": str(self.home)}
        return subprocess.run(command, cwd=self.repo / cwd, env=environment, capture_output=True, text=True, timeout=60)

    def setup(self, *arguments: str) -> list[str]:
        """Runs the script, which has to succeed; returns what it asked of uv, venv and pip."""
        self._log.write_text("")
        result = self.call("sh", "scripts/setup.sh", *arguments)
        assert result.returncode == 0, result.stderr
        return self._log.read_text().splitlines()

    def change(self, lock: str) -> None:
        """Stands for a commit that brings another lock file."""
        (self.repo / lock).write_text("# another version\n")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


SYNC = "uv pip sync --python .venv/bin/python --require-hashes -b requirements.txt"


def test_python310_on_path_comes_first(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    python = machine.python(machine.bin / "python3.10")
    assert machine.setup() == [f"uv venv --quiet --python {python} .venv CXX=", f"{SYNC} requirements.txt CXX="]


def test_a_pyenv_shim_that_does_not_run_leads_to_the_newest_310_in_pyenvs_folder(machine):
    machine.uv(machine.bin / "uv")
    for name in ("python3.10", "python3"):
        machine.command(machine.bin / name, 'echo "pyenv: $0: command not found" >&2; exit 127')
    machine.pyenv("3.10.9")
    newest = machine.pyenv("3.10.13")
    machine.pyenv("3.12.1")
    assert machine.setup()[0] == f"uv venv --quiet --python {newest} .venv CXX="


@pytest.mark.parametrize(
    "other", [{"version": (3, 11, 2)}, {"headers": False}], ids=["another version", "no headers to build with"]
)
def test_without_a_fit_python310_uv_provides_one(machine, other):
    machine.uv(machine.bin / "uv")
    machine.python(machine.bin / "python3", **other)
    assert machine.setup()[0] == "uv venv --python-preference only-managed --python 3.10 .venv CXX="


def test_nothing_is_done_twice_and_an_extra_stays(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    assert machine.setup("dev")[-1] == f"{SYNC} requirements.txt requirements-dev.txt CXX="
    assert machine.setup("dev") == []
    assert machine.setup() == []
    assert machine.setup("gpu") == [f"{SYNC} requirements.txt requirements-dev.txt requirements-gpu.txt CXX="]
    machine.change("requirements.txt")
    assert machine.setup() == [f"{SYNC} requirements.txt requirements-dev.txt requirements-gpu.txt CXX="]


def test_an_environment_whose_python_is_gone_is_made_anew(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    machine.setup()
    (machine.repo / ".venv/bin/python").unlink()
    assert [line.split()[1] for line in machine.setup()] == ["venv", "pip"]


@pytest.mark.parametrize("end", ["exit 1", "kill -9 $PPID"], ids=["uv fails", "killed"])
def test_an_unfinished_install_is_repaired(machine, end):
    machine.pyenv("3.10.13")
    machine.uv(machine.bin / "uv")
    machine.setup()
    machine.change("requirements.txt")
    machine.uv(machine.bin / "uv", sync=f": >.venv/half; {end}")
    assert machine.call("sh", "scripts/setup.sh").returncode != 0
    machine.uv(machine.bin / "uv")
    assert [line.split()[1] for line in machine.setup()] == ["venv", "pip"]
    assert not (machine.repo / ".venv/half").exists()


@pytest.mark.parametrize("version", ["0.4.30", "not selected"])
def test_a_uv_that_is_old_or_does_not_answer_is_replaced_by_a_private_one(machine, version):
    machine.uv(machine.bin / "uv", version=version)
    python = machine.pyenv("3.10.13")
    asked = machine.setup()
    assert asked[0] == f"{python} -m venv .uv"
    assert asked[1].startswith(".uv/bin/python -m pip install ") and " uv==" in asked[1]
    assert asked[2].startswith("uv venv ")


def test_a_python_without_venv_installs_uv_with_its_pip(machine):
    python = machine.python(machine.bin / "python3", (3, 11, 2), venv=False)
    asked = machine.setup("--uv")
    assert re.fullmatch(rf"{python} -m pip install .*--target \.uv uv==\S+", asked[-1])


def test_a_python_that_cannot_install_is_passed_over_for_one_that_can(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    able = machine.pyenv("3.8.18")
    assert f"{able} -m venv .uv" in machine.setup("--uv")


def test_no_means_to_get_uv_says_what_to_install(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    result = machine.call("sh", "scripts/setup.sh")
    assert result.returncode == 1
    assert re.fullmatch(r"setup: installing uv .*\nsetup: found no uv.*Install uv or.*python3-venv.*\n", result.stderr)
    assert not (machine.repo / ".venv").exists()


def test_without_a_cpp_compiler_one_is_borrowed(machine):
    (machine.bin / "g++").unlink()
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    _, borrowed, synced = machine.setup()
    assert "--target .uv/zig" in borrowed and "ziglang==" in borrowed
    assert synced.endswith("CXX=zig c++ -target x86_64-linux-gnu")


def test_the_folder_it_is_called_from_does_not_matter(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    assert machine.call("sh", "setup.sh", cwd="scripts").returncode == 0
    assert machine.setup() == []


def test_an_unknown_argument_is_a_usage_error(machine):
    result = machine.call("sh", "scripts/setup.sh", "tests")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "'tests'" in result.stderr and "[dev] [bench] [gpu]" in result.stderr


@pytest.mark.parametrize(
    ("closing_line", "end", "status"),
    [
        ("3 passed in 0.12s", "exit 0", 0),
        ("1 failed, 2 passed, 1 warning in 61.20s (0:01:01)", 'echo "make: *** [Makefile:9: test] Error 1"; exit 2', 1),
        ("no tests ran in 0.01s", 'echo "make: *** [Makefile:9: test] Error 5"; exit 2', 5),
    ],
)
def test_ci_ends_with_pytests_line_and_status(machine, closing_line, end, status):
    machine.command(machine.bin / "make", f'[ "$*" = test ] || exit 9\necho "{closing_line}"\necho bye\n{end}')
    result = machine.call("bash", ".ci/run")
    assert (result.stdout.splitlines()[-1], result.returncode) == (closing_line, status)


def test_ci_reports_a_setup_that_fails(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    result = machine.call("bash", ".ci/run")
    assert result.returncode == 1 and "setup: found no uv" in result.stdout


def test_clean_leaves_the_models_alone(machine):
    kept = machine.repo / "runs/sample/serving/1/saved_model.pb"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    (machine.repo / "pipeline/__pycache__").mkdir(parents=True)
    assert machine.call("make", "clean").returncode == 0
    assert kept.read_text() == "weights"
    assert not (machine.repo / "pipeline/__pycache__").exists()
