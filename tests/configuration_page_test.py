"""docs/configuration.md names every configuration key with its default."""

import pathlib
import re
import types
import typing
from collections.abc import Mapping

import pytest
import yaml

from core import config
from core.section import Section
from schema import slices
from schema.task import make_task

PAGE = (pathlib.Path(__file__).resolve().parent.parent / "docs" / "configuration.md").read_text()
# key -> the other cells of its row, without the backticks around a whole cell.
ROWS = {
    cells[0].strip("`"): [cell.strip("`") for cell in cells[1:]]
    for cells in (re.split(r" *\| *", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| `"))
}
TASK = make_task(("document",), {"0": "negative", "1": "positive"})


def section_of(annotation):
    """The section that an annotation names, optional or not; None for a value."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and not isinstance(candidate, types.GenericAlias):
            if issubclass(candidate, Section):
                return candidate
    return None


def is_check(section):
    """Whether a section is that of one check of the data gate."""
    return "severity" in section.model_fields and section.model_fields.keys() <= {"max", "severity"}


def leaves(model, prefix=""):
    """Yields (key, field) for every value below a section."""
    for name, field in model.model_fields.items():
        inner = None if typing.get_origin(field.annotation) in (Mapping, tuple) else section_of(field.annotation)
        if inner is None or is_check(inner):
            yield prefix + name, field
        else:
            yield from leaves(inner, f"{prefix}{name}.")


FIELDS = dict(leaves(config.Config))
# Free names below these: the page explains them in text and in tables of their own.
EXPLAINED = {"name", "gates.model", "gates.slices", "kubeflow.components"}
PODS = {key for key in FIELDS if key.startswith("kubeflow.defaults.")}


@pytest.mark.parametrize("key", sorted(FIELDS.keys() - EXPLAINED - PODS))
def test_a_key_has_a_row_with_its_default(key):
    field, cells = FIELDS[key], ROWS[key]
    if isinstance(field.default, Section):
        bound = getattr(field.default, "max", None)
        assert cells == ["" if bound is None else str(bound), field.default.severity]
    elif field.is_required():
        assert cells[0] == "required"
    elif key == "data.schema_file":
        assert field.default.endswith(cells[0])
    elif key == "data.labels":
        assert {str(value): name for value, name in yaml.safe_load(cells[0]).items()} == field.default
    else:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        shown = yaml.safe_load(cells[0])
        assert (float(shown) if isinstance(default, float) else shown) == default


def test_the_page_has_no_other_keys():
    sections = "|".join(config.Config.model_fields)
    keys = {key for key in ROWS if re.match(rf"({sections})\.", key)}
    assert keys == (FIELDS.keys() - EXPLAINED - PODS) | {f"gates.model.{name}" for name in TASK.evaluation_metrics}


@pytest.mark.parametrize("name", TASK.evaluation_metrics)
def test_a_metric_has_a_row_with_its_bounds(name):
    *bounds, severity = ROWS[f"gates.model.{name}"]
    shown = yaml.safe_load("{" + ", ".join(filter(None, bounds)) + "}")
    assert shown == TASK.default_bounds.get(name, {}) and severity == "fail"


def test_slices_and_their_default_bound_are_named():
    assert all(f"`{name}`" in PAGE for name in slices.NAMES)
    (shown,) = re.findall(r"`gates.slices.default` applies to every slice: `(.*?)`", PAGE)
    assert yaml.safe_load(shown) == TASK.default_slice_bound


def test_the_settings_of_a_pod_are_named():
    named = {word for key in ROWS for word in re.findall(r"\w+", key) if "." not in key}
    assert {key.removeprefix("kubeflow.defaults.") for key in PODS} <= named
