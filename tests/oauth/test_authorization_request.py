"""What a provider is asked for, parameter by parameter."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from google_auth_oauthlib.flow import Flow

from django_google_link.conf.clients import OAuthClient, get_client
from django_google_link.oauth.authorization_request import write_authorization_url
from django_google_link.testing import FakeGoogle
from tests.support.constants import CALENDAR, DRIVE

# RFC 7636 appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CALLBACK = "https://daybook.example/google/callback/"
ALWAYS = {
    "client_id": "daybook",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": f"openid {DRIVE} {CALENDAR}",
    "state": "a-state",
    "nonce": "a-nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "access_type": "offline",
}
COMBINED = {**ALWAYS, "include_granted_scopes": "true"}


@pytest.fixture
def google_client(configure: Callable[..., None], google: FakeGoogle) -> OAuthClient:
    """A client of Google's, at its https address."""
    endpoint = "https://accounts.google.com/o/oauth2/v2/auth"
    return replace(get_client(), client_id="daybook", authorization_endpoint=endpoint)


def write(client: OAuthClient, **arguments: Any) -> str:
    """Write the address for these scopes, in this order."""
    return write_authorization_url(
        client,
        redirect_uri=CALLBACK,
        scopes=("openid", DRIVE, CALENDAR),
        state="a-state",
        nonce="a-nonce",
        code_verifier=VERIFIER,
        **arguments,
    )


@pytest.mark.parametrize(
    ("params", "hosted_domains", "arguments", "expected"),
    [
        ({}, (), {}, COMBINED),
        ({}, (), {"include_granted_scopes": False}, ALWAYS),
        ({}, (), {"prompt": "consent"}, {**COMBINED, "prompt": "consent"}),
        ({}, (), {"login_hint": "1001"}, {**COMBINED, "login_hint": "1001"}),
        ({}, ("example.com",), {}, {**COMBINED, "hd": "example.com"}),
        ({}, ("*",), {}, {**COMBINED, "hd": "*"}),
        ({}, ("example.com", "example.org"), {}, {**COMBINED, "hd": "*"}),
        ({"hd": "*"}, ("example.com",), {}, {**COMBINED, "hd": "*"}),
        (
            {"prompt": "select_account"},
            (),
            {"prompt": "consent"},
            {**COMBINED, "prompt": "consent select_account"},
        ),
        ({"prompt": "consent"}, (), {"prompt": "consent"}, {**COMBINED, "prompt": "consent"}),
        ({"hl": "de", "login_hint": "x"}, (), {}, {**COMBINED, "hl": "de", "login_hint": "x"}),
        ({"access_type": ""}, (), {}, {k: v for k, v in COMBINED.items() if k != "access_type"}),
        ({"hl": ""}, (), {}, COMBINED),
        # Names of google-auth-oauthlib's own, and of oauthlib's.
        *[({name: "ä&=?"}, (), {}, {**COMBINED, name: "ä&=?"}) for name in ("url", "uri", "self")],
    ],
)
def test_authorization_request_has_these_parameters_and_no_others(
    google_client: OAuthClient,
    params: dict[str, str],
    hosted_domains: tuple[str, ...],
    arguments: dict[str, Any],
    expected: dict[str, str],
) -> None:
    """Each of them once; what is empty is left out."""
    client = replace(google_client, authorization_params=params, hosted_domains=hosted_domains)

    address, _, query = write(client, **arguments).partition("?")

    assert address == client.authorization_endpoint
    written = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    assert sorted(written) == sorted(expected.items())


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://id.example/auth",
        "https://id.example/auth?tenant=a%2Fb",
        "https://id.example/auth?tenant=1&flag&empty=&twice=1&twice=2",
        "https://id.example:8443/a%20b/auth;v=1?x=a+b;c",
        "http://127.0.0.1:9000/auth",
        "http://localhost/auth?tenant=1",
        "http://[::1]:9000/auth",
    ],
)
def test_authorization_endpoint_is_as_it_is_configured(
    google_client: OAuthClient, endpoint: str
) -> None:
    """RFC 6749 section 3.1: its own query is kept. On loopback it may be http."""
    url = write(replace(google_client, authorization_endpoint=endpoint))

    assert url.startswith(f"{endpoint}{'&' if '?' in endpoint else '?'}nonce=a-nonce&")
    assert not urlsplit(url).fragment


def test_environment_is_left_alone(
    google_client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OAUTHLIB_INSECURE_TRANSPORT`` would hold for the whole project."""
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    before = dict(os.environ)

    write(replace(google_client, authorization_endpoint="http://127.0.0.1:9000/auth"))

    assert dict(os.environ) == before


def test_it_is_google_auth_oauthlib_that_writes(
    google_client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it will add to Google's requests one day is in ours."""
    written = Flow.authorization_url

    def write_more(self: Flow, **params: Any) -> Any:
        return written(self, **params, device_name="new")

    monkeypatch.setattr(Flow, "authorization_url", write_more)

    assert "device_name=new" in write(google_client)
