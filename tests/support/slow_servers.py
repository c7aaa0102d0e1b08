"""Servers that take longer than any caller should wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

_HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def silent() -> Iterator[str]:
    """Accept a request and send no response; return the URL.

    Raises:
        AssertionError: when the caller is still connected after five seconds.
    """
    with _serving(b"", b"") as url:
        yield url


@contextmanager
def dripping(*, headers: bool = False) -> Iterator[str]:
    """Serve a response one byte at a time; return the URL.

    Args:
        headers: whether the headers are sent slowly, rather than the body.

    Raises:
        AssertionError: when the caller is still connected after five seconds.
    """
    with _serving(_HEAD if headers else _HEAD + b"Content-Length: 9999\r\n\r\n", b"x") as url:
        yield url


@contextmanager
def _serving(start: bytes, more: bytes) -> Iterator[str]:
    was_left = threading.Event()

    def serve(server: socket.socket) -> bool:
        """Return whether the caller disconnected first."""
        has_left_first = True
        with closing(server.accept()[0]) as peer, suppress(ConnectionError):
            peer.recv(65_536)
            peer.sendall(start)
            has_left_first = any(is_left(peer) for _ in range(100))
        return has_left_first

    def is_left(peer: socket.socket) -> bool:
        peer.sendall(more)
        return was_left.wait(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(20)
        served = pool.submit(serve, server)
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            was_left.set()
        assert served.result(), "The caller waited for the end of the answer."
