"""Notifications of a run's outcome: a request to a webhook, or a command."""

import json
import logging
import os
import re
import string
import subprocess
from typing import Any, Iterator, Mapping

import requests

from components.run_report.summary import find_reason
from core import web
from core.checks import Check
from core.config import NotifyConfig
from core.errors import UserError

_COMMAND_TIMEOUT_S = 60


def check(config: NotifyConfig) -> None:
    """Checks at the start of a run what would fail at its end.

    Raises:
      UserError: an environment variable that the configuration names is not set.
    """
    for key, text in _secrets(config):
        _expand(key, text)


def notify(config: NotifyConfig, summary: Mapping[str, Any]) -> list[str]:
    """Sends the notifications of a run. A failure never changes the run's outcome.

    Args:
      config: the section `notify`.
      summary: the content of `summary.json`.

    Returns:
      A message for each notification that failed.
    """
    if summary["status"] not in config.on:
        return []
    problems = []
    for key, send in (("webhook", _call_webhook), ("command", _run_command)):
        if getattr(config, key):
            try:
                send(config, summary)
            except (UserError, requests.RequestException, OSError, subprocess.SubprocessError) as error:
                problems.append(f"notify.{key}: {_describe(error)}; nobody was notified of this run")
    for problem in problems:
        logging.warning("%s", problem)
    return problems


def make_message(summary: Mapping[str, Any]) -> str:
    """Returns the outcome in one sentence: `nsmc: not blessed: accuracy 0.6812 is 0.0188 under ...`."""
    return ": ".join(filter(None, [summary["pipeline"], summary["status"].replace("_", " "), _details(summary)]))


def make_body(template: str, summary: Mapping[str, Any]) -> str:
    """Fills in a template of a JSON document.

    Args:
      template: JSON with `$message`, `$pipeline`, `$status`, `$report`, `$model` inside strings; other dollars stay.
      summary: the content of `summary.json`.
    """
    values = {
        "message": make_message(summary),
        "pipeline": summary["pipeline"],
        "status": summary["status"],
        "report": summary["report_path"] or "",
        "model": summary["pushed_path"] or "",
    }
    escaped = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    return string.Template(template).safe_substitute(escaped)


def _details(summary: Mapping[str, Any]) -> str:
    if summary["status"] == "pushed":
        accuracy = (summary["metrics"]["candidate"] or {}).get("accuracy")
        already = "nothing new, this model is already in serving: " if summary.get("already_in_serving") else ""
        return already + summary["pushed_path"] + (f" (accuracy {accuracy:.4f})" if accuracy is not None else "")
    return find_reason(summary["error"], [Check(**each) for each in summary["gates"]])


def _call_webhook(config: NotifyConfig, summary: Mapping[str, Any]) -> None:
    headers = {name: _expand(f"headers.{name}", value) for name, value in config.headers.items()}
    body = make_body(config.template, summary).encode("utf-8")
    with web.session() as session:
        address = _expand("webhook", config.webhook or "")
        response = session.post(
            address,
            data=body,
            headers={"Content-Type": "application/json", **headers},
            timeout=web.SILENCE_TIMEOUT_S,
            allow_redirects=False,  # A redirected POST would become a GET.
        )
    if not 200 <= response.status_code < 300:
        raise requests.HTTPError(response=response)


def _run_command(config: NotifyConfig, summary: Mapping[str, Any]) -> None:
    subprocess.run(
        config.command,
        input=json.dumps(summary, ensure_ascii=False).encode("utf-8"),
        check=True,
        timeout=_COMMAND_TIMEOUT_S,
        env={**os.environ, "REVIEWS_STATUS": summary["status"], "REVIEWS_MESSAGE": make_message(summary)},
    )


def _describe(error: Exception) -> str:
    """Describes a failure without the address or the headers, which contain secrets."""
    if isinstance(error, requests.RequestException):
        return web.describe(error)
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not finished after {_COMMAND_TIMEOUT_S} s"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _secrets(config: NotifyConfig) -> Iterator[tuple[str, str]]:
    if config.webhook:
        yield "webhook", config.webhook
    for name, value in config.headers.items():
        yield f"headers.{name}", value


def _expand(key: str, text: str) -> str:
    """Replaces `${NAME}` by environment variables."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UserError(f"notify.{key}: environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)
