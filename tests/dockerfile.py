"""Builds a Dockerfile without an engine: executes its steps in plain folders, as far as possible.

The file system of a stage is a folder. This machine's own programs and Python replace the base images, so programs
that those lack are not noticed. Layers, caches and the network of a build are not modelled. RUN steps and commands in
the image are contained: they run in separate namespaces, with the folder as `/` and this machine's programs read-only
in it. If a machine does not allow namespaces, absolute paths are translated to paths under the folder instead.

The stage that installs the packages is never contained: uv's cache is outside, so that gigabytes would have to be
copied instead of hard-linked.
"""

import dataclasses
import functools
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Callable, Iterator, Mapping, NamedTuple, Optional

# Folders of this machine's programs and libraries, and of the kernel.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", sys.base_prefix)
_KERNEL = ("/dev", "/proc")

# $1 root, $2 chroot's options for the user; then the folders to mount, `--`, and the command.
_CONTAIN = """
set -e
root=$1 user=$2
shift 2
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    case $1 in /dev | /proc) ;; *) mount -o remount,bind,ro "$root$1" ;; esac
    shift
done
shift
exec chroot $user "$root" "$@"
"""

# With an empty uv cache the installation takes minutes.
_STEP_S = 1800

# Settings of this machine that are needed to reach the package index.
_INDEX_SETTINGS = re.compile(r"(PIP|UV|SSL|REQUESTS|https?|no)_.*", re.IGNORECASE)


class BuildError(Exception):
    """A step failed that would fail with an engine, too."""


class Step(NamedTuple):
    """An instruction of a Dockerfile: its name, its flags (`--from=x`) and the rest of the line."""

    word: str
    flags: Mapping[str, str]
    rest: str


class Stage(NamedTuple):
    """A FROM, whose argument is not expanded yet, and the steps after it."""

    base: str
    name: str
    steps: list[Step]


def read(text: str) -> tuple[list[Step], list[Stage]]:
    """Returns a Dockerfile's steps before the first FROM, and its stages; one without a name is named by its number."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    first, stages = [], []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        word, flags, rest = re.fullmatch(r"\s*(\w+)\s+((?:--\S+\s+)*)(.*?)\s*", line).groups()
        step = Step(word.upper(), dict(flag[2:].split("=", 1) for flag in flags.split()), rest)
        if step.word == "FROM":
            base, name = re.fullmatch(r"(\S+)(?:\s+(?i:AS)\s+(\S+))?", rest).groups()
            stages.append(Stage(base, name or str(len(stages)), []))
        else:
            (stages[-1].steps if stages else first).append(step)
    return first, stages


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Expands variables as Docker does: `$name`, `${name}`, `${name:-word}`, `${name:+word}`."""

    def value(match: re.Match) -> str:
        content = variables.get(match[1] or match[2], "")
        if match[3] == "+":
            return match[4] if content else ""
        return content or match[4] or ""

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})", value, text)


class Ignore:
    """The patterns of a .dockerignore; the last one that matches a path or its parent decides."""

    def __init__(self, text: str):
        lines = [line.strip() for line in text.splitlines()]
        patterns = [line for line in lines if line and not line.startswith("#")]
        self._patterns = [(pattern.startswith("!"), _regex(pattern.lstrip("!"))) for pattern in patterns]
        self._exceptions = [pattern[1:] for pattern in patterns if pattern.startswith("!")]

    def excludes(self, path: str) -> bool:
        """Whether a path, relative to the context and with slashes, is excluded."""
        out = False
        for exception, regex in self._patterns:
            if regex.fullmatch(path):
                out = not exception
        return out

    def files(self, context: pathlib.Path) -> Iterator[pathlib.Path]:
        """Yields the files that are sent to the builder, relative to the context."""
        for folder, folders, names in os.walk(context):
            relative = pathlib.Path(folder).relative_to(context)
            folders[:] = [name for name in folders if self._may_contain(str(relative / name))]
            yield from (relative / name for name in names if not self.excludes(str(relative / name)))

    def _may_contain(self, folder: str) -> bool:
        return not self.excludes(folder) or any(name.startswith(f"{folder}/") for name in self._exceptions)


