"""The connection pool of the process.

Only connections are shared: no cookies, headers or credentials. They are kept apart by host, by
proxy including its credentials, and by trusted and client certificates.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from django.views.decorators.debug import sensitive_variables

from .routes import Route, Trust, find_route
from .tls import make_context

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse
    from urllib3.util import Timeout

    from .connections import KeepingPool

_MOST_HOSTS = 32
_MOST_CONTEXTS = 16
SECONDS_BETWEEN_SWEEPS = 10


class ProcessPool:
    """The connections of one process, by route and host."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = Lock()
        self._hosts: OrderedDict[tuple[Any, ...], KeepingPool] = OrderedDict()
        self._contexts: OrderedDict[Trust, ssl.SSLContext] = OrderedDict()
        self._swept_at = time.monotonic()

    def find_host(self, url: str, route: Route) -> KeepingPool:
        """Return the pool of connections to the host of a URL.

        Raises:
            RouteError: if the proxy or the certificates cannot be used.
            urllib3.exceptions.LocationValueError: if the URL has no host.
        """
        from urllib3 import util

        self._sweep()
        parts = util.parse_url(url)
        key = (parts.scheme, parts.host, parts.port, route)
        with self._lock:
            host = self._hosts.get(key)
            if host is None:
                host = self._hosts[key] = self._make_host(parts, route)
            self._hosts.move_to_end(key)
            excess = self._hosts.popitem(last=False)[1] if len(self._hosts) > _MOST_HOSTS else None
        if excess:
            excess.close()
        return host

    def close_idle(self) -> None:
        """Close idle connections; those in use are closed when they are returned."""
        with self._lock:
            hosts, self._hosts = self._hosts, OrderedDict()
        for host in hosts.values():
            host.close()

    def _make_host(self, parts: Any, route: Route) -> KeepingPool:
        from .connections import make_host

        context = self._find_context(route.trust) if route.trust else None
        return make_host(parts.scheme, parts.host, parts.port, proxy=route.proxy, context=context)

    def _find_context(self, trust: Trust) -> ssl.SSLContext:
        context = self._contexts.get(trust)
        if context is None:
            context = self._contexts[trust] = make_context(trust)
            if len(self._contexts) > _MOST_CONTEXTS:
                self._contexts.popitem(last=False)
        return context

    def _sweep(self) -> None:
        """Close connections that have been idle for long. Called in passing, to need no thread."""
        now = time.monotonic()
        # A test that sets the clock may have left a time in the future.
        if 0 <= now - self._swept_at < SECONDS_BETWEEN_SWEEPS:
            return
        self._swept_at = now
        with self._lock:
            hosts = list(self._hosts.values())
        for host in hosts:
            host.drop_idle()


class _Process:
    """The pool of this process, and the pools of its parent processes. The latter are kept alive
    but not used, since closing their connections would disturb the parents."""

    pool = ProcessPool()
    left_alone: list[ProcessPool] = []


def start_anew() -> None:
    """Start with an empty pool and new locks. Called automatically after a fork."""
    _Process.left_alone.append(_Process.pool)
    _Process.pool = ProcessPool()


# Forks by Python: gunicorn, Celery, multiprocessing.
os.register_at_fork(after_in_child=start_anew)


def process_pool() -> ProcessPool:
    """Return the pool of this process."""
    if _Process.pool.pid != os.getpid():
        start_anew()  # A fork outside of Python.
    return _Process.pool


def load_libraries() -> None:
    """Import what a request needs: in a process that starts, it may take longer than a server."""
    from requests import utils  # noqa: F401

    from . import connections  # noqa: F401


@sensitive_variables()
def send_request(
    method: str,
    url: str,
    *,
    body: Any,
    headers: Mapping[str, str],
    timeout: Timeout | float,
    deadline: float | None = None,
    on_sent: Callable[[], None] | None = None,
    may_repeat: bool = True,
    is_streamed: bool = False,
) -> BaseHTTPResponse:
    """Send a request over the pool. Redirects are not followed.

    Args:
        method: the HTTP method.
        url: the URL.
        body: bytes, text, or a file or iterable to read it from.
        headers: the headers.
        timeout: in seconds, for each step.
        deadline: for the whole request including the body of the response, by
            ``time.monotonic()``.
        on_sent: called in this thread once some of the request has been sent.
        may_repeat: whether the request may be sent again on a new connection if a kept one turns
            out to be closed. It is only if that is safe.
        is_streamed: whether the caller reads the body of the response; otherwise it is read here.

    Raises:
        urllib3.exceptions.HTTPError: if there is no response.
        http.client.HTTPException: if the response is invalid.
        OSError: if no connection can be made; a ``RouteError`` if that is due to configuration.
    """
    from urllib3 import util

    host = process_pool().find_host(url, find_route(url))
    answer: BaseHTTPResponse = host.urlopen(
        method,
        util.parse_url(url).request_uri,
        body=body,
        headers=headers,
        retries=False,
        redirect=False,
        assert_same_host=False,
        timeout=timeout,
        preload_content=not is_streamed,
        deadline=deadline,
        on_sent=on_sent,
        may_repeat=may_repeat,
    )
    return answer
