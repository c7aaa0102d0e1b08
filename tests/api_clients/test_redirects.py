"""Redirects between Google's hosts, over TLS, are followed without the token."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_google_link.accounts.declared_scopes import declaring
from django_google_link.exceptions import MissingScopesError
from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_http, authorized_session
from django_google_link.testing.accounts import make_google_account
from tests.support.hostile_servers import (
    HostileServer,
    answering,
    hostile_server,
    make_answer,
)
from tests.support.https_servers import write_certificate

pytestmark = pytest.mark.django_db


def _get_by_http(account: GoogleAccount, url: str) -> Any:
    return json.loads(authorized_http(account).request(url)[1])


def _get_by_session(account: GoogleAccount, url: str) -> Any:
    return authorized_session(account).get(url).json()


@pytest.fixture
def servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HostileServer, HostileServer]]:
    """Two trusted servers."""
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile_server(context) as one, hostile_server(context) as other:
        yield one, other
    process_pool().close_idle()


@pytest.fixture
def account(google: Any, user: Any, configure: Callable[..., None]) -> GoogleAccount:
    """An account with a valid access token, for Google's real APIs."""
    configure(API_ENDPOINT=None)
    return make_google_account(user, access_token="ya29.x")


@pytest.mark.matrix
@pytest.mark.parametrize("get", [_get_by_http, _get_by_session])
@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x"])
def test_token_does_not_go_along_to_another_host(
    servers: tuple[HostileServer, HostileServer], account: GoogleAccount, get: Any, status: str
) -> None:
    """It is not sent after a second redirect, or one back, either."""
    one, other = servers
    one.next.append(answering(make_answer({}, status, Location=f"{other.url}/2")))
    other.next.append(answering(make_answer({}, status, Location="/3")))
    other.next.append(answering(make_answer({}, status, Location=f"{one.url}/4")))

    assert get(account, f"{one.url}/1") == {"id": "4"}

    first, last = one.requests
    assert first.headers["authorization"] == "Bearer ya29.x"
    assert "authorization" not in last.headers
    assert ["authorization" in seen.headers for seen in other.requests] == [False, False]


@pytest.mark.parametrize("get", [_get_by_http, _get_by_session])
def test_redirect_to_plain_http_is_an_error(
    servers: tuple[HostileServer, HostileServer], account: GoogleAccount, get: Any
) -> None:
    """Nothing is sent in plain text."""
    one, _ = servers
    with hostile_server() as plain:
        one.next.append(answering(make_answer({}, "302 Found", Location=f"{plain.url}/2")))
        with pytest.raises(ValueError, match="is not https"):
            get(account, f"{one.url}/1")

        assert plain.connections == 0


@pytest.mark.parametrize("get", [_get_by_http, _get_by_session])
def test_scope_that_another_host_misses_is_nobody_s(
    servers: tuple[HostileServer, HostileServer], account: GoogleAccount, get: Any
) -> None:
    """A 403 of a host that did not get the token does not send the user to consent."""
    one, other = servers
    refusal = make_answer({"error": "insufficient_scope"}, "403 Forbidden")
    one.next.append(answering(make_answer({}, "302 Found", Location=f"{other.url}/2")))
    other.next.append(answering(refusal))

    with declaring(lambda _: ["https://www.googleapis.com/auth/drive"]):
        assert get(account, f"{one.url}/1") == {"error": "insufficient_scope"}

        one.next.append(answering(refusal))
        with pytest.raises(MissingScopesError):
            get(account, f"{one.url}/1")


@pytest.mark.parametrize("get", [_get_by_http, _get_by_session])
def test_host_that_is_read_in_two_ways_gets_no_token(
    account: GoogleAccount, configure: Callable[..., None], get: Any
) -> None:
    """Python and urllib3 parse a backslash in the host differently."""
    with hostile_server() as emulator, hostile_server() as other:
        configure(API_ENDPOINT=emulator.url)

        with pytest.raises(ValueError, match=r"backslash|is not https"):
            get(account, f"{other.url}\\@127.0.0.1:{emulator.port}/1")

        assert other.connections == emulator.connections == 0
