"""Loads a configuration: a YAML file, then `--set`, then the bounds that depend on the task."""

import os
import re
from typing import Any, Mapping, Sequence

import pydantic
import yaml

from core.config.faults import list_faults
from core.config.gates import AUTO_PAIRS, SliceBound
from core.config.sections import ARCHIVE_SUFFIXES, Config, DataConfig
from core.errors import UserError, did_you_mean
from schema import slices
from schema.task import Task

# Keys that hold a location; a local one is made absolute when it is read.
_LOCATIONS = (
    "beam.job_server_jar",
    "data.train",
    "data.dev",
    "data.test",
    "data.schema_file",
    "encoder.handle",
    "encoder.preprocess",
    "encoder.pretrain.continue_from",
    "encoder.pretrain.texts",
    "distill.teachers",
    "distill.texts",
    "gates.invariance.pairs",
    "serving.dir",
)

# Mappings that are replaced as a whole, not merged: what is not named should not stay.
_REPLACED = ("labels", "min_script_shares")

# Keys of `trainer` that move the probabilities away from the shares of the labels, and their values that do not.
_CALIBRATED = {"class_weights": "none", "threshold": 0.5}
_CALIBRATION = "calibration_error"

# The key under `gates.slices` that applies to every slice.
_EVERY_SLICE = "default"


