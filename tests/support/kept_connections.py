"""Callers of a server, by each way that shares the process's connections."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from requests.exceptions import RequestException

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.http.pool import send_request
from django_google_link.models import GoogleAccount
from django_google_link.oauth.transport import request as request_endpoint
from django_google_link.services import authorized_http, authorized_session

#: What a caller gets in place of a response.
FAILURES = (OSError, RequestException, RefreshUnavailableError)

Caller = Callable[[str, str], str]


def _call_by_pool(account: GoogleAccount, method: str, url: str) -> Any:
    from urllib3.exceptions import HTTPError

    try:
        answer = send_request(method, url, body=b"", headers={}, timeout=20)
    except HTTPError as error:
        raise OSError(type(error).__name__) from None
    return json.loads(answer.data)


def _call_by_endpoint(account: GoogleAccount, method: str, url: str) -> Any:
    return request_endpoint(method, url, body=b"").document


def _call_by_session(account: GoogleAccount, method: str, url: str) -> Any:
    return authorized_session(account).request(method, url).json()


def _call_by_http(account: GoogleAccount, method: str, url: str) -> Any:
    _, content = authorized_http(account).request(url, method)
    return json.loads(content)


CALLERS: dict[str, Callable[[GoogleAccount, str, str], Any]] = {
    "pool": _call_by_pool,
    "endpoint": _call_by_endpoint,
    "session": _call_by_session,
    "http": _call_by_http,
}
