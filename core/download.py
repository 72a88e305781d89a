"""Files of the web: each fetched once into a folder, whole or not at all, its progress reported."""

import os
import re
from typing import Any, Optional

import pooch
import requests

from core import progress

# A request that is silent for half a minute is not going to be answered.
_SILENCE_TIMEOUT_S = 30
# What a gateway says while the server behind it restarts; any other status stays as it is.
_PASSING_STATUSES = (502, 503, 504)
# Tries after the first, the last two of them 1 and 2 seconds after the one before.
_RETRIES = 3
_BLOCK_BYTES = 1 << 20
_REPORT_BYTES = 16 << 20


class NotFetched(Exception):
    """An address can't be fetched; the text is the reason, in a few words."""


class OtherContent(Exception):
    """What an address holds has another SHA-256 than the one asked for."""


def fetch(address: str, folder: str, sha256: Optional[str] = None, max_bytes: Optional[int] = None) -> str:
    """Fetches an address into a folder, unless it is there.

    Args:
      address: `https://` or `http://`.
      folder: where to; made if need be.
      sha256: what the content should have, in hexadecimal; None: anything.
      max_bytes: the most that is taken; None: any size.

    Returns:
      The path of the copy, whose name is made of the address.

    Raises:
      NotFetched: the network, the server or the size says no.
      OtherContent: it is another file.
      OSError: it can't be kept.
    """
    pooch.get_logger().setLevel("WARNING")  # It writes to the terminal; progress is reported instead.
    known_hash = f"sha256:{sha256}" if sha256 else None
    try:
        return pooch.retrieve(address, known_hash=known_hash, path=folder, downloader=_Downloader(max_bytes))
    except requests.RequestException as error:
        raise NotFetched(_reason(error)) from error
    except ValueError as error:
        raise OtherContent(str(error)) from error


class _Downloader:
    """What pooch calls to have an address written to a file of its own."""

    def __init__(self, max_bytes: Optional[int]) -> None:
        self._max_bytes = max_bytes

    def __call__(self, url: str, output_file: str, _: Any, check_only: bool = False) -> None:
        with _session() as session, session.get(url, stream=True, timeout=_SILENCE_TIMEOUT_S) as response:
            response.raise_for_status()
            # urllib3 takes half a file for a whole one unless it is told to count.
            response.raw.enforce_content_length = True
            with open(output_file, "wb") as stream:
                self._copy(response, stream, f"fetching {url}")

    def _copy(self, response: requests.Response, stream: Any, stage: str) -> None:
        stated = response.headers.get("Content-Length", "")
        done, told, total = 0, 0, int(stated) if stated.isdecimal() else 0
        for block in response.iter_content(_BLOCK_BYTES):
            done += len(block)
            if self._max_bytes is not None and done > self._max_bytes:
                raise NotFetched(f"it is larger than {self._max_bytes >> 20} MiB")
            stream.write(block)
            if done >= told:
                progress.report(stage, done, total, unit="bytes")
                told = done + _REPORT_BYTES


def _session() -> requests.Session:
    session = requests.Session()
    retries = requests.adapters.Retry(
        _RETRIES,
        backoff_factor=0.5,
        status_forcelist=_PASSING_STATUSES,
        raise_on_status=False,  # The last answer is: it says which status it was.
        respect_retry_after_header=False,  # A server could ask for a day.
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
    return session


def _reason(error: requests.RequestException) -> str:
    """The end of the chain of wrapped errors: the server's status, or what the network said."""
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    inner = re.search(r"\[Errno -?\d+\] [^')\"]+", str(error))
    return inner.group() if inner else type(error).__name__


def cache_folder(name: str) -> str:
    """Returns the folder of that name under the user's cache, by the conventions of the operating system."""
    return os.path.join(pooch.os_cache("reviews"), name)
