"""A `kfp.Client` that reports every failure in one sentence.

kfp's client has no time limits, raises the exceptions of all its layers, and after the redirect of an expired session
takes the HTML of the login page for an empty response. All its requests go through one pool of connections, so time
limits and checks are added there.
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

# A response takes milliseconds; that to an upload waits for the object store.
TIMEOUT = urllib3.Timeout(connect=10, read=60)

# The server's messages are nested, the outermost first.
_MESSAGE_CHARACTERS = 400

_SIGN_IN = (
    f"put a token in the file that {kfp.client.KF_PIPELINES_SA_TOKEN_ENV} names, or a cookie in "
    "~/.config/kfp/context.json"
)


class ServerError(UserError):
    """A request failed.

    Attributes:
      status: HTTP status of the response; None without a response, when the request may or may not have been executed.
    """

    def __init__(self, text: str, status: Optional[int] = None) -> None:
        super().__init__(text)
        self.status = status


class _Client(kfp.Client):
    """kfp's client, constructed without sending requests."""

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        # The constructor would call the server five times, 5 s apart, and then lose the reason for the failure. It uses
        # the response only to choose a namespace, which we have in the configuration.
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)


def connect(config: KubeflowConfig) -> kfp.Client:
    """Returns a client of the configuration's server, without sending it a request.

    As in kfp, a token is read from the file that KF_PIPELINES_SA_TOKEN_PATH names, a cookie or a header from
    ~/.config/kfp/context.json.

    Raises:
      UserError: the token file can't be read.
    """
    credentials = None
    token_file = os.environ.get(kfp.client.KF_PIPELINES_SA_TOKEN_ENV)
    if token_file is not None:
        if not os.access(token_file, os.R_OK):
            raise UserError(f"{kfp.client.KF_PIPELINES_SA_TOKEN_ENV}: {token_file}: no such file, or not readable")
        credentials = ServiceAccountTokenVolumeCredentials(token_file)
    with suppress_output():
        client = _Client(host=config.host, namespace=config.namespace, credentials=credentials)
    pool = client._run_api.api_client.rest_client.pool_manager  # Shared by all of its APIs.
    pool.request = _check_responses(pool.request, config.host)
    return client


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppresses kfp's prints and warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_responses(send: Callable[..., urllib3.HTTPResponse], host: str) -> Callable[..., urllib3.HTTPResponse]:
    def request(method: str, url: str, **options: Any) -> urllib3.HTTPResponse:
        # No automatic retries: if a response is lost, only the caller can decide whether a second request is safe.
        options.update(timeout=TIMEOUT, retries=False, redirect=False)
        try:
            response = send(method, url, **options)
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{host}: {_describe_failure(error)}") from error
        fault = _response_fault(response)
        if fault is not None:
            raise ServerError(f"{host}: {fault}", response.status)
        return response

    return request


def _describe_failure(error: urllib3.exceptions.HTTPError) -> str:
    """Describes why a request got no response."""
    check = "check kubeflow.host, and the port-forward or VPN that it needs"
    # Before TimeoutError, of which it is a subclass in urllib3 1.x (kfp 2.5).
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"no connection ({_shorten(str(error).rpartition(': ')[2])}); {check}"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {TIMEOUT.connect_timeout} s; {check}"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return (
            f"no response within {TIMEOUT.read_timeout} s; try again, or check whether the pod ml-pipeline is running"
        )
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"TLS failed ({_shorten(str(error))}); check kubeflow.host and the server's certificate"
    return f"connection lost ({_shorten(str(error))}); try again"


def _response_fault(response: urllib3.HTTPResponse) -> Optional[str]:
    """Describes the fault of a response; None if it has none."""
    status, message = response.status, _error_message(response.data)
    details = f" ({message})" if message else ""
    if 300 <= status < 400:
        return f"{status}: redirected to {response.headers.get('Location')}, probably a login; {_SIGN_IN}"
    if status == 401:
        return f"401: not authenticated{details}; {_SIGN_IN}"
    if status == 403:
        return f"403: forbidden{details}; request access to the namespace, or change kubeflow.namespace"
    if _is_json(response.data) and status < 300:
        return None
    if message is None or status < 300:
        return f"{status}: not a response of Kubeflow Pipelines; check kubeflow.host, or for a login page {_SIGN_IN}"
    if status >= 500:
        return f"{status}: server error{details}; see the log of the pod ml-pipeline"
    return f"{status}: {message}"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _error_message(body: bytes) -> Optional[str]:
    """Returns the server's error message; None if the response is a web page, or comes from another service."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        content = json.loads(text)
    except ValueError:
        # The upload handlers of the server respond in plain text.
        return None if text.startswith("<") or not text or "not found" in text.lower() else _shorten(text)
    if not isinstance(content, dict):
        return None
    # Newer backends have one of these, older ones two or three with the same text; uploads have the last one.
    message = next((content[key] for key in ("message", "error", "error_message") if content.get(key)), "")
    return _shorten(str(message))


def _shorten(text: str) -> str:
    line = " ".join(escape.line(text).split())
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."
