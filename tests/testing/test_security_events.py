"""Cross-Account Protection at the fake: what it publishes, signs, and lets one register."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
import requests

from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.provider.security_events import EVENT_TYPES, PUSH

RISC = "https://www.googleapis.com/auth/risc.configuration.readwrite"


@pytest.fixture
def headers(google: FakeGoogle, alice: FakeUser) -> dict[str, str]:
    """What somebody sends who may configure the events."""
    token = google.grant(alice, [RISC]).access_token
    return {"Authorization": f"Bearer {token}"}


def test_configuration_is_published(google: FakeGoogle) -> None:
    """The issuer ends with a slash, as Google's."""
    found = requests.get(f"{google.url}/.well-known/risc-configuration").json()

    assert found["issuer"] == f"{google.url}/"
    assert found["jwks_uri"] == f"{google.url}/oauth2/v3/certs"


def test_token_is_signed_and_has_no_end(google: FakeGoogle, alice: FakeUser) -> None:
    """With the key that is published."""
    token = google.security_event_token(
        "account-disabled", user=alice, details={"reason": "hijacking"}
    )

    keys = jwt.PyJWKSet.from_dict(requests.get(f"{google.url}/oauth2/v3/certs").json())
    claims = jwt.decode(token, keys.keys[0], algorithms=["RS256"], audience=google.client.client_id)
    assert "exp" not in claims
    assert claims["events"][EVENT_TYPES["account-disabled"]] == {
        "subject": {"subject_type": "iss-sub", "iss": f"{google.url}/", "sub": alice.sub},
        "reason": "hijacking",
    }


@pytest.mark.parametrize("path", ["stream", "stream/status"])
def test_configuring_needs_a_token(google: FakeGoogle, alice: FakeUser, path: str) -> None:
    """With the scope for it."""
    assert requests.get(f"{google.url}/v1beta/{path}").status_code == 401
    token = google.grant(alice, ["openid"]).access_token
    answer = requests.get(
        f"{google.url}/v1beta/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("stream:update", {}),
        ("stream:update", {"delivery": {"delivery_method": PUSH}}),
        ("stream:update", {"delivery": {"delivery_method": "poll", "url": "https://x.example/"}}),
        (
            "stream:update",
            {
                "delivery": {"delivery_method": PUSH, "url": "https://x.example/"},
                "events_requested": ["https://x.example/unknown"],
            },
        ),
        ("stream/status:update", {"status": "paused"}),
        ("stream:verify", {"state": "x"}),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    google: FakeGoogle, headers: dict[str, str], path: str, content: dict[str, Any]
) -> None:
    """In the words of Google's APIs."""
    answer = requests.post(f"{google.url}/v1beta/{path}", json=content, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert google.event_stream == {"url": "", "events_requested": [], "status": "enabled"}


def test_receiver_that_is_away_is_no_concern_of_googles(
    google: FakeGoogle, headers: dict[str, str]
) -> None:
    """An event is sent, and lost."""
    content = {"delivery": {"delivery_method": PUSH, "url": "http://127.0.0.1:9/"}}
    requests.post(f"{google.url}/v1beta/stream:update", json=content, headers=headers)

    answer = requests.post(f"{google.url}/v1beta/stream:verify", json={}, headers=headers)

    assert answer.status_code == 200
