"""A proxy that tunnels, and records the destinations."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Proxy:
    """Accepts CONNECT requests.

    Args:
        login: the credentials that it requires.
        delay: how long it takes, in seconds.
        context: for TLS.
        speaks_socks: speaks SOCKS version 5 (RFC 1928) without a login, in place of HTTP.
    """

    login: str | None = None
    delay: float = 0
    speaks_socks: bool = False
    context: ssl.SSLContext | None = None
    #: ``host:port`` of each tunnel.
    targets: list[str] = field(default_factory=list)
    #: The credentials of each tunnel that had some.
    logins: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = (
            f"{'https' if self.context else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                if self.context:
                    peer = self.context.wrap_socket(peer, server_side=True)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with closing(peer), suppress(OSError):
            if self.speaks_socks:
                self._serve_socks(peer)
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(1)
            lines = head.decode().split("\r\n")
            target = lines[0].split()[1]
            given = None
            for line in lines[1:]:
                name, _, value = line.partition(": ")
                if name.lower() == "proxy-authorization":
                    given = base64.b64decode(value.removeprefix("Basic ")).decode()
            if self.login is not None and given != self.login:
                peer.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
            time.sleep(self.delay)
            self.targets.append(target)
            if given:
                self.logins.append(given)
            _tunnel(peer, target, b"HTTP/1.1 200 OK\r\n\r\n")

    def _serve_socks(self, peer: socket.socket) -> None:
        file = peer.makefile("rb", buffering=0)
        file.read(file.read(2)[1])
        peer.sendall(b"\5\0")
        kind = file.read(4)[3]
        host = file.read(file.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(file.read(4))
        target = f"{host}:{int.from_bytes(file.read(2))}"
        self.targets.append(target)
        _tunnel(peer, target, b"\5\0\0\1" + bytes(6))


def _tunnel(peer: socket.socket, target: str, answer: bytes) -> None:
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port))) as server:
        peer.sendall(answer)
        back = threading.Thread(target=_copy, args=(server, peer), daemon=True)
        back.start()
        _copy(peer, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(**options: Any) -> Iterator[Proxy]:
    """Run a proxy within a ``with`` block; see :class:`Proxy`."""
    proxy = Proxy(**options)
    try:
        yield proxy
    finally:
        proxy.stop()
