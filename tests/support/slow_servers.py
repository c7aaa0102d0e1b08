"""Servers that take longer than anybody should wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

_HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def silent() -> Iterator[str]:
    """Take a request and say nothing; return the address.

    Raises:
        AssertionError: when the caller was still there after five seconds.
    """
    with _serving(b"", b"") as url:
        yield url


@contextmanager
def dripping(*, headers: bool = False) -> Iterator[str]:
    """Serve an answer that comes a byte at a time, and return the address.

    Args:
        headers: whether it is in the headers that it comes so slowly, and not in the body.

    Raises:
        AssertionError: when the caller was still there after five seconds.
    """
    with _serving(_HEAD if headers else _HEAD + b"Content-Length: 9999\r\n\r\n", b"x") as url:
        yield url


@contextmanager
def _serving(start: bytes, more: bytes) -> Iterator[str]:
    was_left = threading.Event()

    def serve(server: socket.socket) -> bool:
        """Return whether the caller has left first."""
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
        served = pool.submit(serve, server)
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            was_left.set()
        assert served.result(), "The caller waited for the end of the answer."
