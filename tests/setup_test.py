"""The set-up: the lock files agree with setup.py, and scripts/setup.sh works on unusual machines.

The real script runs in a temporary folder, with a PATH of a few real tools and fakes of uv and Python. A fake Python is
this interpreter with another version number; the fake uv logs its arguments.
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
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.e2e

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXTRAS = ("dev", "bench", "onnx", "gpu")
# The Pythons of each set of versions.
PYTHONS = {"current": ("3.11", "3.12", "3.13"), "old": ("3.10",)}
# The Python and the set that run these tests.
RUNNING = "{}.{}".format(*sys.version_info)
INSTALLED = "old" if sys.version_info < (3, 11) else "current"
LOCKS = [f"requirements/{name}/{extra}.txt" for name in PYTHONS for extra in ("base", *EXTRAS)]


def entries(lock: str, python: str) -> dict[str, str]:
    """Returns canonical name -> text of the packages in a lock file that are for a Python on Linux."""
    text = (ROOT / lock).read_text()
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    blocks = {}
    for block in re.findall(r"^(\S+==.*(?:\n[ ]+.*)*)", text, flags=re.MULTILINE):
        requirement = Requirement(block.splitlines()[0].rstrip(" \\"))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert canonicalize_name(requirement.name) not in blocks, requirement
            blocks[canonicalize_name(requirement.name)] = block
    return blocks


def versions(lock: str, python: str = RUNNING) -> dict[str, str]:
    return {name: block.split("==")[1].split()[0] for name, block in entries(lock, python).items()}


@pytest.fixture
def metadata(monkeypatch):
    """The arguments that setup.py passes to setuptools."""
    captured = {}
    monkeypatch.setattr(setuptools, "setup", lambda **kwargs: captured.update(kwargs))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return captured


EACH_PYTHON = [(name, python) for name, pythons in PYTHONS.items() for python in pythons]


@pytest.mark.parametrize(("name", "python"), EACH_PYTHON)
@pytest.mark.parametrize("extra", ["base", *EXTRAS])
def test_direct_dependencies_are_locked_at_their_version(metadata, extra, name, python):
    wanted = metadata["install_requires"] + metadata["extras_require"].get(extra, [])
    locked = versions(f"requirements/{name}/{extra}.txt", python)
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            locked_version = locked.get(canonicalize_name(requirement.name))
            assert str(requirement.specifier) == f"=={locked_version}", requirement


def test_the_package_allows_the_pythons_of_both_sets(metadata):
    allowed = SpecifierSet(metadata["python_requires"])
    pythons = [f"3.{minor}" for minor in range(8, 16)]
    assert [python for python in pythons if python in allowed] == [*PYTHONS["old"], *PYTHONS["current"]]


def test_every_folder_with_code_is_packaged(metadata):
    names = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    folders = {path.parent.relative_to(ROOT) for name in names for path in ROOT.glob(f"{name}/**/*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(metadata["packages"])


@pytest.mark.parametrize(("name", "python"), EACH_PYTHON)
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_only_adds_packages_to_the_base(extra, name, python):
    base, extended = (versions(f"requirements/{name}/{lock}.txt", python) for lock in ("base", extra))
    assert base.items() < extended.items()


@pytest.mark.parametrize("name", PYTHONS)
def test_the_gpu_extra_contains_the_cuda_libraries(name):
    assert any(package.startswith("nvidia-cudnn") for package in versions(f"requirements/{name}/gpu.txt", "3.10"))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes(lock):
    blocks = re.findall(r"^(\S+==.*(?:\n[ ]+.*)*)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    assert len(blocks) > 200
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_contains_no_url_path_or_index(lock):
    text = re.sub(r"--override requirements/\S+\.txt|-c requirements/\S+\.txt", "", (ROOT / lock).read_text())
    assert "/" not in text
    assert not re.findall(r"--(?!hash=)\S+", text)


@pytest.mark.parametrize(("name", "python"), EACH_PYTHON)
def test_the_lock_has_the_versions_of_the_override(name, python):
    lines = (ROOT / f"requirements/{name}/override.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins.items() <= versions(f"requirements/{name}/base.txt", python).items()


# The tools that the scripts use, besides those that a test provides.
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
    "venv --quiet") mkdir -p .venv/bin && ln -s "$4" .venv/bin/python ;;
    "venv --python-preference") mkdir -p .venv/bin && ln -s "{stock}/python$5" .venv/bin/python ;;
    "pip sync") {sync} ;;
esac
"""


