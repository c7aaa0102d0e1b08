"""Service accounts, as google-auth uses them and as a forger would."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials
from joserfc import jws

from django_google_link.testing import FakeGoogle, FakeServiceAccount
from tests.testing.app import CALENDAR, DRIVE

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture
def robot(google: FakeGoogle) -> FakeServiceAccount:
    return google.add_service_account()


def credentials_of(google: FakeGoogle, account: FakeServiceAccount, **kwargs: Any) -> Credentials:
    info = google.service_account_info(account)
    return Credentials.from_service_account_info(info, **kwargs)


def ask(google: FakeGoogle, account: FakeServiceAccount, key: Any = None, **claims: Any) -> Any:
    """Send an assertion with these claims; ``None`` leaves one out."""
    now = int(time.time())
    every = {
        "iss": account.email,
        "scope": CALENDAR,
        "aud": f"{google.url}/token",
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    payload = {name: value for name, value in every.items() if value is not None}
    assertion = jws.serialize_compact(
        {"alg": "RS256"}, json.dumps(payload), key or account.key, algorithms=["RS256"]
    )
    return post(google, assertion)


def post(google: FakeGoogle, assertion: str) -> Any:
    form = {"grant_type": JWT_BEARER, "assertion": assertion}
    return requests.post(f"{google.url}/token", form, timeout=5)


def test_google_auth_gets_a_token(google: FakeGoogle, robot: FakeServiceAccount) -> None:
    google.route("/calendar", scopes=[CALENDAR])(lambda request, user: {"of": user.email})
    credentials = credentials_of(google, robot, scopes=[CALENDAR])

    credentials.refresh(Request())

    headers = {"Authorization": f"Bearer {credentials.token}"}
    answer = requests.get(f"{google.url}/calendar", headers=headers, timeout=5)
    assert answer.json() == {"of": robot.email}


def test_google_auth_acts_for_a_user(google: FakeGoogle, robot: FakeServiceAccount) -> None:
    google.add_user("anna@example.org", hosted_domain="example.org")
    robot.delegated_scopes.append(CALENDAR)

    credentials = credentials_of(google, robot, scopes=[CALENDAR], subject="anna@example.org")
    credentials.refresh(Request())

    assert credentials.token


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("subject", "scope", "error"),
    [
        ("nobody@example.org", CALENDAR, "invalid_grant"),
        ("alice@example.com", CALENDAR, "invalid_grant"),
        ("anna@example.org", DRIVE, "unauthorized_client"),
    ],
)
def test_delegation_that_is_refused(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    alice: Any,
    subject: str,
    scope: str,
    error: str,
) -> None:
    google.add_user("anna@example.org", hosted_domain="example.org")
    robot.delegated_scopes.append(CALENDAR)
    credentials = credentials_of(google, robot, scopes=[scope], subject=subject)

    with pytest.raises(RefreshError, match=error):
        credentials.refresh(Request())


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({}, None),
        ({"aud": "https://oauth2.googleapis.com/token"}, None),
        ({"sub": "robot@fake-google.iam.gserviceaccount.com"}, None),
        ({"iss": "other@example.com"}, "invalid_grant"),
        ({"iss": None}, "invalid_grant"),
        ({"aud": "https://example.com/token"}, "invalid_grant"),
        ({"iat": 0, "exp": 3600}, "invalid_grant"),
        ({"iat": 9_999_999_999, "exp": 9_999_999_999}, "invalid_grant"),
        ({"exp": 9_999_999_999}, "invalid_grant"),
        ({"iat": None}, "invalid_grant"),
        ({"exp": "soon"}, "invalid_grant"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_assertion_is_checked(
    google: FakeGoogle, robot: FakeServiceAccount, claims: dict[str, Any], error: str | None
) -> None:
    answer = ask(google, robot, **claims).json()

    assert answer.get("error") == error
    assert ("access_token" in answer) is (error is None)


def test_assertion_signed_by_another_key_is_refused(
    google: FakeGoogle, robot: FakeServiceAccount
) -> None:
    other = google.add_service_account("other")

    assert ask(google, robot, key=other.key).json()["error_description"] == "Invalid JWT Signature."


@pytest.mark.parametrize("assertion", ["", "a", "a.b.c", "e30.W10.", "é.é.é"])
def test_assertion_that_is_none_is_refused(
    google: FakeGoogle, robot: FakeServiceAccount, assertion: str
) -> None:
    assert post(google, assertion).json()["error"] == "invalid_grant"


def test_names_are_unique(google: FakeGoogle, robot: FakeServiceAccount) -> None:
    with pytest.raises(ValueError, match="already"):
        google.add_service_account()


@pytest.mark.parametrize("method", ["generateAccessToken", "signJwt"])
def test_iam_serves_impersonators_only(
    google: FakeGoogle, robot: FakeServiceAccount, method: str
) -> None:
    machine = google.add_service_account("machine")
    credentials = credentials_of(google, machine, scopes=[CLOUD_PLATFORM])
    credentials.refresh(Request())

    def call() -> requests.Response:
        return requests.post(
            f"{google.url}/v1/projects/-/serviceAccounts/{robot.email}:{method}",
            json={"scope": [CALENDAR], "payload": "{}"},
            headers={"Authorization": f"Bearer {credentials.token}"},
            timeout=5,
        )

    refused = call()
    robot.impersonators.append(machine)
    served = call()

    assert refused.json()["error"]["status"] == "PERMISSION_DENIED"
    assert served.status_code == 200