def load_config(file: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and applies overrides.

    Args:
      file: path of the YAML file.
      overrides: `section.key=value` strings; the value is read as YAML.

    Returns:
      The validated configuration, with absolute local paths.

    Raises:
      UserError: the file can't be read, or a key or value is wrong; the message lists all faults.
    """
    tree = _read_yaml(file)
    _make_locations_absolute(tree, os.path.dirname(os.path.abspath(file)))
    changes = _parse_overrides(overrides)
    _make_locations_absolute(changes, os.getcwd())
    try:
        return _validate(_merge(tree, changes))
    except _Faults as error:
        raise UserError(_blame(error.faults, file, tree)) from error


class _Faults(Exception):
    """A configuration has faults."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _validate(tree: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(_add_task_bounds(tree))
    except pydantic.ValidationError as error:
        raise _Faults(list_faults(error)) from error
    except UserError as error:
        raise _Faults([str(error)]) from error


def _blame(faults: Sequence[str], file: str, tree: dict[str, Any]) -> str:
    """Says of each fault whether the file has it without `--set` too."""
    in_file: Sequence[str] = ()
    try:
        _validate(tree)
    except _Faults as error:
        in_file = error.faults
    own = "; ".join(fault for fault in faults if fault in in_file)
    return "; ".join(
        [*([f"{file}: {own}"] if own else []), *(f"--set {fault}" for fault in faults if fault not in in_file)]
    )


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            tree = yaml.safe_load(stream)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; should be a YAML file such as those in configs/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{file}: should be a mapping of sections such as `data:`, not {type(tree).__name__}")
    return tree


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["a.b=1"]` -> `{"a": {"b": 1}}`; later ones win."""
    tree: dict[str, Any] = {}
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key:
            raise UserError(f"--set {override}: should be KEY=VALUE, such as trainer.epochs=3")
        if not raw.isascii() and any("\ud800" <= letter <= "\udfff" for letter in raw):
            # Python's surrogates for invalid bytes, which JSON can't represent.
            raise UserError(f"--set {override}: the value is not UTF-8")
        try:
            value = _parse_value(raw)
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not valid YAML") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        tree = _merge(tree, value)
    return tree


def _parse_value(raw: str) -> Any:
    """Parses YAML, and `3e-5` as a number, which YAML 1.1 reads as text."""
    value = yaml.safe_load(raw)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two trees; if both have a value, `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _REPLACED:
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _add_task_bounds(tree: dict[str, Any]) -> dict[str, Any]:
    """Adds the default bounds of the task under `gates`.

    Raises:
      UserError: a metric, a slice, or a key of a metric does not exist.
    """
    try:
        data = DataConfig.model_validate(tree.get("data"))
        configured = {gate: dict(tree.get("gates", {}).get(gate, {})) for gate in ("data", "model", "slices")}
    except (pydantic.ValidationError, AttributeError, TypeError, ValueError):
        return tree  # Validating the whole tree reports it.
    task = data.make_task()
    _check_metric_bounds(configured["model"], task)
    bounds = {
        "data": {"min_label_share": task.min_label_share, **configured["data"]},
        "model": _merge(_default_bounds(task, tree.get("trainer")), configured["model"]),
        "slices": _slice_bounds(configured["slices"], task),
    }
    return {**tree, "gates": {**tree.get("gates", {}), **bounds}}


def _default_bounds(task: Task, trainer: Any) -> dict[str, Any]:
    """Returns the task's bounds of metrics; a calibration that the training moves on purpose only warns."""
    chosen = trainer if isinstance(trainer, Mapping) else {}
    is_moved = any(chosen.get(key, unmoved) != unmoved for key, unmoved in _CALIBRATED.items())
    if not is_moved or _CALIBRATION not in task.default_bounds:
        return dict(task.default_bounds)
    return _merge(task.default_bounds, {_CALIBRATION: {"severity": "warn"}})


def _check_metric_bounds(configured: Mapping[str, Any], task: Task) -> None:
    for name, bound in configured.items():
        if name not in task.evaluation_metrics:
            raise UserError(f"gates.model.{name}: no such metric{did_you_mean(name, task.evaluation_metrics)}")
        lower = task.evaluation_metrics[name].lower_is_better
        right, wrong = (("max", "max_rise"), ("min", "max_drop"))[:: 1 if lower else -1]
        low, high = task.evaluation_metrics[name].limits
        limit = bound.get(right[0]) if isinstance(bound, Mapping) else None
        if isinstance(limit, (int, float)) and not low <= limit <= high:
            raise UserError(f"gates.model.{name}.{right[0]} = {limit:g}: should be between {low:g} and {high:g}")
        for key in wrong:
            if isinstance(bound, Mapping) and bound.get(key) is not None:
                better, instead = "lower" if lower else "higher", right[wrong.index(key)]
                raise UserError(f"gates.model.{name}.{key}: {better} is better for this metric; use {instead}")


def _slice_bounds(configured: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Returns the bound of each slice: the task's default, overridden by `default`, then by the slice's own keys."""
    for name, bound in configured.items():
        if name not in (_EVERY_SLICE, *slices.NAMES):
            raise UserError(f"gates.slices.{name}: no such slice{did_you_mean(name, (_EVERY_SLICE, *slices.NAMES))}")
        if not isinstance(bound, Mapping):
            keys = ", ".join(SliceBound.model_fields)
            raise UserError(f"gates.slices.{name} = {bound!r}: should be a mapping with any of the keys {keys}")
    default = {**task.default_slice_bound, **configured.get(_EVERY_SLICE, {})}
    return {name: {**default, **configured.get(name, {})} for name in slices.NAMES}


def _make_locations_absolute(tree: dict[str, Any], folder: str) -> None:
    """Makes relative paths absolute, in place; addresses and names from the catalogue stay as they are."""
    for field in _LOCATIONS:
        *sections, key = field.split(".")
        parent: Any = tree
        for section in sections:
            parent = parent.get(section) if isinstance(parent, dict) else None
        location = parent.get(key) if isinstance(parent, dict) else None
        if isinstance(location, str) and _is_path(field, location):
            parent[key] = os.path.normpath(os.path.join(folder, os.path.expanduser(location)))
        elif isinstance(location, list):
            parent[key] = [_absolute_entry(entry, folder) for entry in location]


def _absolute_entry(entry: Any, folder: str) -> Any:
    """Makes an entry of a list absolute: a path, or the path `file` of a table."""
    if isinstance(entry, dict) and "file" in entry:
        return {**entry, "file": _absolute_entry(entry["file"], folder)}
    if isinstance(entry, str) and "://" not in entry:
        return os.path.normpath(os.path.join(folder, os.path.expanduser(entry)))
    return entry


def _is_path(field: str, location: str) -> bool:
    if "://" in location or (field == "gates.invariance.pairs" and location == AUTO_PAIRS):
        return False
    # Any other handle without a separator is a name from the catalogue.
    return (
        not field.startswith("encoder.")
        or os.sep in location
        or location.startswith(".")
        or location.endswith(ARCHIVE_SUFFIXES)
    )