class Machine:
    """A simulated machine: PATH, a home folder, and a copy of the set-up with tiny lock files."""

    def __init__(self, folder: pathlib.Path):
        self.bin, self.home, self.repo = folder / "bin", folder / "home", folder / "a repo"
        self._stock, self._log = folder / "stock", folder / "log"
        self._tools = folder / "tools"
        self._tools.mkdir()
        for version in ((3, 10, 19), (3, 12, 12)):  # for uv to download
            self.python(self._stock / f"python3.{version[1]}", version)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self._tools / tool).symlink_to(found)
        for name in ("scripts/setup.sh", ".ci/run", "Makefile"):
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.repo / name)
        for lock in LOCKS:
            (self.repo / lock).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / lock).write_text(f"tensorflow==2.{lock.count('old')}.7 \\\ntfx==1.{lock.count('old')}.9 \\\n")
        self.command(self.bin / "g++", "exit 0")
        self.glibc("2.36")

    def command(self, path: pathlib.Path, body: str) -> pathlib.Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def glibc(self, version: str) -> None:
        self.command(self.bin / "getconf", f'[ "$*" = GNU_LIBC_VERSION ] && echo "glibc {version}"')

    def python(self, path, version=(3, 10, 13), headers=True, venv=True, pip=True) -> pathlib.Path:
        include = sysconfig.get_path("include") if headers else self._tools
        flags = {"has_venv": str(venv).lower(), "has_pip": str(pip).lower()}
        uv = self.uv(self._stock / "uv")
        return self.command(
            path, PYTHON.format(log=self._log, real=sys.executable, version=version, headers=include, uv=uv, **flags)
        )

    def uv(self, path, version="0.13.9", sync="exit 0") -> pathlib.Path:
        text = UV.format(version=version, log=self._log, stock=self._stock, sync=sync)
        return self.command(path, text)

    def pyenv(self, version: str, **kwargs) -> pathlib.Path:
        numbers = tuple(map(int, version.split(".")))
        return self.python(self.home / ".pyenv/versions" / version / "bin/python3", numbers, **kwargs)

    def call(self, *command: str, cwd: str = ".") -> subprocess.CompletedProcess:
        environment = {"PATH": f"{self.bin}:{self._tools}", "HOME": str(self.home)}
        return subprocess.run(command, cwd=self.repo / cwd, env=environment, capture_output=True, text=True, timeout=60)

    def setup(self, *arguments: str) -> list[str]:
        """Runs the script, which must succeed; returns its calls of uv, venv and pip."""
        self._log.write_text("")
        result = self.call("sh", "scripts/setup.sh", *arguments)
        assert result.returncode == 0, result.stderr
        return self._log.read_text().splitlines()

    def change(self, lock: str) -> None:
        """Changes a lock file, as a commit would."""
        (self.repo / lock).write_text("# another version\n")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def sync(*extras: str, name: str = "old") -> str:
    """Returns the call of uv that installs the base and some extras of a set."""
    locks = " ".join(f"requirements/{name}/{extra}.txt" for extra in ("base", *extras))
    return f"uv pip sync --python .venv/bin/python --require-hashes -b requirements/{name}/base.txt {locks} CXX="


