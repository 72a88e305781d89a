"""Renders self-contained HTML pages from templates."""

import os
from typing import Any, Callable, Mapping

import jinja2

from core import escape


def render(template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] = {}) -> str:
    """Fills in a template; file names, labels and reviews are untrusted, so markup and control characters are escaped.

    Args:
      template: path of the Jinja template.
      values: its variables.
      filters: its own filters.
    """
    folder, name = os.path.split(template)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        finalize=lambda value: escape.line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name).render(values)