def _regex(pattern: str) -> re.Pattern:
    translated = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    return re.compile("".join(translated.get(part) or re.escape(part) for part in parts) + "(/.*)?")


@functools.cache
def namespaces() -> bool:
    """Whether this user can create mount namespaces on this machine."""
    command = [*_unshare(), "sh", "-c", "mount --rbind /usr /usr && mount -o remount,bind,ro /usr && chroot / true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


@dataclasses.dataclass
class Image:
    """The result of a stage."""

    root: pathlib.Path
    env: dict[str, str]
    workdir: str = "/"
    user: str = "0:0"
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    # Values of ARG in the steps.
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    contained: bool = dataclasses.field(default_factory=namespaces)

    def path(self, path: str) -> pathlib.Path:
        """Returns the path on this machine of a path in the image."""
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def run(self, *command: str, env: Optional[Mapping[str, str]] = None) -> subprocess.CompletedProcess:
        """Runs a command as in a container: only with the user, folder and environment of this image.

        Args:
          *command: program and arguments.
          env: additional variables.
        """
        inside = self._contain if self.contained else self._map
        return subprocess.run(inside(command, env or {}), capture_output=True, text=True, timeout=_STEP_S)

    def _contain(self, command: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
        # A user namespace has only one user.
        user = f"--userspec={self.user} --groups=" if os.geteuid() == 0 else ""
        folders = [folder for folder in dict.fromkeys((*_PROGRAMS, *_KERNEL)) if os.path.isdir(folder)]
        start = [*_unshare(), "sh", "-c", _CONTAIN, "sh", str(self.root), user, *folders, "--"]
        return [*start, "env", "-i", f"--chdir={self.workdir}", *_pairs({**self.env, **env}), *command]

    def _map(self, command: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
        own = {name: self._mapped(value) for name, value in self.env.items()}
        start = ["env", "-i", f"--chdir={self.path('.')}", *_pairs({**own, **env})]
        return [*start, *map(self._mapped, command)]

    def _mapped(self, text: str) -> str:
        """Translates absolute paths to paths under the folder, except those of this machine's programs."""
        own = "|".join(re.escape(f"{folder.strip('/')}") for folder in (*_PROGRAMS, *_KERNEL, str(self.root)))
        return re.sub(rf"(?<![\w./-])/(?!({own})\b)(?=\w)", f"{self.root}/", text)


def _pairs(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


class Build:
    """One `docker build`.

    Attributes:
      installs: names of the stages that are not contained.
    """

    def __init__(self, context: pathlib.Path, folder: pathlib.Path, installs: tuple[str, ...] = (), **arguments: str):
        first, stages = read((context / "Dockerfile").read_text())
        self._context, self._folder, self.installs = context, folder, installs
        self._stages = {stage.name: stage for stage in stages}
        self._arguments, self._unused = arguments, set(arguments)
        self._global = dict(self._argument(step.rest, {}) for step in first)
        ignore = Ignore((context / ".dockerignore").read_text())
        self._files = sorted(ignore.files(context))

    def image(self, name: Optional[str] = None) -> Image:
        """Builds a stage (default: the last one) and those that it needs.

        Raises:
          BuildError: a step failed; the message has the step and its output.
        """
        stage = self._stage(name or list(self._stages)[-1])
        base = expand(stage.base, self._global)
        if base in self._stages:
            image = self.image(base)  # Shares the folder, because no other stage starts from it.
        else:
            image = self._base(stage.name)
        image.arguments = {}
        for step in stage.steps:
            self._executor(step.word)(image, step)
        if not name and self._unused:
            raise BuildError(f"--build-arg {', '.join(sorted(self._unused))}: no ARG of this name")
        return image

    def _stage(self, name: str) -> Stage:
        if name not in self._stages:
            raise BuildError(f"--from={name}: no stage of this name")
        return self._stages[name]

    def _executor(self, word: str) -> Callable[[Image, Step], None]:
        executors = {"ARG": self._arg, "COPY": self._copy, "ENV": self._env, "LABEL": self._label, "RUN": self._run}
        executors.update({"USER": self._user, "WORKDIR": self._workdir})
        if word not in executors:
            raise BuildError(f"{word}: not a supported instruction")
        return executors[word]

    def _base(self, name: str) -> Image:
        root = self._folder / name
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        root.chmod(0o755)
        image = Image(root, {"PATH": f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        if name in self.installs:
            image.contained = False
        return image

    def _argument(self, text: str, inherited: Mapping[str, str]) -> tuple[str, str]:
        name, _, default = text.partition("=")
        self._unused.discard(name)
        return name, self._arguments.get(name, inherited.get(name, default))

    def _expanded(self, image: Image, text: str) -> str:
        return expand(text, {**image.arguments, **image.env})

    def _arg(self, image: Image, step: Step) -> None:
        name, value = self._argument(step.rest, self._global)
        image.arguments[name] = self._expanded(image, value)

    def _env(self, image: Image, step: Step) -> None:
        image.env.update(self._words(image, step.rest))

    def _label(self, image: Image, step: Step) -> None:
        image.labels.update(self._words(image, step.rest))

    def _words(self, image: Image, text: str) -> dict[str, str]:
        return dict(self._expanded(image, word).split("=", 1) for word in shlex.split(text))

    def _user(self, image: Image, step: Step) -> None:
        image.user = self._expanded(image, step.rest)

    def _workdir(self, image: Image, step: Step) -> None:
        image.workdir = os.path.join(image.workdir, self._expanded(image, step.rest))
        _make_folder(image.path("."))

    def _run(self, image: Image, step: Step) -> None:
        env = {name: value for name, value in image.arguments.items() if value}
        if not image.contained:
            # The caches of pip and uv are in the home folder.
            env.update({name: value for name, value in os.environ.items() if _INDEX_SETTINGS.fullmatch(name)})
            env.update({"HOME": os.path.expanduser("~"), "PATH": image.env["PATH"]})
        result = image.run("sh", "-c", step.rest, env=env)
        if result.returncode:
            raise BuildError(f"RUN {step.rest}: status {result.returncode}\n{result.stdout}{result.stderr}")

    def _copy(self, image: Image, step: Step) -> None:
        *sources, target = (self._expanded(image, word) for word in shlex.split(step.rest))
        into = image.path(target)
        _make_folder(into.parent)
        for source in sources:
            if "from" in step.flags:
                _move(self.image(step.flags["from"]).path(source), into)
            else:
                self._copy_context(source, into, target.endswith("/"), step.flags.get("chmod"))

    def _copy_context(self, source: str, target: pathlib.Path, into_folder: bool, mode: Optional[str]) -> None:
        relative = pathlib.PurePosixPath(source)
        files = [file for file in self._files if file == relative or relative in file.parents]
        if not files:
            raise BuildError(f"COPY {source}: not in the build context, or excluded by .dockerignore")
        for file in files:
            inside = pathlib.Path(file.name if into_folder else "") if file == relative else file.relative_to(relative)
            self._copy_file(file, target / inside, mode)

    def _copy_file(self, file: pathlib.Path, target: pathlib.Path, mode: Optional[str]) -> None:
        """Copies one file with the mode of the step, by default that of a checkout with the strictest umask."""
        _make_folder(target.parent, int(mode or "700", 8))
        shutil.copyfile(self._context / file, target)
        target.chmod(int(mode or "600", 8))


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves files between stages instead of copying them: they are gigabytes, and the other stage is finished."""
    if not source.exists():
        raise BuildError(f"COPY --from: {source}: not in that stage")
    os.rename(source, target)


def _make_folder(path: pathlib.Path, mode: int = 0o755) -> None:
    """Creates a folder and its parents with a mode, independent of the umask."""
    for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        folder.mkdir()
        folder.chmod(mode)
