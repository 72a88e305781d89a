"""A `kfp.Client` whose every failure is one sentence.

The client leaves much to its user: it has no time limits, follows the redirect of an expired session to a login page
and takes the page's HTML for an empty answer, and raises whatever its layers raise. All its requests go through one
pool of connections, so that is where they are bounded and judged.
"""

import contextlib
import io
import json
import os
import warnings
from typing import Any, Callable, Iterator, Optional

import kfp
import kfp.client
import kfp_server_api
import urllib3
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from core import escape
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig

# An answer takes milliseconds; that to an upload waits for the object store.
TIMEOUT = urllib3.Timeout(connect=10, read=60)

# A server's own words are nested messages, the outermost first.
_MESSAGE_CHARACTERS = 400


class ServerError(UserError):
    """A request that did not get what it asked for.

    Attributes:
      status: the answer's HTTP status; None where none came, so that the request may have been carried out or not.
    """

    def __init__(self, text: str, status: Optional[int] = None) -> None:
        super().__init__(text)
        self.status = status


class _Client(kfp.Client):
    """kfp's client, but its construction asks the server nothing."""

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        # The constructor would ask five times, 5 s apart, and then forget the reason. It wants to know whether to take
        # a namespace from the pod it may run in; ours is in the configuration.
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)


def connect(config: KubeflowConfig) -> kfp.Client:
    """Returns a client of the configuration's server, which is not asked anything yet.

    A token is read from the file that KF_PIPELINES_SA_TOKEN_PATH names, a cookie or a header from
    ~/.config/kfp/context.json, both as kfp has it.

    Raises:
      UserError: the file with the token can't be read.
    """
    credentials = None
    token_file = os.environ.get(kfp.client.KF_PIPELINES_SA_TOKEN_ENV)
    if token_file is not None:
        if not os.access(token_file, os.R_OK):
            raise UserError(f"{kfp.client.KF_PIPELINES_SA_TOKEN_ENV}: {token_file}: no such file, or not readable")
        credentials = ServiceAccountTokenVolumeCredentials(token_file)
    with hushed():
        client = _Client(host=config.host, namespace=config.namespace, credentials=credentials)
    pool = client._run_api.api_client.rest_client.pool_manager  # One for all of its APIs.
    pool.request = _judged(pool.request, config.host)
    return client


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keeps what kfp prints and warns of off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _judged(send: Callable[..., urllib3.HTTPResponse], host: str) -> Callable[..., urllib3.HTTPResponse]:
    def request(method: str, url: str, **options: Any) -> urllib3.HTTPResponse:
        # Not sent again by itself: after a lost answer only the caller knows whether that is safe.
        options.update(timeout=TIMEOUT, retries=False, redirect=False)
        try:
            response = send(method, url, **options)
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{host}: {_reason(error)}") from error
        fault = _fault(response, host)
        if fault is not None:
            raise ServerError(fault, response.status)
        return response

    return request


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """What became of a request that got no answer."""
    check = "check kubeflow.host, and the port-forward or VPN that it needs"
    # First, as urllib3 1.26 has it among the timeouts.
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"no connection ({_short(str(error).rpartition(': ')[2])}); {check}"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {TIMEOUT.connect_timeout} s; {check}"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"no answer within {TIMEOUT.read_timeout} s; try again, and see whether its pod ml-pipeline runs"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"its certificate or TLS is not accepted ({_short(str(error))}); check kubeflow.host"
    return f"the connection broke ({_short(str(error))}); call again"


def _fault(response: urllib3.HTTPResponse, host: str) -> Optional[str]:
    """What is wrong with an answer; None if nothing is."""
    status, message = response.status, _message(response.data)
    sign_in = (
        f"give a token in the file that {kfp.client.KF_PIPELINES_SA_TOKEN_ENV} names, or a cookie in "
        "~/.config/kfp/context.json"
    )
    told = f" ({message})" if message else ""
    if 300 <= status < 400:
        return f"{host}: sends on to {response.headers.get('Location')}, as for a login; {sign_in}"
    if status == 401:
        return f"{host}: does not know who asks{told}; {sign_in}"
    if status == 403:
        return f"{host}: forbids this{told}; ask for the right in the namespace, or change kubeflow.namespace"
    if _is_json(response.data) and status < 300:
        return None
    if message is None or status < 300:
        return (
            f"{host}: answers {status} and not with data, as a login page or another service would; check "
            f"kubeflow.host, or {sign_in}"
        )
    if status >= 500:
        return f"{host}: failed with {status}{told}; the log of its pod ml-pipeline says more"
    return f"{host}: refused with {status}: {message}"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _message(body: bytes) -> Optional[str]:
    """A server's own words about an error; None if they are a page for people, or of another service."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        content = json.loads(text)
    except ValueError:
        # The part of the server that takes uploads answers in plain text.
        return None if text.startswith("<") or not text or "not found" in text.lower() else _short(text)
    if not isinstance(content, dict):
        return None
    # Newer backends have one of these, older ones two or three with the same words; uploads the last.
    found = next((content[key] for key in ("message", "error", "error_message") if content.get(key)), "")
    return _short(str(found))


def _short(text: str) -> str:
    line = " ".join(escape.line(text).split())
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."
