"""Writes a configuration as YAML that `load_config` reads again."""

from typing import Any

import yaml

from core.config.sections import Config


def dump_config(config: Config) -> str:
    """Returns the YAML of a configuration, every key with its value.

    A webhook or a header of `notify` that contains no `${NAME}` is a secret in plain text. It is replaced by the name
    of an environment variable, such as `${NOTIFY_WEBHOOK}`, so that the file can be read by anybody and still loaded.
    """
    tree = config.model_dump(mode="json")
    notify = tree["notify"]
    notify["webhook"] = _hide("NOTIFY_WEBHOOK", notify["webhook"])
    notify["headers"] = {name: _hide(_variable(name), value) for name, value in notify["headers"].items()}
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)


def _variable(header: str) -> str:
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in header)
    return f"NOTIFY_HEADERS_{letters.upper()}"


def _hide(variable: str, value: Any) -> Any:
    return value if value is None or "${" in value else f"${{{variable}}}"
