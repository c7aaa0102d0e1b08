"""A proxy that tunnels, and remembers where to."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Takes CONNECT requests.

    Args:
        login: that it demands.
    """

    login: str | None = None
    #: ``host:port`` of each tunnel.
    targets: list[str] = field(default_factory=list)
    #: The login of each tunnel that had one.
    logins: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Accept nothing any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with closing(peer), suppress(OSError):
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
            self.targets.append(target)
            if given:
                self.logins.append(given)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
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
def running_proxy(login: str | None = None) -> Iterator[Proxy]:
    """Run a proxy for the time of a ``with`` statement."""
    proxy = Proxy(login=login)
    try:
        yield proxy
    finally:
        proxy.stop()
