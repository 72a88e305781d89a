"""The port that the server listens on."""

import errno
import socket

from core.errors import UserError

# Connections that wait while the model is loaded, or the server is busy.
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Listens on a port; clients that connect wait until the server is ready.

    Args:
      host: a name or an address of this machine.
      port: 0 for any free port.

    Raises:
      UserError: the host is not one of this machine, or the port can't be used.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port {port}: should be from 1 to 65535, or 0 for any free port")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise UserError(f"--host {host}: should be a name or an address of this machine ({error.strerror})") from error
    try:
        # A server that was just stopped leaves connections that would block the port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(_describe(error, host, port)) from error
    return listener


def address(listener: socket.socket) -> str:
    """Returns the address for a browser, such as `http://127.0.0.1:8501`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _describe(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program listens on it; set --port to another, or to 0 for any free port"
    if error.errno == errno.EACCES:
        return f"--port {port}: only root may listen on it; set --port to one from 1024 on"
    return f"--host {host}: should be a name or an address of this machine ({error.strerror})"
