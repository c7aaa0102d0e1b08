"""One HTTP request to an OAuth endpoint: bounded in time and size, never redirected, never logged.

``google.auth.transport`` is not used here: its debug log writes the ``code``, the
``code_verifier`` and the ``token`` of a revocation in full.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..conf.settings import conf
from ..exceptions import RefreshUnavailableError
from ..secret import Secret, cut_frames

_MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an endpoint said; ``document`` is the JSON object in it, or an empty one."""

    status: int
    body: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


Body = Mapping[str, "str | Secret"] | bytes | None


@sensitive_variables()
def fetch(
    url: str, *, form: Mapping[str, str | Secret] | None = None, timeout: float | None = None
) -> Answer:
    """POST a form, or GET without one. Errors as :func:`request`.

    Args:
        url: of the endpoint.
        form: the parameters of the body.
        timeout: in seconds, at most ``HTTP_TIMEOUT``.
    """
    method = "GET" if form is None else "POST"
    return request(method, url, body=form, headers={"Accept": "application/json"}, timeout=timeout)


@sensitive_variables()
def request(
    method: str,
    url: str,
    *,
    body: Body = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Answer:
    """Make one request of any kind.

    Args:
        method: the HTTP method.
        url: of the endpoint.
        body: the parameters of a form, or what to send as it is.
        headers: to send.
        timeout: in seconds, at most ``HTTP_TIMEOUT``.

    Raises:
        RefreshUnavailableError: when no whole answer came within ``HTTP_TIMEOUT`` seconds.
    """
    # A socket's time-out is for each of its steps. This one is for all: the look-up of the name,
    # one address after the other, and an answer that comes a byte at a time.
    answer: Future[Answer] = Future()
    arguments = (answer, method, url, body, headers)
    Thread(target=_settle_answer, args=arguments, name="google-link-http", daemon=True).start()
    try:
        return answer.result(min(timeout or conf.http_timeout, conf.http_timeout))
    except TimeoutError:
        raise RefreshUnavailableError("timeout") from None


@sensitive_variables()
def _settle_answer(answer: Future[Answer], *arguments: Any) -> None:
    try:
        answer.set_result(_send_request(*arguments))
    except BaseException as error:
        # It is raised again in the caller's thread, and the form is bare in the frames of this one.
        answer.set_exception(cut_frames(error))


@sensitive_variables()
def _send_request(method: str, url: str, body: Body, headers: Mapping[str, str] | None) -> Answer:
    import requests

    status = None
    try:
        with (
            _open_session(url) as session,
            session.request(
                method,
                url,
                data=_reveal_secrets(body),
                headers=headers,
                # Sooner than the whole: that nobody answers the call is another matter than that
                # whoever has answered it says nothing.
                timeout=(conf.http_timeout / 2, conf.http_timeout),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            status = response.status_code
            answer = _read_body(response)
            if answer is None:
                raise RefreshUnavailableError("answer_too_long", status=status)
            return Answer(
                status=status,
                body=answer,
                document=_parse_object(answer),
                headers=response.headers,
            )
    except requests.ReadTimeout:
        raise RefreshUnavailableError("timeout") from None
    except (requests.RequestException, OSError, ValueError) as error:
        # Whoever has sent the beginning of an answer can be reached.
        problem = "unreachable" if status is None else "answer_cut_short"
        raise RefreshUnavailableError(problem, _name_error(error), status=status) from None


def _name_error(error: BaseException) -> str:
    """Return an error by its name, and by that of what it comes from: a text may name secrets."""
    cause = error
    while following := cause.__cause__ or cause.__context__:
        cause = following
    name, origin = type(error).__name__, type(cause).__name__
    return name if name == origin else f"{name} ({origin})"


def _open_session(url: str) -> Any:
    import requests

    session = requests.Session()
    # Plain HTTP is for this machine alone, and must not go through the environment's proxy.
    session.trust_env = url.startswith("https:")
    session.auth = lambda request: request  # Or a .netrc would add what it knows of this host.
    return session


def _reveal_secrets(body: Body) -> dict[str, str] | bytes | None:
    """Reveal the secrets at the last moment: Django's debug page shows the frames above."""
    if not isinstance(body, Mapping):
        return body
    return {
        key: value.reveal() if isinstance(value, Secret) else value for key, value in body.items()
    }


@sensitive_variables()
def _read_body(response: Any) -> bytes | None:
    """Return a body, or nothing if it is too long.

    Nothing is raised here: Django's debug page would show what has been read so far.
    """
    body = b""
    for chunk in response.iter_content(65_536):
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
