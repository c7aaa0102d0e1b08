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

from .conf import conf
from .exceptions import RefreshUnavailableError
from .secret import Secret

_MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an endpoint said; ``document`` is the JSON object in it, or an empty one."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@sensitive_variables()
def fetch(url: str, *, form: Mapping[str, str | Secret] | None = None) -> Answer:
    """POST a form, or GET without one.

    Args:
        url: of the endpoint.
        form: the parameters of the body.

    Raises:
        RefreshUnavailableError: when no whole answer came within ``HTTP_TIMEOUT`` seconds.
    """
    # A socket's time-out is for each of its steps. This one is for all: the look-up of the name,
    # one address after the other, and an answer that comes a byte at a time.
    answer: Future[Answer] = Future()
    Thread(target=_keep, args=(answer, url, form), name="google-link-http", daemon=True).start()
    try:
        return answer.result(conf.http_timeout)
    except TimeoutError:
        raise RefreshUnavailableError("timeout") from None


@sensitive_variables()
def _keep(answer: Future[Answer], url: str, form: Mapping[str, str | Secret] | None) -> None:
    try:
        answer.set_result(_ask(url, form))
    except BaseException as error:
        answer.set_exception(error)


@sensitive_variables()
def _ask(url: str, form: Mapping[str, str | Secret] | None) -> Answer:
    import requests

    try:
        with (
            _session() as session,
            session.request(
                "GET" if form is None else "POST",
                url,
                data=_bare(form),
                headers={"Accept": "application/json"},
                timeout=conf.http_timeout,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            body = _read(response)
            return Answer(
                status=response.status_code, document=_object(body), headers=response.headers
            )
    except (requests.RequestException, OSError, ValueError) as error:
        raise RefreshUnavailableError("unreachable", type(error).__name__) from None


def _session() -> Any:
    import requests

    session = requests.Session()
    session.auth = lambda request: request  # Or a .netrc would add what it knows of this host.
    return session


def _bare(form: Mapping[str, str | Secret] | None) -> dict[str, str] | None:
    """Reveal the secrets at the last moment: Django's debug page shows the frames above."""
    if form is None:
        return None
    return {
        key: value.reveal() if isinstance(value, Secret) else value for key, value in form.items()
    }


def _read(response: Any) -> bytes:
    body = b""
    for chunk in response.iter_content(65_536):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise RefreshUnavailableError("answer_too_long", status=response.status_code)
    return body


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