def test_python310_on_path_comes_first(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    python = machine.python(machine.bin / "python3.10")
    assert machine.setup() == [f"uv venv --quiet --python {python} .venv CXX=", sync()]


def test_if_a_pyenv_shim_does_not_run_the_newest_310_of_pyenv_is_used(machine):
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
def test_without_a_suitable_python310_uv_provides_one(machine, other):
    machine.uv(machine.bin / "uv")
    machine.python(machine.bin / "python3", **other)
    assert machine.setup()[0] == "uv venv --python-preference only-managed --python 3.10 .venv CXX="


def test_nothing_is_done_twice_and_extras_are_kept(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    assert machine.setup("dev")[-1] == sync("dev")
    assert machine.setup("dev") == []
    assert machine.setup() == []
    assert machine.setup("gpu") == [sync("dev", "gpu")]
    machine.change("requirements/current/base.txt")
    assert machine.setup() == []
    machine.change("requirements/old/base.txt")
    assert machine.setup() == [sync("dev", "gpu")]


@pytest.mark.parametrize(
    ("glibc", "name"), [("2.38", "old"), ("2.39", "current"), ("2.41", "current"), ("3.0", "current")]
)
def test_glibc_selects_the_set_and_the_first_line_names_it(machine, glibc, name):
    machine.uv(machine.bin / "uv")
    machine.glibc(glibc)
    for version in ("3.10.13", "3.12.1"):
        machine.pyenv(version)
    line = machine.call("sh", "scripts/setup.sh").stderr.splitlines()[0]
    reason, packages = {
        "old": (f"glibc {glibc} is older than 2.39", "TFX 1.1, TensorFlow 2.1, Python 3.10"),
        "current": (f"glibc {glibc}", "TFX 1.0, TensorFlow 2.0, Python 3.12"),
    }[name]
    assert line == f"setup: {name} versions ({reason}): {packages}"
    assert machine.setup("dev") == [sync("dev", name=name)]


def test_without_glibc_the_set_is_the_old_one(machine):
    machine.uv(machine.bin / "uv")
    machine.command(machine.bin / "getconf", 'echo "getconf: GNU_LIBC_VERSION: unknown variable" >&2; exit 1')
    assert machine.call("sh", "scripts/setup.sh").stderr.startswith("setup: old versions (no glibc found): ")


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [(["3.11.7", "3.12.1", "3.13.0"], "3.12.1"), (["3.11.7", "3.13.0"], "3.13.0"), (["3.10.13", "3.11.7"], "3.11.7")],
)
def test_the_current_set_prefers_312_then_313(machine, installed, chosen):
    machine.uv(machine.bin / "uv")
    machine.glibc("2.41")
    pythons = {version: machine.pyenv(version) for version in installed}
    assert machine.setup()[0] == f"uv venv --quiet --python {pythons[chosen]} .venv CXX="


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 1)])
def test_without_a_python_of_the_current_set_uv_provides_312(machine, version):
    machine.uv(machine.bin / "uv")
    machine.glibc("2.41")
    machine.python(machine.bin / "python3", version)
    assert machine.setup()[0] == "uv venv --python-preference only-managed --python 3.12 .venv CXX="


