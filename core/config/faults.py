"""Error messages for a configuration that pydantic rejects."""

import difflib
from typing import Any, Iterator, Mapping, Sequence, Union, get_args, get_origin

import pydantic

from core.config.sections import Config
from core.section import Section

# Matches any key in a path, such as a metric under `gates.model` or an index in a list.
_ANY = "*"
# A key in more sections than this is too ambiguous for a suggestion.
_MAX_SUGGESTIONS = 3


def describe_faults(error: pydantic.ValidationError, section: str = "") -> str:
    """Describes all faults in one line; the arguments are those of `list_faults`."""
    return "; ".join(list_faults(error, section))


def list_faults(error: pydantic.ValidationError, section: str = "") -> list[str]:
    """Describes each fault.

    Args:
      error: raised by validating a configuration, or one section of it.
      section: name of that section; empty for a whole configuration.
    """
    prefix = (section,) if section else ()
    return [_describe({**fault, "loc": (*prefix, *fault["loc"])}) for fault in error.errors()]


def _describe(fault: Mapping[str, Any]) -> str:
    """Returns one pydantic error as `data.dev_fraction = 1.5: should be less than 1`."""
    path = [str(part) for part in fault["loc"]]
    field = ".".join(path)
    message = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if fault["type"] == "extra_forbidden":
        return f"{field}: no such key{_suggest(path)}"
    if fault["type"] == "missing":
        return f"{field}: missing"
    if isinstance(fault["input"], (Mapping, Section)):
        return f"{field}: {message}" if field else message
    given = "null" if fault["input"] is None else repr(fault["input"])
    return f"{field} = {given}: {message}"


def _suggest(path: Sequence[str]) -> str:
    """Suggests the key that was meant: the same one in another section, or one with a similar name."""
    *section, key = path
    keys = list(_keys(Config))
    siblings = [name for *parents, name in keys if _match(parents, section)]
    elsewhere = [".".join(each) for each in keys if each[-1] == key and _ANY not in each]
    similar = [".".join((*section, name)) for name in difflib.get_close_matches(key, siblings, _MAX_SUGGESTIONS)]
    if 0 < len(elsewhere) <= _MAX_SUGGESTIONS:
        similar = elsewhere
    if similar:
        return f"; did you mean {' or '.join(similar)}?"
    return f"; available: {', '.join(siblings)}" if siblings else ""


def _keys(section: type[Section], parents: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the path of every key of a section, and of the sections in it."""
    for name, field in section.model_fields.items():
        yield (*parents, name)
        any_key = () if get_origin(field.annotation) in (None, Union) else (_ANY,)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type(Section)):
                yield from _keys(kind, (*parents, name, *any_key))


def _match(parents: Sequence[str], section: Sequence[str]) -> bool:
    return len(parents) == len(section) and all(map(lambda known, name: known in (_ANY, name), parents, section))
