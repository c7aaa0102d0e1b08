"""Workload identity federation: default credentials of type external_account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.cache import cache
from pytest_django import Settings
from werkzeug import Request, Response

from django_google_link.exceptions import (
    ClientMisconfiguredError,
    RefreshUnavailableError,
    SettingsError,
    SubjectNotAllowedError,
)
from django_google_link.services import ServiceAccount, access_token
from django_google_link.testing import FakeGoogle, FakeServiceAccount, FakeUser
from tests.documentation.pages import blocks, text_of
from tests.support.constants import CALENDAR
from tests.support.servers import served

[FILE] = blocks(text_of("howto/workload-identity"), "json")
CONTENT = json.loads(FILE)
IAM = "/v1/projects/-/serviceAccounts"
SUBJECT_TOKEN = "what the cluster says of this workload"
REPORTS = ServiceAccount("reports")
ANNA = ServiceAccount("reports", "anna@example.com")


class SecurityTokenService:
    """Google's STS, which exchanges another cloud's token (RFC 8693)."""

    def __init__(self, google: FakeGoogle, workload: FakeUser) -> None:
        self.asked = 0
        self.refusal: Response | None = None
        self._google = google
        self._workload = workload

    @Request.application
    def application(self, request: Request) -> Response:
        """Exchange a token."""
        self.asked += 1
        if self.refusal:
            return self.refusal
        form = request.form
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        assert (form["audience"], form["subject_token"]) == (CONTENT["audience"], SUBJECT_TOKEN)
        token = self._google.grant(self._workload, form["scope"].split()).access_token
        content = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        return Response(json.dumps(content), content_type="application/json")


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Start each test with an empty cache."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def robot(google: FakeGoogle) -> FakeServiceAccount:
    """A service account at Google with domain-wide delegation."""
    google.add_user("anna@example.com", hosted_domain="example.com")
    return google.add_service_account("robot", delegated_scopes=["*"])


@pytest.fixture
def workload(google: FakeGoogle) -> FakeUser:
    """The identity of this process at Google: a principal of the pool."""
    return google.add_user("principal@pool.example")


@pytest.fixture
def sts(google: FakeGoogle, workload: FakeUser) -> SecurityTokenService:
    """Google's security token service."""
    return SecurityTokenService(google, workload)


@pytest.fixture
def configure_file(
    google: FakeGoogle,
    sts: SecurityTokenService,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., None]]:
    """Write the guide's file, and configure the service account."""
    (tmp_path / "token").write_text(SUBJECT_TOKEN)
    path = tmp_path / "federation.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    def configure(*, impersonating: str = "", **account: Any) -> None:
        content = {**CONTENT, "token_url": f"{url}/v1/token"}
        content["credential_source"] = {"file": str(tmp_path / "token")}
        if impersonating:
            there = f"{google.url}{IAM}/{impersonating}:generateAccessToken"
            content["service_account_impersonation_url"] = there
        path.write_text(json.dumps(content))
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "SERVICE_ACCOUNTS": {"reports": {"API_ENDPOINT": google.url, **account}},
        }

    with served(sts.application) as url:
        yield configure


