"""Downloads: retries, limits and errors."""

import contextlib
import hashlib
import http.server
import logging
import os
import threading

import pytest

from core import download, progress, web

BODY = b"x" * 5000


@contextlib.contextmanager
def server(*statuses):
    """Responds with the statuses in turn, then with 200; the body is always `BODY`."""
    remaining = list(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(remaining.pop(0) if remaining else 200)
            self.send_header("Content-Length", str(len(BODY)))
            self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/file"
        listening.shutdown()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(web, "_BACKOFF_S", 0.02)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_file_is_downloaded_once_with_progress(tmp_path, caplog):
    with server() as address, caplog.at_level(logging.INFO, progress.LOGGER.name):
        path = download.fetch(address, str(tmp_path), hashlib.sha256(BODY).hexdigest())
    assert [(r.stage, r.done, r.total) for r in caplog.records if hasattr(r, "stage")] == [
        (f"downloading {address}", len(BODY), len(BODY))
    ]
    with open(path, "rb") as stream:
        assert stream.read() == BODY
    assert download.fetch(address, str(tmp_path)) == path  # The server is down.


def test_unavailable_server_is_retried(tmp_path):
    with server(503, 502) as address:
        assert os.path.getsize(download.fetch(address, str(tmp_path))) == len(BODY)


@pytest.mark.parametrize(
    "statuses, reason", [([401], "HTTP status 401: Unauthorized"), ([503] * 9, "HTTP status 503: Service Unavailable")]
)
def test_permanent_error_is_named(tmp_path, statuses, reason):
    with server(*statuses) as address, pytest.raises(download.DownloadError, match=f"^{reason}$"):
        download.fetch(address, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_file_over_the_maximum_size_is_not_kept(tmp_path):
    with server() as address, pytest.raises(download.DownloadError, match="larger than 0 MiB"):
        download.fetch(address, str(tmp_path), max_bytes=len(BODY) - 1)
    assert os.listdir(tmp_path) == []


def test_file_with_another_digest_is_not_kept(tmp_path):
    with server() as address, pytest.raises(download.ChecksumError):
        download.fetch(address, str(tmp_path), sha256="6" * 64)
    assert os.listdir(tmp_path) == []
