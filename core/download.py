"""Downloads each file once, completely or not at all, and reports the progress."""

import os
from typing import Any, Optional

import pooch
import requests

from core import progress, web

_BLOCK_BYTES = 1 << 20
_REPORT_BYTES = 16 << 20


class DownloadError(Exception):
    """The download failed; the text is a short reason, such as `HTTP status 401: Unauthorized`."""


class ChecksumError(Exception):
    """The SHA-256 of the file differs from the expected one."""


def fetch(address: str, folder: str, sha256: Optional[str] = None, max_bytes: Optional[int] = None) -> str:
    """Downloads a file into a folder, unless it is there already.

    Args:
      address: `https://` or `http://`.
      folder: created if needed.
      sha256: expected digest in hexadecimal; None accepts any content.
      max_bytes: maximum size; None accepts any size.

    Returns:
      The path of the file, whose name is derived from the address.

    Raises:
      DownloadError: a network error, an HTTP error, or the file is too large.
      ChecksumError: the digest differs.
      OSError: the file can't be written.
    """
    pooch.get_logger().setLevel("WARNING")  # It would write to the terminal.
    known_hash = f"sha256:{sha256}" if sha256 else None
    try:
        return pooch.retrieve(address, known_hash=known_hash, path=folder, downloader=_Downloader(max_bytes))
    except requests.RequestException as error:
        raise DownloadError(web.describe(error)) from error
    except ValueError as error:
        raise ChecksumError(str(error)) from error


class _Downloader:
    """Called by pooch with an address and a temporary file to write."""

    def __init__(self, max_bytes: Optional[int]) -> None:
        self._max_bytes = max_bytes

    def __call__(self, url: str, output_file: str, _: Any, check_only: bool = False) -> None:
        with web.session() as session, session.get(url, stream=True, timeout=web.SILENCE_TIMEOUT_S) as response:
            response.raise_for_status()
            # Otherwise urllib3 accepts a truncated file.
            response.raw.enforce_content_length = True
            with open(output_file, "wb") as stream:
                self._copy(response, stream, f"downloading {url}")

    def _copy(self, response: requests.Response, stream: Any, stage: str) -> None:
        content_length = response.headers.get("Content-Length", "")
        done, next_report, total = 0, 0, int(content_length) if content_length.isdecimal() else 0
        for block in response.iter_content(_BLOCK_BYTES):
            done += len(block)
            if self._max_bytes is not None and done > self._max_bytes:
                raise DownloadError(f"the file is larger than {self._max_bytes >> 20} MiB")
            stream.write(block)
            if done >= next_report:
                progress.report(stage, done, total, unit="bytes")
                next_report = done + _REPORT_BYTES


def cache_folder(name: str) -> str:
    """Returns a folder in the user's cache, where the operating system expects it."""
    return os.path.join(pooch.os_cache("reviews"), name)