def owner_of(google: FakeGoogle, token: str) -> str:
    """Return the identity that an API sees for a token."""

    @google.route("/whoami", scopes=[CALENDAR])
    def whoami(request: Any, user: Any) -> dict[str, Any]:
        return {"email": user.email}

    answer = requests.get(
        f"{google.url}/whoami", headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    return str(answer.json()["email"])


def paths_of(google: FakeGoogle) -> list[str]:
    """Return the last path segments of the requests to Google's endpoints."""
    paths = [request.path for request in google.requests if request.path != "/whoami"]
    return [path.rpartition(":")[2].rpartition("/")[2] for path in paths]


def test_account_is_impersonated(
    google: FakeGoogle,
    sts: SecurityTokenService,
    robot: FakeServiceAccount,
    workload: FakeUser,
    configure_file: Callable[..., None],
) -> None:
    """It takes one exchange and one request to IAM."""
    robot.impersonators.append(workload)
    configure_file(IMPERSONATE=robot.email)

    token = access_token(REPORTS, scopes=[CALENDAR])

    assert owner_of(google, token) == robot.email
    assert access_token(REPORTS, scopes=[CALENDAR]) == token
    assert (sts.asked, paths_of(google)) == (1, ["generateAccessToken"])


def test_account_acts_for_a_user(
    google: FakeGoogle,
    sts: SecurityTokenService,
    robot: FakeServiceAccount,
    workload: FakeUser,
    configure_file: Callable[..., None],
) -> None:
    """IAM signs the assertion in place of a key; ``SUBJECTS`` applies here as well."""
    robot.impersonators.append(workload)
    configure_file(IMPERSONATE=robot.email, SUBJECTS=["anna@example.com"])

    token = access_token(ANNA, scopes=[CALENDAR])

    assert owner_of(google, token) == "anna@example.com"
    assert (sts.asked, paths_of(google)) == (1, ["signJwt", "token"])
    with pytest.raises(SubjectNotAllowedError):
        access_token(ServiceAccount("reports", "ben@example.com"), scopes=[CALENDAR])


def test_default_credentials_are_the_account_of_the_file(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    workload: FakeUser,
    configure_file: Callable[..., None],
) -> None:
    """They cannot act for users, since they have no key."""
    robot.impersonators.append(workload)
    configure_file(
        impersonating=robot.email, DEFAULT_CREDENTIALS=True, SUBJECTS=["anna@example.com"]
    )

    assert owner_of(google, access_token(REPORTS, scopes=[CALENDAR])) == robot.email
    with pytest.raises(SettingsError, match="Set IMPERSONATE to the account") as caught:
        access_token(ANNA, scopes=[CALENDAR])
    assert caught.value.id == "E024"


def test_account_that_is_impersonated_twice_needs_the_role_on_itself(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    workload: FakeUser,
    configure_file: Callable[..., None],
) -> None:
    """If both the file and the settings name it."""
    robot.impersonators.append(workload)
    configure_file(impersonating=robot.email, IMPERSONATE=robot.email)
    with pytest.raises(ClientMisconfiguredError, match="getAccessToken"):
        access_token(REPORTS, scopes=[CALENDAR])
    robot.impersonators.append(robot)

    assert owner_of(google, access_token(REPORTS, scopes=[CALENDAR])) == robot.email


def refuse(status: int, **content: str) -> Response:
    """Return an error of the security token service."""
    return Response(json.dumps(content), status, content_type="application/json")


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (refuse(400, error="invalid_grant", error_description="hush"), ClientMisconfiguredError),
        (refuse(403, error="unauthorized_client"), ClientMisconfiguredError),
        (refuse(503, error="unavailable"), RefreshUnavailableError),
    ],
)
def test_exchange_that_fails_is_told(
    sts: SecurityTokenService,
    robot: FakeServiceAccount,
    configure_file: Callable[..., None],
    refusal: Response,
    error: type[Exception],
) -> None:
    """It is reported like any other error, without the workload's token."""
    configure_file(IMPERSONATE=robot.email)
    sts.refusal = refusal

    with pytest.raises(error) as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert SUBJECT_TOKEN not in str(caught.value)


def test_principal_without_the_role_is_told(
    robot: FakeServiceAccount, configure_file: Callable[..., None]
) -> None:
    """The error names the missing permission."""
    configure_file(IMPERSONATE=robot.email, SUBJECTS=["anna@example.com"])

    with pytest.raises(ClientMisconfiguredError, match=r"iam.serviceAccounts.getAccessToken"):
        access_token(REPORTS, scopes=[CALENDAR])
    with pytest.raises(ClientMisconfiguredError, match=r"iam.serviceAccounts.signJwt"):
        access_token(ANNA, scopes=[CALENDAR])


def test_token_that_is_not_there_is_told(
    robot: FakeServiceAccount, configure_file: Callable[..., None], tmp_path: Path
) -> None:
    """It is reported as a problem of this machine."""
    configure_file(IMPERSONATE=robot.email)
    (tmp_path / "token").unlink()

    with pytest.raises(SettingsError, match="no credentials that can be used here"):
        access_token(REPORTS, scopes=[CALENDAR])


def test_file_is_no_key(configure_file: Callable[..., None]) -> None:
    """If the file is given as a key, the error says what it is for."""
    configure_file(INFO=CONTENT)

    with pytest.raises(SettingsError, match="IMPERSONATE to the address") as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert caught.value.id == "E024"
