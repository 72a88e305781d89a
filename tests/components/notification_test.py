import http.server
import json
import threading

import pytest

from components.run_report import notification
from components.run_report.summary import Summary
from core import web
from core.checks import Check
from core.config import NotifyConfig
from core.errors import UserError

PUSHED = Summary(
    "nsmc",
    "pushed",
    metrics={"candidate": {"accuracy": 0.87214}, "baseline": None},
    pushed_path="/serving/3",
    report_path="/runs/nsmc/report.html",
    versions={},
).to_json()
PASSED = Check("model", "auc", True, 0.9, 0.7, "auc 0.9 is above 0.7")
WARNED = Check("data", "drift", False, 0.9, 0.7, "lengths differ", "warn")
FAILED = [Check("model", name, False, 0.6, 0.7, f'"{name}" is too low') for name in ("accuracy", "recall")]
NOT_BLESSED = Summary("nsmc", "not_blessed", gates=[PASSED, WARNED, *FAILED], versions={}).to_json()
CRASHED = Summary("nsmc", "failed", error="Trainer: ValueError: boom", versions={}).to_json()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(web, "_BACKOFF_S", 0.02)


@pytest.fixture(name="server")
def _server():
    """A server whose `requests` are (path, headers, body), and which answers with the next of `statuses`, then 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8")
            self.server.requests.append((self.path, self.headers, body))
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests, server.statuses = [], []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (PUSHED, "nsmc: pushed: /serving/3 (accuracy 0.8721)"),
        (NOT_BLESSED, 'nsmc: not blessed: "accuracy" is too low (and 1 more failed check)'),
        (CRASHED, "nsmc: failed: Trainer: ValueError: boom"),
    ],
)
def test_message(summary, message):
    assert notification.make_message(summary) == message


def test_body_is_json_whatever_the_message_contains():
    body = notification.make_body('{"text": "[$status] $message", "price": "$5"}', NOT_BLESSED)
    assert json.loads(body) == {
        "text": '[not_blessed] nsmc: not blessed: "accuracy" is too low (and 1 more failed check)',
        "price": "$5",
    }


def test_webhook_gets_the_body_and_headers_with_secrets_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("HOOK", f"{server.address}/secret")
    monkeypatch.setenv("TOKEN", "t0k")
    config = NotifyConfig(webhook="${HOOK}", headers={"Authorization": "Bearer ${TOKEN}"})
    notification.check(config)
    assert notification.notify(config, PUSHED) == []
    ((path, headers, body),) = server.requests
    assert (path, headers["Authorization"], headers["Content-Type"]) == ("/secret", "Bearer t0k", "application/json")
    assert json.loads(body) == {"text": "nsmc: pushed: /serving/3 (accuracy 0.8721)"}


def test_only_the_configured_outcomes_are_notified(server):
    config = NotifyConfig(on=("failed",), webhook=server.address)
    assert notification.notify(config, PUSHED) == []
    assert server.requests == []
    notification.notify(config, CRASHED)
    assert len(server.requests) == 1


def test_a_request_is_repeated_after_a_short_outage(server):
    server.statuses = [503, 503]
    assert notification.notify(NotifyConfig(webhook=server.address), PUSHED) == []
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "words"), [(404, "HTTP status 404: Not Found"), (302, "HTTP status 302: Found")])
def test_an_error_of_the_webhook_is_reported_without_its_address(server, status, words):
    server.statuses = [status]
    (problem,) = notification.notify(NotifyConfig(webhook=f"{server.address}/secret"), PUSHED)
    assert problem == f"notify.webhook: {words}; nobody was notified of this run"


def test_an_unreachable_webhook_is_reported_without_its_address(server):
    server.shutdown()
    server.server_close()
    (problem,) = notification.notify(NotifyConfig(webhook=f"{server.address}/secret"), PUSHED)
    assert problem.startswith("notify.webhook: [Errno 111] Connection refused;")


def test_a_missing_variable_is_an_error_at_the_start():
    config = NotifyConfig(webhook="https://example.com/hook", headers={"Authorization": "${NO_SUCH_TOKEN}"})
    with pytest.raises(UserError, match="notify.headers.Authorization: environment variable NO_SUCH_TOKEN is not set"):
        notification.check(config)


def test_a_command_gets_the_summary_and_the_message(tmp_path):
    command = ("sh", "-c", f'cat >{tmp_path}/summary; echo "$REVIEWS_STATUS $REVIEWS_MESSAGE" >{tmp_path}/words')
    assert notification.notify(NotifyConfig(command=command), CRASHED) == []
    assert json.loads((tmp_path / "summary").read_text()) == json.loads(json.dumps(CRASHED))
    assert (tmp_path / "words").read_text() == "failed nsmc: failed: Trainer: ValueError: boom\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "exit 3"), "notify.command: exit status 3"),
        (("/no/such/program",), "notify.command: /no/such/program: No such file or directory"),
    ],
)
def test_a_failed_command_is_reported(command, words):
    (problem,) = notification.notify(NotifyConfig(command=command), PUSHED)
    assert problem == f"{words}; nobody was notified of this run"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"webhook": "ftp://host"}, "webhook"),
        ({"template": "{"}, "should be JSON"),
        ({"on": ["refused"]}, "not_blessed"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        NotifyConfig(**settings)
