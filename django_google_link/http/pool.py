"""The pool of this process: which connections are kept, and who gets one.

Connections are shared and nothing else is: no cookie, no header, no credential. A connection is
known by its host, its proxy with its login, and the certificates that are trusted and shown.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Mapping
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
        """Return the connections to the host of an address.

        Raises:
            RouteError: when there is no way to it.
            urllib3.exceptions.LocationValueError: when the address has none.
        """
        from urllib3.util import parse_url

        self._sweep()
        parts = parse_url(url)
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
        """Close the connections that nobody is using, and keep none of the others."""
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
        """Close what has been idle for long. It is done in passing: no thread has to live on."""
        now = time.monotonic()
        if now - self._swept_at < SECONDS_BETWEEN_SWEEPS:
            return
        self._swept_at = now
        with self._lock:
            hosts = list(self._hosts.values())
        for host in hosts:
            host.drop_idle()


class _Process:
    """The pool of this process; and those of the processes that it was forked from, which are left
    as they are, since their connections are in use there."""

    pool = ProcessPool()
    left_alone: list[ProcessPool] = []


def start_anew() -> None:
    """Begin with an empty pool and new locks; after a fork this is called by itself."""
    _Process.left_alone.append(_Process.pool)
    _Process.pool = ProcessPool()


# Where Python forks: gunicorn, Celery, multiprocessing.
os.register_at_fork(after_in_child=start_anew)


def process_pool() -> ProcessPool:
    """Return the pool of this process."""
    if _Process.pool.pid != os.getpid():
        start_anew()  # Forked by something that tells Python nothing.
    return _Process.pool


@sensitive_variables()
def send_request(
    method: str,
    url: str,
    *,
    body: Any,
    headers: Mapping[str, str],
    timeout: Timeout | float,
    deadline: float | None = None,
    may_repeat: bool = True,
    is_streamed: bool = False,
) -> BaseHTTPResponse:
    """Make one request over the pool. No redirect is followed.

    Args:
        method: the HTTP method.
        url: where to.
        body: bytes, text, or something to read it from.
        headers: to send.
        timeout: in seconds, for each step.
        deadline: by ``time.monotonic()``, for all of it, the answer's body included.
        may_repeat: whether it may be sent again, over a new connection, where a kept one turns out
            to be dead; only if that does no harm.
        is_streamed: whether the body of the answer is left to be read; else it is there.

    Raises:
        urllib3.exceptions.HTTPError: when no answer came.
        http.client.HTTPException: when it makes no sense.
        OSError: when no connection can be made; among them ``RouteError``.
    """
    from urllib3.util import parse_url

    host = process_pool().find_host(url, find_route(url))
    answer: BaseHTTPResponse = host.urlopen(
        method,
        parse_url(url).request_uri,
        body=body,
        headers=headers,
        retries=False,
        redirect=False,
        assert_same_host=False,
        timeout=timeout,
        preload_content=not is_streamed,
        deadline=deadline,
        may_repeat=may_repeat,
    )
    return answer
