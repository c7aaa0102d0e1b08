"""A distant Google: TLS, persistent connections, and a round trip of 20 ms.

``FakeGoogle`` closes each connection, and connecting on loopback costs almost nothing. Here, bytes
take half a round trip in each direction, and the TCP handshake takes a whole one. A certificate is
created for each run; those of certifi are trusted too, as usual.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import certifi
import httplib2

from tests.support.https_servers import HOST, write_certificate

ROUND_TRIP = 0.02  # seconds
#: The time that the token endpoint takes.
TOKEN_DELAY = 0.1  # seconds


class FarGoogle:
    """Controls the process that runs it.

    Args:
        pipe: to it.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a client that uses it as the provider and for APIs."""
        return {
            "CLIENT_ID": "far.apps.googleusercontent.com",
            "CLIENT_SECRET": "not a secret",
            "ISSUER": self.url,
            "AUTHORIZATION_ENDPOINT": f"{self.url}/auth",
            "TOKEN_ENDPOINT": f"{self.url}/token",
            "API_ENDPOINT": self.url,
        }

    def count_connections(self) -> int:
        """Return the number of connections opened since the last call."""
        self._pipe.send("connections")
        count: int = self._pipe.recv()
        return count


@contextmanager
def far_google() -> Iterator[FarGoogle]:
    """Run that process, and trust its certificate."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    with TemporaryDirectory() as folder:
        certificate, key = write_certificate(Path(folder))
        bundle = Path(folder) / "bundle.pem"
        bundle.write_bytes(Path(certifi.where()).read_bytes() + certificate.read_bytes())
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        # httplib2 has read the environment when it was imported.
        httplib2.CA_CERTS = str(bundle)
        process = spawn.Process(target=_run, args=(theirs, str(certificate), str(key)), daemon=True)
        process.start()
        try:
            yield FarGoogle(ours)
        finally:
            process.terminate()
            process.join()
            del os.environ["REQUESTS_CA_BUNDLE"]


def _run(pipe: Connection, certificate: str, key: str) -> None:
    asyncio.run(_serve(pipe, certificate, key))


async def _serve(pipe: Connection, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(_answer_all, HOST, 0, ssl=context, backlog=2048)
    distance = _Distance(_find_port(server))
    proxy = await asyncio.start_server(distance.carry, HOST, 0, backlog=2048)
    pipe.send(f"https://{HOST}:{_find_port(proxy)}")
    loop = asyncio.get_running_loop()
    while True:
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(distance.connections)
        distance.connections = 0


def _find_port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


class _Distance:
    """Forwards bytes to a server and back, with a delay.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.connections = 0
        # The event loop keeps no references to tasks, so they could be garbage-collected.
        self._tasks: set[asyncio.Task[Any] | None] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the bytes of one connection."""
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        opened_at = asyncio.get_running_loop().time() + ROUND_TRIP
        far_reader, far_writer = await asyncio.open_connection(HOST, self._port)
        await asyncio.gather(
            self._carry_one_way(reader, far_writer, opened_at),
            self._carry_one_way(far_reader, writer, opened_at),
        )
        self._tasks.discard(task)

    async def _carry_one_way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened_at: float
    ) -> None:
        loop = asyncio.get_running_loop()
        due = opened_at
        data = b"?"
        while data:
            try:
                data = await reader.read(65_536)
            except ConnectionError:
                data = b""
            # Never earlier than the previous piece, to keep the order.
            due = max(due + 1e-6, loop.time() + ROUND_TRIP / 2)
            deliver: Callable[[], object] = _delivery(writer, data)
            loop.call_at(due, deliver)


def _delivery(writer: asyncio.StreamWriter, data: bytes) -> Callable[[], object]:
    return (lambda: writer.write(data)) if data else writer.close


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, until it is closed."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (ln.partition(":") for ln in lines)
            }
            await reader.readexactly(int(headers.get("content-length", "0")))
            body = json.dumps(await _answer(first.split()[1])).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
    writer.close()


async def _answer(address: str) -> dict[str, Any]:
    path = address.partition("?")[0]
    if path != "/token":
        return {"id": path.rpartition("/")[2]}
    await asyncio.sleep(TOKEN_DELAY)
    return {"access_token": os.urandom(16).hex(), "expires_in": 3599, "token_type": "Bearer"}
