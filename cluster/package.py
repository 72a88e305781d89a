"""A compiled pipeline file as a run is started from it: its name, its content's digest and its parameters."""

import dataclasses
import hashlib
import json
import re
from typing import Any, Callable, Mapping

import yaml

from cluster import compatibility
from core import escape
from core.errors import UserError

# The digits that name a version; 48 bits of SHA-256.
VERSION_DIGITS = 12

# Filled in some kinds of runs, in others left as they are; in those of a schedule with an uploaded pipeline never.
_MACRO = re.compile(r"\[\[\s*(ScheduledTime|CurrentTime|Index|RunUUID)\b[^\]]*\]\]")


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled pipeline that passed all checks.

    Attributes:
      path: of the file.
      name: of the pipeline.
      digest: hexadecimal SHA-256 of the file.
      parameters: name -> the spec's definition (`parameterType`, `defaultValue`, ...).
    """

    path: str
    name: str
    digest: str
    parameters: Mapping[str, Mapping[str, Any]]

    @property
    def version(self) -> str:
        """The name of the content, so that the same file is one version."""
        return self.digest[:VERSION_DIGITS]

    def values(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Turns parameters as a person writes them into what the pipeline declares.

        Args:
          given: name -> text.

        Returns:
          Name -> value, of those that are given; the backend fills in the others' defaults.

        Raises:
          UserError: one is not declared, not of its type, or holds a macro; or one without a default is missing.
        """
        for name in given:
            if name not in self.parameters:
                raise UserError(f"parameter {name}: {self.path} has no such one; there are {self._names()}")
        for name, definition in self.parameters.items():
            if name not in given and "defaultValue" not in definition and not definition.get("isOptional"):
                raise UserError(f"parameter {name}: missing; {self.path} has no default for it")
        return {name: _typed(name, text, self.parameters[name]) for name, text in given.items()}

    def _names(self) -> str:
        return ", ".join(sorted(self.parameters)) or "none"


def read(path: str) -> Package:
    """Reads and checks a compiled file.

    Raises:
      UserError: it can't be read, or a run of it would fail.
    """
    compatibility.check_file(path)
    with open(path, "rb") as stream:
        content = stream.read()
    spec = next(document for document in yaml.safe_load_all(content) if "pipelineInfo" in document)
    return Package(
        path,
        spec["pipelineInfo"]["name"],
        hashlib.sha256(content).hexdigest(),
        spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}),
    )


def _typed(name: str, text: str, definition: Mapping[str, Any]) -> Any:
    macro = _MACRO.search(text)
    if macro:
        raise UserError(
            f"parameter {name}: {macro[0]}: Kubeflow does not fill macros into the runs of a schedule; leave the "
            "parameter out, and the component computes what changes from run to run"
        )
    kind = definition.get("parameterType", "STRING")
    read_as, wanted = _TYPES.get(kind, (str, "text"))
    try:
        return read_as(text)
    except ValueError:
        raise UserError(f"parameter {name}: {escape.quote(text)}: should be {wanted}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _json(kind: type) -> Callable[[str], Any]:
    def read_as(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read_as


# As the pipeline spec calls them: how the text is read, and what it should be.
_TYPES: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "NUMBER_INTEGER": (int, "an integer"),
    "NUMBER_DOUBLE": (float, "a number"),
    "BOOLEAN": (_boolean, "true or false"),
    "LIST": (_json(list), "a JSON list"),
    "STRUCT": (_json(dict), "a JSON object"),
}
