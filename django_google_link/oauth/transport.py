"""Sends requests to OAuth endpoints: limited in time and size, not redirected, not logged.

``google.auth.transport`` is not used: its debug log contains the ``code``, the ``code_verifier``
and the ``token`` of a revocation in full.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

from django.views.decorators.debug import sensitive_variables

from ..conf.settings import conf
from ..exceptions import RefreshUnavailableError
from ..http.failures import (
    describe_failure,
    is_connect_time_out,
    is_time_out,
    list_failures,
)
from ..http.pool import load_libraries, send_request
from ..secret import Secret, cut_frames

_MAX_BYTES = 1_000_000
_SHORTEST_TIMEOUT = 0.001  # seconds

#: The time by which all requests have to end, by ``time.monotonic()``.
_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))

#: What to do about a slow request: a function that returns after how many seconds, and another.
_reaction: ContextVar[tuple[Callable[[], float], Callable[[bool], None]] | None]
_reaction = ContextVar("reaction", default=None)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response; ``document`` is the JSON object in its body, or empty without one."""

    status: int
    body: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


Body = Mapping[str, "str | Secret"] | bytes | None
Headers = Mapping[str, "str | Secret"]


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Limit the total time of all requests within this block.

    Args:
        seconds: the limit; ``None`` for none but the ``HTTP_TIMEOUT`` of each request.
    """
    until = float("inf") if seconds is None else time.monotonic() + seconds
    before = _deadline.set(min(until, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(before)


@contextmanager
def reporting_slowness(
    find_limit: Callable[[], float], report: Callable[[bool], None]
) -> Iterator[None]:
    """Report each request within this block that has had no response for some time.

    Args:
        find_limit: returns the time in seconds. When it has passed, it is asked once more, since
            other requests may have been answered meanwhile.
        report: called in the thread of the caller, while the request goes on, with whether the
            request has been sent; it has not if no connection could be made so far.
    """
    before = _reaction.set((find_limit, report))
    try:
        yield
    finally:
        _reaction.reset(before)


@sensitive_variables()
def fetch(
    url: str,
    *,
    form: Mapping[str, str | Secret] | None = None,
    headers: Headers | None = None,
) -> Answer:
    """POST a form, or GET without one, and expect JSON. Raises as :func:`request`.

    Args:
        url: the address of the endpoint.
        form: the parameters in the body.
        headers: additional headers.
    """
    method = "GET" if form is None else "POST"
    headers = {"Accept": "application/json", **(headers or {})}
    return request(method, url, body=form, headers=headers)


@sensitive_variables()
def request(
    method: str,
    url: str,
    *,
    body: Body = None,
    headers: Headers | None = None,
    timeout: float | None = None,
) -> Answer:
    """Send a request.

    Args:
        method: the HTTP method.
        url: the address of the endpoint.
        body: the parameters of a form, or bytes.
        headers: the headers.
        timeout: in seconds, at most ``HTTP_TIMEOUT``.

    Raises:
        RefreshUnavailableError: if no complete response arrived within the time limit.
    """
    load_libraries()
    now = time.monotonic()
    seconds = min(timeout or conf.http_timeout, conf.http_timeout, _deadline.get() - now)
    seconds = max(seconds, _SHORTEST_TIMEOUT)
    deadline = now + seconds
    answer: Future[Answer] = Future()
    sent = Event()
    send = partial(_send_request, method, url, body, headers, deadline=deadline, on_sent=sent.set)
    arguments = (answer, send)
    try:
        # Resolving a name cannot be interrupted, so the caller does not wait for the thread.
        Thread(target=_settle_answer, args=arguments, name="google-link-http", daemon=True).start()
    except RuntimeError:  # No thread can be started, or the interpreter is shutting down.
        _settle_answer(*arguments)
    try:
        return _await_answer(answer, sent, deadline)
    except TimeoutError:
        raise RefreshUnavailableError("timeout") from None


@sensitive_variables()
def _await_answer(answer: Future[Answer], sent: Event, deadline: float) -> Answer:
    """Return the response, and report it if the request is slow.

    Raises:
        TimeoutError: at the deadline.
    """
    if reaction := _reaction.get():
        find_limit, report = reaction
        started, waited = time.monotonic(), 0.0
        while (limit := find_limit()) > waited and started + limit < deadline:
            with suppress(TimeoutError):
                return answer.result(max(started + limit - time.monotonic(), 0))
            waited = limit
        if waited >= limit:
            report(sent.is_set())
    return answer.result(max(deadline - time.monotonic(), 0))


@sensitive_variables()
def _settle_answer(answer: Future[Answer], send: Callable[[], Answer]) -> None:
    try:
        answer.set_result(send())
    except BaseException as error:
        # The caller raises it again; the frames of this thread contain the form in plain text.
        answer.set_exception(cut_frames(error))


@sensitive_variables()
def _send_request(
    method: str,
    url: str,
    body: Body,
    headers: Headers | None,
    *,
    deadline: float,
    on_sent: Callable[[], None],
) -> Answer:
    failures: tuple[type[BaseException], ...] = (*list_failures(), ValueError)
    status = None
    try:
        response = send_request(
            method,
            url,
            body=_encode_body(body),
            headers=_complete_headers(headers, is_form=isinstance(body, Mapping)),
            timeout=_make_timeout(max(deadline - time.monotonic(), _SHORTEST_TIMEOUT)),
            deadline=deadline,
            on_sent=on_sent,
            # After an error it is not known whether the endpoint has acted on the request.
            may_repeat=method == "GET",
            is_streamed=True,
        )
        status = response.status
        try:
            answer = _read_body(response)
            if answer is None:
                raise RefreshUnavailableError("answer_too_long", status=status)
            return Answer(
                status=status,
                body=answer,
                document=_parse_object(answer),
                headers=response.headers,
            )
        finally:
            # A connection whose response was read completely is back in the pool by now.
            response.close()
    except failures as error:
        if is_time_out(error) and not is_connect_time_out(error):
            raise RefreshUnavailableError("timeout") from None
        # A server that has begun to respond can be reached.
        problem = "unreachable" if status is None else "answer_cut_short"
        raise RefreshUnavailableError(problem, describe_failure(error), status) from None


def _make_timeout(seconds: float) -> Any:
    """Return the timeouts of one request.

    Connecting times out before the whole request does, so that an unreachable server can be told
    from one that accepts the connection but does not respond.
    """
    from urllib3 import Timeout

    return Timeout(connect=seconds / 2, read=seconds)


@sensitive_variables()
def _complete_headers(headers: Headers | None, *, is_form: bool) -> dict[str, str]:
    given = {key: _reveal(value) for key, value in (headers or {}).items()}
    completed = {"Accept-Encoding": "identity", "User-Agent": conf.user_agent, **given}
    if is_form:
        completed["Content-Type"] = "application/x-www-form-urlencoded"
    return completed


@sensitive_variables()
def _encode_body(body: Body) -> bytes | None:
    """Encode a form. Secrets are revealed only here: error reports show local variables."""
    if not isinstance(body, Mapping):
        return body
    return urlencode({key: _reveal(value) for key, value in body.items()}).encode()


@sensitive_variables()
def _reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


@sensitive_variables()
def _read_body(response: Any) -> bytes | None:
    """Return the body, or ``None`` if it is too long.

    It does not raise, since error reports would show what has been read.
    """
    body = b""
    for chunk in response.stream(65_536):
        body += chunk
        if len(body) > _MAX_BYTES:
            return None
    return body


def _parse_object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
