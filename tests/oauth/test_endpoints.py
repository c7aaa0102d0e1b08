"""The OAuth endpoints' answers, and what each of them means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from django_google_link.oauth import endpoints
from django_google_link.oauth.transport import fetch
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.servers import served
from tests.support.slow_servers import dripping, silent

TOKEN = Secret("1//token")


@pytest.fixture
def impatient(settings: Settings) -> None:
    """Wait for a moment, not for ten seconds."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.2}


def refresh() -> endpoints.TokenResponse:
    """Refresh some token."""
    return endpoints.refresh(get_client(), refresh_token=TOKEN)


def test_loopback_is_not_reached_through_a_proxy(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is in plain text: the proxy would see the client's secret."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    token = Secret(google.grant(alice, ["openid"]).refresh_token)

    assert endpoints.refresh(get_client(), refresh_token=token).access_token


def test_refresh_sends_no_scope(google: FakeGoogle, alice: FakeUser) -> None:
    """All that was granted is meant; the answer says what that is."""
    tokens = google.grant(alice, ["openid", "email"])

    response = endpoints.refresh(get_client(), refresh_token=Secret(tokens.refresh_token))

    [request] = google.requests_to("token")
    assert set(request.form) == {"client_id", "client_secret", "grant_type", "refresh_token"}
    assert set(response.scopes or ()) == {"openid", "email"}
    assert response.refresh_token is None
    assert response.access_token_expires_at
    life = response.access_token_expires_at - timezone.now()
    assert timedelta(seconds=3590) < life <= timedelta(seconds=3599)


@pytest.mark.parametrize(
    ("subtype", "reason"),
    [
        (None, "revoked"),
        ("something_new", "revoked"),
        ("invalid_rapt", "session_policy"),
        ("rapt_required", "session_policy"),
    ],
)
def test_invalid_grant_is_a_lost_grant(
    google: FakeGoogle, subtype: str | None, reason: str
) -> None:
    """With what ended it."""
    google.error_next("invalid_grant", description="Token has been revoked.", subtype=subtype)

    with pytest.raises(GrantLostError) as caught:
        refresh()

    assert caught.value.reason == reason
    assert ("Google Cloud session control" in str(caught.value)) is (reason == "session_policy")


@pytest.mark.matrix
@pytest.mark.parametrize("error", sorted(endpoints.CLIENT_ERRORS))
@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_client_is_our_misconfiguration(
    google: FakeGoogle, error: str, status: int
) -> None:
    """With code, text and status."""
    google.error_next(error, description="Unauthorized", status=status)

    with pytest.raises(ClientMisconfiguredError) as caught:
        refresh()

    assert (caught.value.error, caught.value.status) == (error, status)
    assert str(caught.value) == f"{error}: Unauthorized (HTTP {status})"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        *(
            {"status": status, "body": {"error": "invalid_grant"}}
            for status in (500, 502, 503, 504)
        ),
        *({"status": status, "body": {"error": "invalid_grant"}} for status in (408, 425, 429)),
        {"status": 403, "body": "<html>Rate limit exceeded</html>", "content_type": "text/html"},
        {"status": 400, "body": "<html>"},
        {"status": 400, "body": ""},
        {"status": 400, "body": []},
        {"status": 400, "body": {"error": ["x"]}},
        {"status": 400, "body": {"error": "temporarily_unavailable"}},
        {"status": 200, "body": "x" * 1_500_000},
        {"status": 204},
        {"status": 301, "headers": {"Location": "/token"}},
        {"status": 307, "headers": {"Location": "/token"}},
        {"drop": True},
        {"status": 200, "body": {"access_token": "x"}, "drop": True},
    ],
)
def test_answer_without_sense_is_unavailability(google: FakeGoogle, fault: dict[str, Any]) -> None:
    """Passing trouble, nonsense and redirects say nothing about the grant."""
    google.fail_next(**fault)

    with pytest.raises(RefreshUnavailableError):
        refresh()

    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize(
    "body",
    [
        {"access_token": "x", "token_type": "DPoP"},
        {},
        {"access_token": ""},
        {"access_token": 5},
        "ok",
        ["access_token"],
        b"\xff\xfe",
        "[" * 100_000,
    ],
)
def test_success_without_a_usable_token_is_returned(google: FakeGoogle, body: Any) -> None:
    """It is unavailability as well, but a refresh token in it has to be taken care of."""
    google.fail_next(status=200, body=body)

    assert isinstance(refresh().problem, RefreshUnavailableError)

    assert len(google.requests_to("token")) == 1


def test_answer_is_read_up_to_a_megabyte(google: FakeGoogle) -> None:
    """Whatever it says: a provider must not fill the memory of a worker."""
    answer = {"access_token": "ya29.long", "padding": "x" * 900_000}
    google.fail_next(status=200, body=answer)
    assert refresh().access_token.reveal() == "ya29.long"

    google.fail_next(status=200, body={**answer, "more": "x" * 200_000})
    with pytest.raises(RefreshUnavailableError, match="answer_too_long") as caught:
        refresh()

    assert caught.value.status == 200


