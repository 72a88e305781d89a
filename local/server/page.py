"""The page at `/`, where a person types a text and sees the answer and the words that pushed it."""

import os
import secrets

from core import pages
from local.server.versions import Version

_TEMPLATE = os.path.join(os.path.dirname(__file__), "page.html.j2")


def render(name: str, version: Version) -> tuple[str, str]:
    """Renders the page for a version.

    Returns:
      The page, and its `Content-Security-Policy`: only its own script and style, and only requests to this server.
    """
    task = version.loaded.card.task
    nonce = secrets.token_urlsafe(16)
    values = {
        "nonce": nonce,
        "name": name,
        "version": version.number,
        "inputs": task.text_inputs,
        "labels": task.label_names,
        "score_range": task.score_range,
    }
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:"
    )
    return pages.render(_TEMPLATE, values), f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
