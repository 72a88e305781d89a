"""HTTP requests that are repeated after a short outage, and short descriptions of their failures."""

import re

import requests

# A server that sends nothing for this long is considered dead.
SILENCE_TIMEOUT_S = 30
# A gateway returns these while the server behind it restarts; other statuses are permanent.
_RETRIED_STATUSES = (502, 503, 504)
# The first is immediate, the others wait for 1 and 2 seconds.
_RETRIES, _BACKOFF_S = 3, 0.5


def session() -> requests.Session:
    """Returns a session that repeats requests; all of them have to be safe to repeat."""
    repeating = requests.Session()
    retries = requests.adapters.Retry(
        _RETRIES,
        backoff_factor=_BACKOFF_S,
        status_forcelist=_RETRIED_STATUSES,
        allowed_methods=None,
        raise_on_status=False,  # The caller reports the status.
        respect_retry_after_header=False,  # A server could request a day.
    )
    for scheme in ("https://", "http://"):
        repeating.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
    return repeating


def describe(error: requests.RequestException) -> str:
    """Returns the HTTP status, or the innermost error of the network; never the address, which may hold a secret."""
    if error.response is not None:
        return f"HTTP status {error.response.status_code}: {error.response.reason}"
    inner = re.search(r"\[Errno -?\d+\] [^')\"]+", str(error))
    return inner.group() if inner else type(error).__name__
