"""An HTTP/1.1 server with persistent connections that breaks them in every way."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.times import until

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def id(self) -> str:
        """The caller's name for it: the last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def answer(self) -> bytes:
        """A complete response that names the request."""
        return make_answer({"id": self.id})


Behaviour = Callable[[Any, Seen], bool]


def make_answer(document: Any, status: str = "200 OK", **headers: str) -> bytes:
    """Return a response; underscores in header names become hyphens."""
    body = json.dumps(document).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def answering(data: bytes | Callable[[Seen], bytes], *, keeps: bool = True) -> Behaviour:
    """Send this, and keep or close the connection."""

    def behave(peer: Any, seen: Seen) -> bool:
        peer.sendall(data if isinstance(data, bytes) else data(seen))
        return keeps

    return behave


def resetting(data: bytes = b"") -> Behaviour:
    """Send this, and reset the connection."""

    def behave(peer: Any, seen: Seen) -> bool:
        peer.sendall(data)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return behave


def in_half(seen: Seen) -> bytes:
    """Return a response that ends in the middle of its body."""
    return seen.answer[:-4]


#: The parts of the first response that it sends before it closes the connection.
ENDINGS: dict[str, Behaviour] = {
    "before the headers": answering(b"", keeps=False),
    "with a reset": resetting(),
    "in the status line": answering(b"HTTP/1", keeps=False),
    "in the headers": answering(b"HTTP/1.1 200 OK\r\nContent-Len", keeps=False),
    "in the headers, with a reset": resetting(b"HTTP/1.1 200 OK\r\nContent-Len"),
    "after the headers": answering(lambda seen: seen.answer.partition(b"{")[0], keeps=False),
    "in the body": answering(in_half, keeps=False),
}


@dataclass
class HostileServer:
    """Responds to each request with its id, or as configured for it.

    Args:
        context: for TLS.
        answer: sent in place of the id.
    """

    context: ssl.SSLContext | None = None
    answer: Callable[[Seen], bytes] = lambda seen: seen.answer
    #: The behaviours for the next requests.
    next: deque[Behaviour] = field(default_factory=deque)
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    #: The client certificate of each connection, by number.
    certificates: dict[int, Any] = field(default_factory=dict)
    #: Set when a caller has disconnected.
    left: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server((HOST, 0), backlog=256)
        self._lock = threading.Lock()
        self._peers: set[Any] = set()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"{'https' if self.context else 'http'}://{HOST}:{self.port}"

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        with self._lock:
            return len(self._peers)

    @property
    def counts(self) -> Counter[str]:
        """How often each request was received."""
        with self._lock:
            return Counter(f"{seen.method} {seen.id}" for seen in self.requests)

    def close_connections(self, *, with_reset: bool = False) -> None:
        """Close all connections, whatever they are doing, and wait until they are closed."""
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            with suppress(OSError):
                if with_reset:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket.socket.shutdown(peer, socket.SHUT_RD if with_reset else socket.SHUT_RDWR)
        until(lambda: not self.open_connections)

    def stop(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Any) -> None:
        try:
            if self.context:
                peer = self.context.wrap_socket(peer, server_side=True)
            with self._lock:
                self.connections += 1
                number = self.connections
                self._peers.add(peer)
                if self.context:
                    self.certificates[number] = peer.getpeercert()
            with peer.makefile("rb") as file:
                while (seen := self._read(file, number)) and self._behave(peer, seen):
                    pass
        except (OSError, ValueError):
            pass  # The caller has disconnected, or sends what this server does not read.
        finally:
            self.left.set()
            peer.close()
            with self._lock:
                self._peers.discard(peer)

    def _read(self, file: Any, number: int) -> Seen | None:
        line = file.readline().decode()
        if not line.strip():
            return None
        headers = {}
        while header := file.readline().decode().strip():
            name, _, value = header.partition(": ")
            headers[name.lower()] = value
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(_read_chunks(file))
        else:
            body = file.read(int(headers.get("content-length", 0)))
        method, path, _ = line.split()
        seen = Seen(method=method, path=path, headers=headers, body=body, connection=number)
        with self._lock:
            self.requests.append(seen)
        return seen

    def _behave(self, peer: Any, seen: Seen) -> bool:
        with self._lock:
            behaviour = self.next.popleft() if self.next else answering(self.answer)
        return behaviour(peer, seen)


def _read_chunks(file: Any) -> Iterator[bytes]:
    """Yield the chunks of a body (RFC 9112 section 7.1)."""
    while size := int(file.readline(), 16):
        yield file.read(size)
        file.readline()
    file.readline()


def dripping(start: bytes, drop: bytes = b"x") -> Behaviour:
    """Send this, and then a few bytes now and then, for as long as the caller reads."""

    def behave(peer: Any, seen: Seen) -> bool:
        peer.sendall(start)
        while True:
            peer.sendall(drop)
            time.sleep(0.02)

    return behave


@contextmanager
def hostile_server(
    context: ssl.SSLContext | None = None, **options: Any
) -> Iterator[HostileServer]:
    """Run the server within a ``with`` block; see :class:`HostileServer`."""
    server = HostileServer(context=context, **options)
    try:
        yield server
    finally:
        server.stop()
