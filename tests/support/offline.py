"""No network: whatever Python code would reach beyond this machine is an error."""

import sys

LOCAL = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1")


def refuse_the_network() -> None:
    """Raises ConnectionRefusedError from here on; what lies on this machine can be reached."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in LOCAL:
        raise ConnectionRefusedError(f"Expected no network. Received: {event} of {host!r}.")
