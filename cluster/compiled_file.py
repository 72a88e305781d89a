"""A compiled pipeline: its name, the digest of its content, and its run parameters."""

import dataclasses
import hashlib
import json
import re
from typing import Any, Callable, Mapping

import yaml

from cluster import ascii_text, compatibility, run_parameters
from core import escape
from core.errors import UserError

# Digits of the digest that name a version; 48 bits of SHA-256.
VERSION_DIGITS = 12

# The task that reads the data.
_READER = "tsv-example-gen"

# KFP's macros, which are replaced in some kinds of runs, but not in those of a schedule with an uploaded pipeline.
_MACRO = re.compile(r"\[\[\s*(ScheduledTime|CurrentTime|Index|RunUUID)\b[^\]]*\]\]")


@dataclasses.dataclass(frozen=True)
class CompiledFile:
    """A compiled pipeline that passed all checks.

    Attributes:
      path: of the file.
      digest: hexadecimal SHA-256 of the file.
      spec: the pipeline document.
      platform: the platform document; empty if there is none.
    """

    path: str
    digest: str
    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def version(self) -> str:
        """The name of the version: the first digits of the digest, so that the same file is the same version."""
        return self.digest[:VERSION_DIGITS]

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """The run parameters: name -> the spec's definition (`parameterType`, `defaultValue`, ...)."""
        return self.spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})

    @property
    def defaults(self) -> dict[str, Any]:
        """The default values of run parameters, without those that have none."""
        return {name: each["defaultValue"] for name, each in self.parameters.items() if "defaultValue" in each}

    def parse_parameters(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Converts parameters as users write them to the types that the pipeline declares.

        Args:
          texts: name -> text.

        Returns:
          Name -> value, of the same names; the backend fills in defaults for the others.

        Raises:
          UserError: one is not declared, has the wrong type, contains a macro, or is not allowed by the configuration;
            or one without a default is missing.
        """
        for name in texts:
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise UserError(f"parameter {name}: no such parameter in {self.path}; it has {known}")
        for name, definition in self.parameters.items():
            if name not in texts and "defaultValue" not in definition and not definition.get("isOptional"):
                raise UserError(f"parameter {name}: missing, and {self.path} has no default for it")
        values = {name: _parse(name, text, self.parameters[name]) for name, text in texts.items()}
        self._check_sections(values)
        return values

    def check_locations(self, values: Mapping[str, Any]) -> None:
        """Checks that pods would find the data; a replay also reads files of this machine.

        Raises:
          UserError: a location is neither an address nor on a volume of the task that reads it.
        """
        label = f"{_READER}_executor"
        if label not in self.spec["deploymentSpec"]["executors"]:
            return
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {})
        pod = kubernetes.get("deploymentSpec", {}).get("executors", {}).get(label, {})
        mounts = [mount["mountPath"] for mount in pod.get("pvcMount", ())]
        for parameter in run_parameters.LOCATIONS:
            location = values.get(parameter.name)
            if location is None or (parameter.optional and not location) or "://" in location:
                continue
            if not any(location.startswith(f"{mount.rstrip('/')}/") for mount in mounts):
                raise UserError(
                    f"parameter {parameter.name}: {escape.quote(location)}: should be an address, or a path on a "
                    f"volume of the task {_READER}: below {' or '.join(mounts) or '(it has none)'}"
                )

    def _check_sections(self, values: Mapping[str, Any]) -> None:
        """Raises UserError for a value that the configuration does not allow, as the task would, but hours earlier."""
        tasks = {name: task for _, dag in compatibility.dags(self.spec) for name, task in dag["tasks"].items()}
        for name, key in run_parameters.sections().items():
            inputs = tasks.get(name, {}).get("inputs", {}).get("parameters", {})
            if key in inputs:
                section = ascii_text.unescape(inputs[key]["runtimeValue"]["constant"])
                taken = {each: value for each, value in values.items() if each in inputs}
                run_parameters.merge(name, {key: section}, taken)


def read(path: str) -> CompiledFile:
    """Reads and checks a compiled file.

    Raises:
      UserError: it can't be read, or a run of it would fail.
    """
    compatibility.check_file(path)
    with open(path, "rb") as stream:
        content = stream.read()
    documents = list(yaml.safe_load_all(content))
    spec = next(document for document in documents if "pipelineInfo" in document)
    platform: Mapping[str, Any] = next((document for document in documents if "platforms" in document), {})
    return CompiledFile(path, hashlib.sha256(content).hexdigest(), spec, platform)


def _parse(name: str, text: str, definition: Mapping[str, Any]) -> Any:
    macro = _MACRO.search(text)
    if macro:
        raise UserError(
            f"parameter {name}: {macro[0]}: Kubeflow does not fill in macros in the runs of a schedule; omit the "
            "parameter: the components determine what changes from run to run, such as the newest span"
        )
    parse, wanted = _TYPES.get(definition.get("parameterType", "STRING"), (str, "text"))
    try:
        return parse(text)
    except ValueError:
        raise UserError(f"parameter {name}: {escape.quote(text)}: should be {wanted}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _json(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return parse


# Type in the pipeline spec -> parser of a text, and words for the expected value.
_TYPES: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "NUMBER_INTEGER": (int, "an integer"),
    "NUMBER_DOUBLE": (float, "a number"),
    "BOOLEAN": (_boolean, "true or false"),
    "LIST": (_json(list), "a JSON list"),
    "STRUCT": (_json(dict), "a JSON object"),
}