def test_answer_that_never_ends_is_not_read_to_its_end(google: FakeGoogle) -> None:
    """What comes after the megabyte stays with the provider."""
    sent: list[int] = []

    def drone(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        while True:
            sent.append(65_536)
            yield b" " * 65_536

    with served(drone) as url, pytest.raises(RefreshUnavailableError, match="answer_too_long"):
        fetch(url)

    assert sum(sent) < 50_000_000


def test_google_out_of_reach_is_unavailability(google: FakeGoogle) -> None:
    """No connection."""
    google.stop()

    with pytest.raises(RefreshUnavailableError) as caught:
        refresh()

    assert caught.value.status is None
    assert caught.value.__suppress_context__


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_slow_answer_is_unavailability(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """No caller waits much longer than HTTP_TIMEOUT."""
    with silent() as url:
        configure(TOKEN_ENDPOINT=url)
        with pytest.raises(RefreshUnavailableError):
            refresh()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_dripping_answer_is_unavailability(
    google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """Nor if there is always a little more to come."""
    with dripping() as url:
        configure(TOKEN_ENDPOINT=url)
        with pytest.raises(RefreshUnavailableError, match="timeout"):
            refresh()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("expires_in", "lives"),
    [
        (3599, True),
        ("3599", True),
        (None, False),
        ("soon", False),
        ([], False),
        (-5, True),
        (10**30, True),
        (float("inf"), False),
    ],
)
def test_lifetime_may_be_odd(google: FakeGoogle, expires_in: Any, lives: bool) -> None:
    """Unknown is unknown, and never an error."""
    google.fail_next(status=200, body={"access_token": "ya29.x", "expires_in": expires_in})

    assert (refresh().access_token_expires_at is not None) is lives


def test_error_texts_are_cut(google: FakeGoogle) -> None:
    """The provider's text is never trusted to be short."""
    google.error_next("unheard_of" * 100, description="x" * 10_000)

    with pytest.raises(TokenEndpointError) as caught:
        refresh()

    assert len(caught.value.error) == 100
    assert len(caught.value.error_description) == 200


def test_code_that_is_refused_is_no_lost_grant(google: FakeGoogle) -> None:
    """An invalid_grant for a code speaks of the code."""
    with pytest.raises(TokenEndpointError) as caught:
        endpoints.exchange_code(
            get_client(), code=Secret("x"), redirect_uri="https://a.example", code_verifier="v"
        )

    assert caught.value.error == "invalid_grant"


def test_revoke_posts_the_token_in_the_body(google: FakeGoogle, alice: FakeUser) -> None:
    """And the grant is gone."""
    tokens = google.grant(alice, ["openid"])

    endpoints.revoke(get_client(), token=Secret(tokens.refresh_token))

    [request] = google.requests_to("revoke")
    assert (request.method, dict(request.query)) == ("POST", {})
    assert request.form == {"token": tokens.refresh_token}
    assert google.granted_scopes(alice) is None


def test_revoke_of_a_dead_token_is_done(google: FakeGoogle) -> None:
    """400 invalid_token is what was wanted."""
    endpoints.revoke(get_client(), token=TOKEN)

    assert len(google.requests_to("revoke")) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 503}, RefreshUnavailableError),
        ({"status": 400, "body": {"error": "unsupported_token_type"}}, TokenEndpointError),
    ],
)
def test_revoke_that_fails_says_so(
    google: FakeGoogle, fault: dict[str, Any], error: type[Exception]
) -> None:
    """It is up to the caller to try again."""
    google.fail_next(endpoint="revoke", **fault)

    with pytest.raises(error):
        endpoints.revoke(get_client(), token=TOKEN)


def test_error_text_writes_no_lines_of_its_own() -> None:
    """The log is ours."""
    error = TokenEndpointError("invalid\nrequest", "It was\r\nCRITICAL all is lost\x1b[2J", 400)

    assert str(error) == "invalid request: It was  CRITICAL all is lost [2J (HTTP 400)"


def test_netrc_is_not_sent(google: FakeGoogle, tmp_path: Path, monkeypatch: Any) -> None:
    """What a user of this machine keeps for a host is none of Google's business."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login operator password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    fetch(f"{google.url}/token", form={})

    assert "Authorization" not in google.requests_to("token")[0].headers


def test_provider_without_a_revocation_endpoint_is_told_nothing(google: FakeGoogle) -> None:
    """Whoever asks all the same hears why."""
    client = replace(get_client(), revocation_endpoint=None)

    with pytest.raises(TokenEndpointError, match="no_revocation_endpoint"):
        endpoints.revoke(client, token=TOKEN)