def test_a_change_of_the_set_recreates_the_environment_with_its_extras(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    python = machine.pyenv("3.13.0")
    machine.setup("dev")
    machine.glibc("2.41")
    assert machine.setup() == [f"uv venv --quiet --python {python} .venv CXX=", sync("dev", name="current")]
    assert machine.setup() == []


def test_an_environment_without_its_python_is_recreated(machine):
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
    machine.change("requirements/old/base.txt")
    machine.uv(machine.bin / "uv", sync=f": >.venv/half; {end}")
    assert machine.call("sh", "scripts/setup.sh").returncode != 0
    machine.uv(machine.bin / "uv")
    assert [line.split()[1] for line in machine.setup()] == ["venv", "pip"]
    assert not (machine.repo / ".venv/half").exists()


@pytest.mark.parametrize("version", ["0.4.30", "not selected"])
def test_a_uv_that_is_old_or_broken_is_replaced_by_a_private_one(machine, version):
    machine.uv(machine.bin / "uv", version=version)
    python = machine.pyenv("3.10.13")
    calls = machine.setup()
    assert calls[0] == f"{python} -m venv .uv"
    assert calls[1].startswith(".uv/bin/python -m pip install ") and " uv==" in calls[1]
    assert calls[2].startswith("uv venv ")


def test_a_python_without_venv_installs_uv_with_its_pip(machine):
    python = machine.python(machine.bin / "python3", (3, 11, 2), venv=False)
    calls = machine.setup("--uv")
    assert re.fullmatch(rf"{python} -m pip install .*--target \.uv uv==\S+", calls[-1])


def test_a_python_that_cannot_install_uv_is_skipped(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    able = machine.pyenv("3.8.18")
    assert f"{able} -m venv .uv" in machine.setup("--uv")


def test_without_a_way_to_install_uv_the_message_names_what_to_install(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    result = machine.call("sh", "scripts/setup.sh")
    assert result.returncode == 1
    _, installing, reason = result.stderr.splitlines()
    assert installing.startswith("setup: installing uv ")
    assert re.fullmatch("setup: found no uv.*Install uv or.*python3-venv.*", reason)
    assert not (machine.repo / ".venv").exists()


def test_without_a_cpp_compiler_zig_is_used(machine):
    (machine.bin / "g++").unlink()
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    _, zig, synced = machine.setup()
    assert "--target .uv/zig" in zig and "ziglang==" in zig
    assert synced.endswith("CXX=zig c++ -target x86_64-linux-gnu")


def test_the_script_can_be_called_from_any_folder(machine):
    machine.uv(machine.bin / "uv")
    machine.pyenv("3.10.13")
    assert machine.call("sh", "setup.sh", cwd="scripts").returncode == 0
    assert machine.setup() == []


def test_an_unknown_argument_is_a_usage_error(machine):
    result = machine.call("sh", "scripts/setup.sh", "tests")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "'tests'" in result.stderr and "[dev] [bench] [onnx] [gpu]" in result.stderr


@pytest.mark.parametrize(
    ("closing_line", "end", "status"),
    [
        ("3 passed in 0.12s", "exit 0", 0),
        ("1 failed, 2 passed, 1 warning in 61.20s (0:01:01)", 'echo "make: *** [Makefile:9: test] Error 1"; exit 2', 1),
        ("no tests ran in 0.01s", 'echo "make: *** [Makefile:9: test] Error 5"; exit 2', 5),
    ],
)
def test_ci_ends_with_pytests_line_and_status(machine, closing_line, end, status):
    machine.command(machine.bin / "make", f'[ "$*" = test ] || exit 0\necho "{closing_line}"\necho bye\n{end}')
    result = machine.call("bash", ".ci/run")
    assert (result.stdout.splitlines()[-1], result.returncode) == (closing_line, status)


def test_ci_fails_if_only_the_style_is_wrong(machine):
    machine.command(machine.bin / "make", '[ "$*" = test ] || exit 2\necho "3 passed in 0.12s"')
    result = machine.call("bash", ".ci/run")
    assert (result.stdout.splitlines()[-1], result.returncode) == ("3 passed in 0.12s", 2)


def test_ci_reports_a_setup_that_fails(machine):
    machine.python(machine.bin / "python3", (3, 11, 2), venv=False, pip=False)
    result = machine.call("bash", ".ci/run")
    assert result.returncode == 1 and "setup: found no uv" in result.stdout


def test_clean_keeps_the_models(machine):
    kept = machine.repo / "runs/sample/serving/1/saved_model.pb"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    (machine.repo / "pipeline/__pycache__").mkdir(parents=True)
    assert machine.call("make", "clean").returncode == 0
    assert kept.read_text() == "weights"
    assert not (machine.repo / "pipeline/__pycache__").exists()
