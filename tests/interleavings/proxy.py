"""A proxy between the workers and Google, which holds each request until it is released."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

_SIZE = 65_536


@contextmanager
def holding_proxy(port: int, hold: Callable[[str], None]) -> Iterator[str]:
    """Forward every request to a server on this machine, and yield the proxy's address.

    Args:
        port: the port of that server.
        hold: called with the method and the path before a request is forwarded. Each connection
            has one request.
    """

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as server:
                request = _read_request(self.request)
                if not request:
                    return
                method, path, _ = request.decode("latin-1").split(" ", 2)
                hold(f"{method} {path}")
                server.sendall(request)
                _relay(server, self.request)

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def _read_request(client: socket.socket) -> bytes:
    """Return a whole request, or nothing if the client disconnects first."""
    request = b""
    while True:
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            return request
        part = client.recv(_SIZE)
        if not part:
            return b""
        request += part


def _relay(server: socket.socket, client: socket.socket) -> None:
    """Forward the response, until one side closes its connection."""
    while True:
        ready, _, _ = select.select([server, client], [], [])
        if client in ready and not client.recv(_SIZE):
            return
        if server in ready:
            part = server.recv(_SIZE)
            if not part:
                return
            client.sendall(part)
