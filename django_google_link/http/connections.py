"""Connections to one host, based on urllib3's classes. Imported late, like urllib3 itself."""

from __future__ import annotations

import io
import os
import ssl
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from http.client import BadStatusLine, HTTPException, HTTPResponse, RemoteDisconnected
from typing import Any
from urllib.parse import unquote

from django.views.decorators.debug import sensitive_variables
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import DependencyWarning, MaxRetryError, ProtocolError, SSLError
from urllib3.util import make_headers, parse_url
from urllib3.util.util import to_str

from .failures import BodyTooShortError, RouteError
from .streams import find_position

#: The number of idle connections kept per host. More are opened if needed, and closed after use.
_MOST_KEPT = 64
#: Google closes an idle connection after four minutes, other servers earlier.
MOST_SECONDS_IDLE = 90
_MOST_INTERIM_ANSWERS = 100
#: The limit for a response, including interim ones: ``http.client`` reads 100s without end.
_MOST_HEADER_LINES = 10_000
#: The most that is read at once, since Python allocates the memory in advance.
_MOST_READ_AT_ONCE = 2**28

_WITHOUT_BODY = frozenset({204, 304})

# RFC 9110 section 9.2.2.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

_this_thread = threading.local()


class Attempt:
    """One attempt to send a request: its limits and its progress.

    Args:
        deadline: for the whole request, by ``time.monotonic()``.
        on_sent: called once some of the request has been sent.
        needs_new: whether a new connection is required.
    """

    __slots__ = ("_on_sent", "deadline", "has_written", "needs_new", "was_kept")

    def __init__(
        self,
        deadline: float | None = None,
        *,
        on_sent: Callable[[], None] | None = None,
        needs_new: bool = False,
    ) -> None:
        self.deadline = deadline
        self._on_sent = on_sent
        self.needs_new = needs_new
        #: Whether the connection was used for another request before.
        self.was_kept = False
        #: Whether any part of the request has been sent.
        self.has_written = False

    def note_sent(self) -> None:
        """Record that some of the request has been sent."""
        self.has_written = True
        if self._on_sent:
            self._on_sent()

    def require_time(self) -> None:
        """Raise if the deadline has passed: the caller no longer expects the request."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimeoutError("The request has exceeded its time limit.")


class _AnswerReader(io.BufferedReader):
    """Reads a response from a socket, with limits on the sizes that it declares."""

    last_line = b""
    #: How many more lines are accepted before something else is read.
    lines_left = _MOST_HEADER_LINES

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, and remember it."""
        self.lines_left -= 1
        if self.lines_left < 0:
            raise HTTPException("There are too many header lines.")
        self.last_line = super().readline(size)
        return self.last_line

    def read(self, size: int | None = -1) -> bytes:
        """Read the number of bytes that a header or chunk declares, or as many as there are."""
        self.lines_left = _MOST_HEADER_LINES
        if size is None or -1 <= size <= _MOST_READ_AT_ONCE:
            return super().read(size)
        if size < 0:
            raise HTTPException("A chunk has a negative size.")
        pieces = []
        while size and (piece := super().read(min(size, _MOST_READ_AT_ONCE))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


class _SocketReader(io.RawIOBase):
    """Reads from a socket until a deadline, even if the data arrives in small pieces, and not
    beyond the end of a response.

    Args:
        raw: the unbuffered reader of the socket.
        sock: the socket.
        deadline: by ``time.monotonic()``; ``None`` for no limit.
    """

    def __init__(self, raw: io.RawIOBase, sock: Any, deadline: float | None) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        #: Set at the end of the response: nothing more is read.
        self.is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return None
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("The request has exceeded its time limit.")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    """A complete final response (RFC 9110 section 15), received before its deadline.

    ``http.client`` takes 102 and 103 for the final response, which would then be taken for the
    response to the next request on this connection. It also accepts headers that are cut off, and
    waits for chunks of a response that has no body (RFC 9112 section 6.3).
    """

    fp: _AnswerReader

    def __init__(self, sock: Any, *args: Any, deadline: float | None = None, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: Any = self.fp.detach()
        self._socket_reader = _SocketReader(raw, sock, deadline)
        self.fp = _AnswerReader(self._socket_reader)
        #: Whether more data has arrived or may arrive: it would be taken for the next response.
        self.has_rest = False

    def begin(self) -> None:
        """Read the status and the headers."""
        for _ in range(_MOST_INTERIM_ANSWERS):
            super().begin()
            if not self.fp.last_line:
                raise RemoteDisconnected("The connection was closed within the headers.")
            if self.status >= 200:
                self.has_rest = self._contradicts_itself()
                if self.status in _WITHOUT_BODY:
                    self.chunked = False
                    del self.headers["transfer-encoding"]
                return
            if self.status == 101:
                break  # The request did not ask for another protocol.
            self.headers = self.msg = None  # type: ignore[assignment]
        raise BadStatusLine("no final answer")

    def _contradicts_itself(self) -> bool:
        """Return whether the headers disagree on the end of the response (RFC 9112 section 6)."""
        length, coding = map(self.headers.get, ("content-length", "transfer-encoding"))
        if self.status == 204:
            return bool(coding) or length not in {None, "0"}
        return bool(coding and length)

    def _close_conn(self) -> None:
        self._socket_reader.is_over = True
        self.has_rest = self.has_rest or bool(self.fp.peek())
        super()._close_conn()  # type: ignore[misc]


class _Kept:
    """The additional state of a connection, mixed into urllib3's classes."""

    attempt: Attempt
    answer: _Answer | None = None
    idle_since = 0.0
    sock: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pid = os.getpid()
        # The declared length of the body, and how much of it is still to be sent.
        self._declared: int | None = None
        self._body_left: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was opened in this process; otherwise the parent process is using it."""
        return self._pid == os.getpid()

    @property
    def is_fit(self) -> bool:
        """Whether it can be used again: it is open, recently used, and there is nothing to read.

        Unexpected data would be taken for the response to the next request.
        """
        has_rest = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0
        is_connected: bool = self.is_connected  # type: ignore[attr-defined]
        is_recent = 0 <= time.monotonic() - self.idle_since < MOST_SECONDS_IDLE
        return is_recent and is_connected and not has_rest

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *,
        chunked: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send a request whose body has exactly the declared length.

        If a file has grown meanwhile, the excess would be taken for the next request on this
        connection; if it has shrunk, the server would wait for the rest.

        Raises:
            BodyTooShortError: if the body is shorter than declared.
        """
        self._declared = None if chunked else _read_length(headers or {})
        self._body_left = None
        super().request(method, url, body, headers, chunked=chunked, **kwargs)  # type: ignore[misc]
        if self._body_left:
            raise BodyTooShortError("The body is shorter than its Content-Length.")

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the headers. The body follows."""
        super().endheaders(*args, **kwargs)  # type: ignore[misc]
        self._body_left = self._declared

    def send(self, data: Any) -> None:
        """Send data, and record that some has been sent."""
        if not self.is_ours:
            raise ConnectionError("This connection belongs to the parent process.")
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self.attempt.require_time()
        if self._body_left is not None:
            data = memoryview(data).cast("B")[: self._body_left]
            self._body_left -= len(data)
        if not self.attempt.has_written:
            count = self.sock.send(data)
            self.attempt.note_sent()
            data = data[count:]
        if data:
            super().send(data)  # type: ignore[misc]

    def response_class(self, *args: Any, **kwargs: Any) -> _Answer:
        """Return the object that reads the response."""
        self.answer = _Answer(*args, deadline=self.attempt.deadline, **kwargs)
        return self.answer


def _read_length(headers: Mapping[Any, Any]) -> int | None:
    """Return the length of the body according to the headers of a request, if they state it."""
    values = {to_str(name).lower(): to_str(value) for name, value in headers.items()}
    length = values.get("content-length", "")
    return int(length) if length.isdecimal() and "transfer-encoding" not in values else None


class _PlainConnection(_Kept, HTTPConnection):  # type: ignore[misc]
    pass


class _TLSConnection(_Kept, HTTPSConnection):  # type: ignore[misc]
    pass


class KeepingPool(HTTPConnectionPool):
    """The connections to one host. Their number is unlimited, but only some are kept."""

    ConnectionCls: Any = _PlainConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._kept: deque[Any] = deque()
        self._keeps = True

    @sensitive_variables()
    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
        on_sent: Callable[[], None] | None = None,
        may_repeat: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Send a request, like urllib3's method.

        If a kept connection turns out to be closed, the request is sent once more on a new one,
        provided that nothing has been sent or that the request is idempotent.

        Args:
            method: the HTTP method.
            url: the path.
            body: the body.
            headers: the headers.
            deadline: for the whole request, by ``time.monotonic()``.
            on_sent: called once some of the request has been sent.
            may_repeat: whether the request may be sent twice at all.
            kwargs: urllib3's arguments.
        """
        attempt = Attempt(deadline, on_sent=on_sent)
        start = find_position(body)
        try:
            return self._send(attempt, method, url, body, headers, **kwargs)
        except (ProtocolError, SSLError, MaxRetryError):
            can_rewind = body is None or isinstance(body, bytes | str) or start is not None
            is_harmless = method.upper() in _IDEMPOTENT and can_rewind
            if not (attempt.was_kept and may_repeat and (is_harmless or not attempt.has_written)):
                raise
        if start is not None:
            body.seek(start)
        attempt = Attempt(deadline, on_sent=on_sent, needs_new=True)
        return self._send(attempt, method, url, body, headers, **kwargs)

    def close(self) -> None:
        """Close idle connections, and keep none from now on. Requests still work."""
        with self._lock:
            self._keeps = False
            kept, self._kept = self._kept, deque()
        for connection in kept:
            connection.close()

    def drop_idle(self) -> None:
        """Close the connections that have been idle for too long."""
        with self._lock:
            unfit = [connection for connection in self._kept if not connection.is_fit]
            for connection in unfit:
                self._kept.remove(connection)
        for connection in unfit:
            connection.close()

    @sensitive_variables()
    def _send(self, attempt: Attempt, *args: Any, **kwargs: Any) -> Any:
        # Reading a body may send other requests in the same thread.
        before = getattr(_this_thread, "attempt", None)
        _this_thread.attempt = attempt
        try:
            return super().urlopen(*args, **kwargs)
        finally:
            _this_thread.attempt = before

    def _get_conn(self, timeout: float | None = None) -> Any:
        attempt: Attempt = _this_thread.attempt
        connection: Any = None if attempt.needs_new else self._take_kept()
        attempt.was_kept = connection is not None
        connection = connection or self._new_conn()
        connection.attempt = attempt
        return connection

    def _take_kept(self) -> Any:
        """Return the connection that was used last: it is the least likely to be closed."""
        while True:
            with self._lock:
                if not self._kept:
                    return None
                connection = self._kept.pop()
            if connection.is_fit:
                return connection
            connection.close()

    def _put_conn(self, conn: Any) -> None:
        if conn is None or conn.is_closed:
            return
        conn.idle_since = time.monotonic()
        answer = conn.answer
        is_read = answer is None or (answer.isclosed() and not answer.has_rest)
        excess = conn
        if is_read and conn.is_ours:
            with self._lock:
                if self._keeps:
                    self._kept.append(conn)
                    excess = self._kept.popleft() if len(self._kept) > _MOST_KEPT else None
        if excess is not None:
            excess.close()


class _TLSPool(KeepingPool, HTTPSConnectionPool):
    ConnectionCls: Any = _TLSConnection


def make_host(
    scheme: str | None,
    host: str | None,
    port: int | None,
    *,
    proxy: str | None,
    context: ssl.SSLContext | None,
) -> KeepingPool:
    """Return the pool of connections to one host, none of which is open yet.

    Args:
        scheme: ``"http"`` or ``"https"``.
        host: the host, without the port.
        port: the port, or ``None`` for the scheme's default.
        proxy: the URL of the proxy, with its credentials if it has any.
        context: the TLS context.

    Raises:
        RouteError: if the proxy cannot be used.
        urllib3.exceptions.LocationValueError: if there is no host.
    """
    pools: dict[str, Any] = {"http": KeepingPool, "https": _TLSPool}
    manager: PoolManager = PoolManager(ssl_context=context)
    if proxy and proxy.lower().startswith("socks"):
        manager, pools["https"] = _make_socks_manager(proxy, context)
    elif proxy:
        manager = _make_proxy_manager(proxy, context)
    manager.pool_classes_by_scheme = pools
    return manager.connection_from_host(host, port, scheme)  # type: ignore[return-value]


def _make_proxy_manager(proxy: str, context: ssl.SSLContext | None) -> ProxyManager:
    try:
        login = unquote(parse_url(proxy).auth or "")
        return ProxyManager(
            proxy,
            proxy_headers=make_headers(proxy_basic_auth=login) if login else None,
            proxy_ssl_context=context,
            ssl_context=context,
        )
    except ValueError:  # Including urllib3's own, which quote the URL with the credentials.
        raise RouteError("The URL of the proxy is not valid.") from None


def _make_socks_manager(proxy: str, context: ssl.SSLContext | None) -> tuple[PoolManager, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DependencyWarning)
            from urllib3.contrib import socks
    except ImportError:
        raise RouteError(
            "The proxy uses SOCKS, which needs PySocks: pip install requests[socks]."
        ) from None

    class Connection(_Kept, socks.SOCKSHTTPSConnection):  # type: ignore[misc]
        pass

    class Pool(_TLSPool):
        ConnectionCls: Any = Connection

    try:
        return socks.SOCKSProxyManager(proxy, ssl_context=context), Pool
    except ValueError:
        raise RouteError("The URL of the proxy is not valid.") from None
