"""Service accounts: authentication, delegation, the shared cache, and errors."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter
from google.auth.exceptions import RefreshError, TransportError
from pytest_django import Settings
from werkzeug import Request
from werkzeug import Response as WSGIResponse

from django_google_link.api_clients import service_account_tokens
from django_google_link.checks.settings import check_settings
from django_google_link.conf.settings import conf
from django_google_link.encryption.keyring import make_key
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    KeyServiceError,
    RefreshUnavailableError,
    SubjectNotAllowedError,
)
from django_google_link.secret import Secret
from django_google_link.services import (
    ServiceAccount,
    aaccess_token,
    access_token,
    acredentials_for,
    authorized_session,
    build_service,
    credentials_for,
)
from django_google_link.testing import FakeGoogle, FakeServiceAccount, travel
from django_google_link.testing.provider.responses import json_response
from tests.support.constants import CALENDAR, DRIVE
from tests.support.databases import at_once
from tests.support.frames import STOPS, Interruption, list_frames
from tests.support.key_services import Safe, use_keys, wrap
from tests.support.servers import served
from tests.support.times import skip_pauses

REPORTS = ServiceAccount("reports")
IAM = "/v1/projects/-/serviceAccounts"
EVENTS = "/calendar/v3/calendars/<id>/events"


KEY = {
    "type": "service_account",
    "client_email": "robot@example.com",
    "private_key": "very-private",
    "token_uri": "https://oauth2.googleapis.com/token",
}


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Start each test with an empty cache."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def robot(google: FakeGoogle) -> FakeServiceAccount:
    """A service account at Google."""
    return google.add_service_account()


@pytest.fixture
def service_account(settings: Settings, google: FakeGoogle) -> Callable[..., None]:
    """Configure the service account "reports"."""

    def service_account(**keys: Any) -> None:
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "SERVICE_ACCOUNTS": {"reports": {"API_ENDPOINT": google.url, **keys}},
        }

    return service_account


@pytest.fixture
def with_key(
    google: FakeGoogle, robot: FakeServiceAccount, service_account: Callable[..., None]
) -> Callable[..., None]:
    """Configure the service account "reports" with its key."""

    def with_key(**keys: Any) -> None:
        service_account(INFO=google.service_account_info(robot), **keys)

    with_key()
    return with_key


@pytest.fixture
def default_credentials(
    google: FakeGoogle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeServiceAccount:
    """A service account as this machine's default credentials."""
    machine = google.add_service_account("machine")
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(google.service_account_info(machine)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return machine


@contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a caller take its turn, and then do nothing, as if its process had died."""
    with monkeypatch.context() as patch:
        patch.setattr(cache, "set", lambda *arguments, **options: None)
        patch.setattr(cache, "delete", lambda key: None)
        yield


def caller_of(google: FakeGoogle, owner: ServiceAccount = REPORTS) -> str:
    """Call an API with every kind of client; return the identity."""

    @google.route(EVENTS, scopes=[CALENDAR])
    def events(request: Any, user: Any, id: str) -> dict[str, Any]:
        return {"items": [{"summary": user.email}]}

    service = build_service(owner, "calendar", "v3", scopes=[CALENDAR])
    [item] = service.events().list(calendarId="primary").execute()["items"]
    session = authorized_session(owner, scopes=[CALENDAR])
    answer = session.get(f"{google.url}/calendar/v3/calendars/primary/events")
    assert answer.json()["items"] == [item]
    return str(item["summary"])


def test_key_in_the_settings(
    google: FakeGoogle, robot: FakeServiceAccount, with_key: Callable[..., None]
) -> None:
    """Every helper works, with a single token."""
    assert caller_of(google) == robot.email
    assert access_token(REPORTS, scopes=[CALENDAR]) == access_token(REPORTS, scopes=CALENDAR)
    assert len(google.requests_to("token")) == 1


def test_key_in_a_file(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    service_account: Callable[..., None],
    tmp_path: Path,
) -> None:
    """The key file from Google's console works."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps(google.service_account_info(robot)))
    service_account(FILE=path)

    assert caller_of(google) == robot.email


def test_default_credentials(
    google: FakeGoogle,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
) -> None:
    """This machine's default credentials are used if configured."""
    service_account(DEFAULT_CREDENTIALS=True)

    assert caller_of(google) == default_credentials.email


def test_impersonation(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
) -> None:
    """The machine gets tokens of another account, without its key."""
    robot.impersonators.append(default_credentials)
    service_account(IMPERSONATE=robot.email)

    assert caller_of(google) == robot.email


def test_impersonation_that_is_not_allowed(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
) -> None:
    """Google's message names the missing permission."""
    service_account(IMPERSONATE=robot.email)

    with pytest.raises(ClientMisconfiguredError, match="getAccessToken") as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert (caught.value.error, caught.value.status) == ("PERMISSION_DENIED", 403)


@pytest.mark.matrix
@pytest.mark.parametrize("source", ["key", "default", "impersonation"])
def test_delegation(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    source: str,
) -> None:
    """The account acts for a user of its organization."""
    google.add_user("anna@example.com", hosted_domain="example.com")
    for account in (robot, default_credentials):
        account.delegated_scopes.append(CALENDAR)
    robot.impersonators.append(default_credentials)
    keys = {
        "key": {"INFO": google.service_account_info(robot)},
        "default": {"DEFAULT_CREDENTIALS": True},
        "impersonation": {"IMPERSONATE": robot.email},
    }
    service_account(**keys[source], SUBJECTS=["Anna@example.com"])

    assert caller_of(google, ServiceAccount("reports", "anna@EXAMPLE.com")) == "anna@example.com"


@pytest.mark.matrix
@pytest.mark.parametrize("subjects", [(), ["ben@example.com"], ["@sub.example.com"]])
def test_subjects_not_on_the_list_are_refused(
    google: FakeGoogle, with_key: Callable[..., None], subjects: Any
) -> None:
    """The list is empty by default; it is not disclosed, and Google is not asked."""
    with_key(SUBJECTS=subjects)
    anna = ServiceAccount("reports", "anna@example.com")

    for helper in (access_token, credentials_for, authorized_session):
        with pytest.raises(SubjectNotAllowedError) as caught:
            helper(anna, scopes=[CALENDAR])

    assert "example.com" not in str(caught.value)
    assert not google.requests


@pytest.mark.matrix
@pytest.mark.parametrize(
    "subject",
    [
        "",
        "@example.com",
        "example.com",
        " anna@example.com",
        "anna@example.com\n",
        "ceo@other.org\n@example.com",
        "ceo@other.org@example.com",
        "\u212aate@example.com",
        "anna@ex\u00e4mple.com",
    ],
)
def test_subjects_that_could_be_read_in_two_ways_are_refused(
    google: FakeGoogle, with_key: Callable[..., None], subject: str
) -> None:
    """Only a plain e-mail address is a subject; an empty one is not the account itself."""
    with_key(SUBJECTS=["@example.com", "kate@example.com", "@ex\u00e4mple.com"])

    with pytest.raises(SubjectNotAllowedError):
        access_token(ServiceAccount("reports", subject), scopes=[CALENDAR])

    assert not google.requests


def test_subjects_of_a_domain(google: FakeGoogle, with_key: Callable[..., None]) -> None:
    """A whole domain can be listed."""
    with_key(SUBJECTS=["@example.com"])

    with pytest.raises(ClientMisconfiguredError, match="unauthorized_client"):
        access_token(ServiceAccount("reports", "anna@example.com"), scopes=[CALENDAR])


@pytest.mark.slow
def test_tokens_of_different_token_requests_are_different(
    google: FakeGoogle, robot: FakeServiceAccount, with_key: Callable[..., None]
) -> None:
    """They depend on account, subject and scopes, but not on the scopes' order."""
    google.add_user("anna@example.com", hosted_domain="example.com")
    robot.delegated_scopes.append(CALENDAR)
    with_key(SUBJECTS=["anna@example.com"])

    tokens = {
        access_token(REPORTS, scopes=[CALENDAR]),
        access_token(REPORTS, scopes=[CALENDAR, DRIVE]),
        access_token(REPORTS, scopes=[DRIVE, CALENDAR]),
        access_token(ServiceAccount("reports", "anna@example.com"), scopes=[CALENDAR]),
    }

    assert len(tokens) == 3


@pytest.mark.slow
def test_token_of_another_account_under_the_same_name_is_not_used(
    google: FakeGoogle, with_key: Callable[..., None], service_account: Callable[..., None]
) -> None:
    """A cached token is not used after the key was replaced by another account's."""
    access_token(REPORTS, scopes=[CALENDAR])
    other = google.add_service_account("other")
    service_account(INFO=google.service_account_info(other))

    assert caller_of(google) == other.email


def test_default_credentials_of_another_machine_are_others(
    google: FakeGoogle,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Machines that share a cache need not share an identity."""
    service_account(DEFAULT_CREDENTIALS=True)
    first = access_token(REPORTS, scopes=[CALENDAR])
    monkeypatch.setattr(socket, "gethostname", lambda: "another")

    assert access_token(REPORTS, scopes=[CALENDAR]) != first


@pytest.mark.slow
def test_default_credentials_in_another_file_are_others(
    google: FakeGoogle,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Sites on one machine may share a cache, but have different files."""
    service_account(DEFAULT_CREDENTIALS=True)
    assert caller_of(google) == default_credentials.email
    other = google.add_service_account("other")
    path = tmp_path / "other.json"
    path.write_text(json.dumps(google.service_account_info(other)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    assert caller_of(google) == other.email


def test_token_is_not_taken_to_an_emulator(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """A token from one endpoint is not sent to another."""
    first = access_token(REPORTS, scopes=[CALENDAR])
    with_key(API_ENDPOINT="http://127.0.0.1:1")

    assert access_token(REPORTS, scopes=[CALENDAR]) != first


@pytest.mark.slow
def test_callers_at_the_same_time_ask_once(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """One caller requests the token, and the others wait for it."""
    google.delay = 0.2
    calls = [lambda: access_token(REPORTS, scopes=[CALENDAR])] * 8

    tokens = at_once(*calls)

    assert len(set(tokens)) == 1
    assert len(google.requests_to("token")) == 1


def test_callers_do_not_wait_while_a_token_lives(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """A valid token is used while another caller requests the next one."""
    first = access_token(REPORTS, scopes=[CALENDAR])
    google.fail_next(100, status=503)

    with travel(minutes=56):
        tokens = {access_token(REPORTS, scopes=[CALENDAR]) for _ in range(10)}

    assert tokens == {first}
    assert len(google.requests_to("token")) == 2


@pytest.mark.slow
def test_turn_of_a_process_that_has_died(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``HTTP_TIMEOUT`` a caller requests a token without the turn."""
    with cut_off(monkeypatch):
        first = access_token(REPORTS, scopes=[CALENDAR])
    pauses = skip_pauses(monkeypatch)

    assert access_token(REPORTS, scopes=[CALENDAR]) != first
    assert sum(pauses) == pytest.approx(conf.http_timeout, abs=1)


@pytest.mark.slow
def test_turn_of_another_never_serves_what_was_rejected(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that waits for the next token does not get the rejected one."""
    first = Secret(access_token(REPORTS, scopes=[CALENDAR]))
    with cut_off(monkeypatch):
        service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first)
    skip_pauses(monkeypatch)

    assert service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first).value != first


def test_turn_ends_with_a_refusal(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next caller need not wait."""
    google.error_next("invalid_grant")
    with pytest.raises(ClientMisconfiguredError):
        access_token(REPORTS, scopes=[CALENDAR])
    pauses = skip_pauses(monkeypatch)

    assert access_token(REPORTS, scopes=[CALENDAR])
    assert not any(pauses)


def test_scopes_must_be_named(google: FakeGoogle, with_key: Callable[..., None]) -> None:
    """No token is requested without scopes."""
    with pytest.raises(ValueError, match="Pass the scopes"):
        access_token(REPORTS)


def test_cache_holds_ciphertext(google: FakeGoogle, with_key: Callable[..., None]) -> None:
    """Keys and values contain neither the token nor the subject."""
    token = access_token(REPORTS, scopes=[CALENDAR])

    [(key, pickled)] = cache._cache.items()

    assert "google_link.service_account." in key
    for secret in (token, "ya29", "robot", "reports", CALENDAR):
        assert secret not in key
        assert secret.encode() not in pickled


def test_cache_forgets_a_token_that_has_expired(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """The entry expires with the token."""
    access_token(REPORTS, scopes=[CALENDAR])

    [forgotten_at] = cache._expire_info.values()

    assert forgotten_at == pytest.approx(time.time() + 3600, abs=60)


@pytest.mark.slow
def test_entries_cannot_be_swapped(google: FakeGoogle, with_key: Callable[..., None]) -> None:
    """A token stored under another key is not used."""
    small = access_token(REPORTS, scopes=[CALENDAR])
    big = access_token(REPORTS, scopes=[CALENDAR, DRIVE])
    entries = cache._cache
    one, other = entries
    entries[one], entries[other] = entries[other], entries[one]

    again = access_token(REPORTS, scopes=[CALENDAR])

    assert again not in {small, big}


def test_rotated_key_costs_a_request(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """A token sealed with a removed key is requested again."""
    access_token(REPORTS, scopes=[CALENDAR])
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [make_key()]}

    access_token(REPORTS, scopes=[CALENDAR])

    assert len(google.requests_to("token")) == 2


@pytest.mark.slow
@override_settings(
    CACHES={
        "default": {
            "BACKEND": "tests.api_clients.test_service_account_tokens.BrokenCache",
            "LOCATION": "",
        }
    }
)
def test_cache_that_is_down_is_done_without(
    google: FakeGoogle, with_key: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Each call requests a token, and the log says why."""
    assert caller_of(google)
    assert "cannot store access tokens of service accounts: ConnectionError" in caplog.text


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["BrokenCache", "MuteCache"])
def test_cache_that_is_down_makes_nobody_wait(
    google: FakeGoogle,
    with_key: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    backend: str,
) -> None:
    """Whether the backend raises or returns False."""
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.{backend}", "LOCATION": ""}}
    pauses = skip_pauses(monkeypatch)

    tokens = {access_token(REPORTS, scopes=[CALENDAR]) for _ in range(3)}

    assert len(tokens) == len(google.requests_to("token")) == 3
    assert not any(pauses)


def test_turn_that_ends_in_between_is_not_taken_for_nothing(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The previous holder stored the token meanwhile: Google is asked once."""
    add, others = cache.add, [""]

    def add_late(*arguments: Any, **options: Any) -> bool:
        if others == [""]:
            others.clear()
            others.append(access_token(REPORTS, scopes=[CALENDAR]))
        return add(*arguments, **options)

    monkeypatch.setattr(cache, "add", add_late)

    assert [access_token(REPORTS, scopes=[CALENDAR])] == others
    assert len(google.requests_to("token")) == 1
    first, pauses = Secret(others[0]), skip_pauses(monkeypatch)
    assert service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first).value != first
    assert not any(pauses)


def test_turn_that_ends_between_two_looks_at_it_is_taken(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was held when it was to be taken, and free when it was read."""
    pauses = skip_pauses(monkeypatch)
    get = cache.get

    def get_late(key: str, *arguments: Any, **options: Any) -> Any:
        if key.endswith(".turn"):
            cache.delete(key)
        return get(key, *arguments, **options)

    with cut_off(monkeypatch):
        access_token(REPORTS, scopes=[CALENDAR])
    monkeypatch.setattr(cache, "get", get_late)

    token = access_token(REPORTS, scopes=[CALENDAR])
    assert access_token(REPORTS, scopes=[CALENDAR]) == token
    assert not any(pauses)


class MuteCache(BaseCache):
    """A cache backend that hides that its server is unavailable."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Find nothing."""
        return None

    def add(self, *args: Any, **kwargs: Any) -> bool:
        """Keep nothing."""
        return False

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing."""

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        """Find nothing."""
        return False


class BrokenCache(BaseCache):
    """A cache backend that raises if its server is unavailable."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Fail as a client of Redis does."""
        raise ConnectionError("redis://:password@cache")

    set = add = delete = get


ANOTHER_PROCESS = """
import json, os
from django.conf import settings
settings.configure(**json.loads(os.environ["SETTINGS"]), INSTALLED_APPS=["django_google_link",
    "django.contrib.auth", "django.contrib.contenttypes"])
import django
django.setup()
from django_google_link.services import ServiceAccount, access_token
print(access_token(ServiceAccount("reports"), scopes=[os.environ["SCOPE"]]))
"""


@pytest.mark.processes
def test_processes_share_a_token(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings, tmp_path: Path
) -> None:
    """One request serves four processes with a common cache."""
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path)}}
    known = {"CACHES": caches, "GOOGLE_LINK": settings.GOOGLE_LINK, "SECRET_KEY": "x"}
    environment = {**os.environ, "SETTINGS": json.dumps(known), "SCOPE": CALENDAR}
    command = [sys.executable, "-c", ANOTHER_PROCESS]

    tokens = {
        subprocess.run(command, env=environment, check=True, capture_output=True).stdout
        for _ in range(4)
    }

    assert len(tokens) == 1
    assert len(google.requests_to("token")) == 1


def test_token_that_is_about_to_expire_is_renewed(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """A token with less lifetime than the leeway is renewed."""
    first = access_token(REPORTS, scopes=[CALENDAR])

    with travel(minutes=56):
        assert credentials_for(REPORTS, scopes=[CALENDAR]).token is None
        assert access_token(REPORTS, scopes=[CALENDAR]) != first


def test_token_that_lives_serves_while_google_is_down(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """A token is used until it expires."""
    first = access_token(REPORTS, scopes=[CALENDAR])
    google.fail_next(status=503)

    with travel(minutes=56):
        assert access_token(REPORTS, scopes=[CALENDAR]) == first


def test_token_that_was_rejected_does_not_serve_while_google_is_down(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """A rejected token is not used again."""
    first = Secret(access_token(REPORTS, scopes=[CALENDAR]))
    google.fail_next(status=503)

    with pytest.raises(RefreshUnavailableError, match="no_answer"):
        service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first)

    with pytest.raises(RefreshUnavailableError, match="backing_off"):
        service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first)


@pytest.mark.slow
def test_google_that_hangs_holds_up_one_caller_in_a_while(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """Others fail at once; other accounts and scopes are tried independently."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.2}
    google.fail_next(delay=0.5)
    with pytest.raises(RefreshUnavailableError, match="timeout"):
        access_token(REPORTS, scopes=[CALENDAR])

    for _ in range(5):
        with pytest.raises(RefreshUnavailableError, match="backing_off"):
            access_token(REPORTS, scopes=[CALENDAR])

    assert len(google.requests_to("token")) == 1
    cache.clear()
    assert access_token(REPORTS, scopes=[CALENDAR])


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429},
        {"status": 200, "body": "<html>"},
        {"status": 200, "body": []},
        {"status": 404, "body": "nothing"},
        {"drop": True},
    ],
)
def test_google_that_is_down(
    google: FakeGoogle, with_key: Callable[..., None], fault: dict[str, Any]
) -> None:
    """One request is made, without pauses, and the error says to try again."""
    google.fail_next(**fault)

    with pytest.raises(RefreshUnavailableError):
        access_token(REPORTS, scopes=[CALENDAR])

    assert len(google.requests_to("token")) == 1


@pytest.mark.slow
def test_rejected_token_is_replaced_at_once(
    google: FakeGoogle, robot: FakeServiceAccount, with_key: Callable[..., None]
) -> None:
    """The new token is also used by the next session."""
    assert caller_of(google) == robot.email
    google.expire_access_tokens()

    assert caller_of(google) == robot.email

    assert len(google.requests_to("token")) == 2


@pytest.mark.slow
def test_api_that_always_refuses_is_no_reason_for_a_storm(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """Forced renewals happen at most once a minute."""
    google.fail_next(100, endpoint="/always", status=401)

    for _ in range(10):
        session = authorized_session(REPORTS, scopes=[CALENDAR])
        assert session.get(f"{google.url}/always").status_code == 401

    assert len(google.requests_to("token")) == 2


@pytest.mark.slow
def test_forced_tokens_after_a_minute(
    google: FakeGoogle, with_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute, a renewal can be forced again."""
    first = Secret(access_token(REPORTS, scopes=[CALENDAR]))
    second = service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=first).value
    same = service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=second).value
    monkeypatch.setattr(service_account_tokens, "FORCED_REFRESH_INTERVAL", timedelta())

    third = service_account_tokens.service_token(REPORTS, [CALENDAR], rejected=second).value

    assert same == second
    assert len({first, second, third}) == 3


def test_credentials_travel_without_a_token(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """A pickle contains the account's name, and works with the same settings."""
    token = access_token(REPORTS, scopes=[CALENDAR])
    credentials = credentials_for(REPORTS, scopes=[CALENDAR])

    pickled = pickle.dumps(credentials.with_quota_project("billed"))
    copy = pickle.loads(pickled)
    copy.refresh(None)

    assert credentials.token == copy.token == token
    assert token.encode() not in pickled
    assert b"PRIVATE KEY" not in pickled
    assert copy.quota_project_id == "billed"
    assert "reports" in repr(copy)


def test_asynchronous_twins(google: FakeGoogle, with_key: Callable[..., None]) -> None:
    """The asynchronous helpers behave in the same way."""

    async def tokens() -> tuple[str | None, str]:
        credentials = await acredentials_for(REPORTS, scopes=[CALENDAR])
        return credentials.token, await aaccess_token(REPORTS, scopes=[CALENDAR])

    first, second = asyncio.run(tokens())

    assert first == second
    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("expires_in", [None, 10**30, "soon"])
def test_answer_that_makes_no_sense(
    google: FakeGoogle, with_key: Callable[..., None], expires_in: Any
) -> None:
    """Unexpected responses cause no unexpected exceptions of google-auth."""
    body = {"access_token": "ya29.x", "token_type": "Bearer", "expires_in": expires_in}
    google.fail_next(status=200, body=body)

    with pytest.raises(RefreshUnavailableError):
        access_token(REPORTS, scopes=[CALENDAR])


@pytest.mark.matrix
@pytest.mark.parametrize("source", ["key", "impersonation"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}, {"status": 200, "body": "x"}])
def test_debug_page_shows_nothing(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    settings: Settings,
    source: str,
    fault: dict[str, Any],
) -> None:
    """The debug page of a failed request contains no assertion or token."""
    settings.DEBUG = True
    robot.impersonators.append(default_credentials)
    key = {"INFO": google.service_account_info(robot)}
    service_account(**(key if source == "key" else {"IMPERSONATE": robot.email}))
    endpoint = "token" if source == "key" else f"{IAM}/{robot.email}:generateAccessToken"
    google.fail_next(endpoint=endpoint, **fault)

    with pytest.raises(RefreshUnavailableError) as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    error = caught.value
    reporter = ExceptionReporter(
        RequestFactory().get("/"), type(error), error, error.__traceback__.tb_next
    )
    page = reporter.get_traceback_html()
    assert "service_account_tokens.py" in page
    for secret in ("eyJ", "ya29.a0", "PRIVATE KEY"):
        assert secret not in page


def test_refusal_tells_the_operator(
    google: FakeGoogle, with_key: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A deleted key is reported as a misconfiguration."""
    google.error_next("invalid_grant", description="Invalid JWT Signature.")

    with pytest.raises(ClientMisconfiguredError, match="Invalid JWT Signature"):
        access_token(REPORTS, scopes=[CALENDAR])

    assert "Google refuses the service account reports: invalid_grant" in caplog.text


def test_google_that_repeats_the_assertion(
    google: FakeGoogle, robot: FakeServiceAccount, service_account: Callable[..., None]
) -> None:
    """An assertion in the response is redacted in the error."""

    @Request.application
    def repeat(request: Request) -> Any:
        assertion = request.form["assertion"]
        return json_response({"error": "invalid_grant", "error_description": assertion}, 400)

    with served(repeat) as url:
        service_account(INFO={**google.service_account_info(robot), "token_uri": url})
        with pytest.raises(ClientMisconfiguredError) as caught:
            access_token(REPORTS, scopes=[CALENDAR])

    assert caught.value.error_description == "***"


def test_google_that_repeats_the_token_of_the_impersonator(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token sent in a header is redacted in the error and the log."""
    service_account(IMPERSONATE=robot.email)

    @google.route(f"{IAM}/<email>:generateAccessToken", methods=["POST"])
    def repeat(request: Any, user: Any, email: str) -> Any:
        message = f"No: {request.headers['Authorization']}"
        return json_response({"error": {"status": "PERMISSION_DENIED", "message": message}}, 403)

    with pytest.raises(ClientMisconfiguredError) as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert caught.value.error_description == "No: Bearer ***"
    assert "ya29" not in caplog.text


def test_failure_that_google_auth_got_over_is_forgotten(
    google: FakeGoogle, service_account: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If google-auth retries, only the last response counts."""

    class OfMetadataServer:
        def refresh(self, request: Any) -> None:
            with pytest.raises(TransportError):
                request(f"{google.url}/token", "POST")
            assert request(f"{google.url}/token", "POST").status == 400
            raise RefreshError("no token")

    monkeypatch.setattr("google.auth.default", lambda **options: (OfMetadataServer(), None))
    service_account(DEFAULT_CREDENTIALS=True)
    google.fail_next(drop=True)
    google.error_next("invalid_grant")

    with pytest.raises(ClientMisconfiguredError, match="invalid_grant"):
        access_token(REPORTS, scopes=[CALENDAR])


def test_no_default_credentials(
    google: FakeGoogle,
    service_account: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The error says that the machine has none."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    service_account(DEFAULT_CREDENTIALS=True)

    with pytest.raises(ImproperlyConfigured, match="no credentials that can be used here"):
        access_token(REPORTS, scopes=[CALENDAR])


def test_default_credentials_that_cannot_delegate(
    google: FakeGoogle,
    service_account: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A developer's own credentials cannot act for other users."""
    path = tmp_path / "adc.json"
    login = {"client_id": "x", "client_secret": "y", "refresh_token": "z"}
    path.write_text(json.dumps({"type": "authorized_user", "quota_project_id": "p", **login}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    service_account(DEFAULT_CREDENTIALS=True, SUBJECTS=["anna@example.com"])

    with pytest.raises(ImproperlyConfigured, match="cannot act for a user"):
        access_token(ServiceAccount("reports", "anna@example.com"), scopes=[CALENDAR])


def test_default_credentials_of_another_cloud(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    default_credentials: FakeServiceAccount,
    service_account: Callable[..., None],
    tmp_path: Path,
) -> None:
    """google-auth's own errors are reported as errors of the settings."""
    info = google.service_account_info(default_credentials)
    (tmp_path / "adc.json").write_text(json.dumps({**info, "universe_domain": "example.com"}))
    service_account(IMPERSONATE=robot.email, SUBJECTS=["anna@example.com"])

    with pytest.raises(ImproperlyConfigured, match="no credentials that can be used here"):
        access_token(ServiceAccount("reports", "anna@example.com"), scopes=[CALENDAR])


def test_token_endpoint_of_the_key_is_enough(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """The key's ``token_uri`` is used by default."""
    with_key(API_ENDPOINT=None)

    assert access_token(REPORTS, scopes=[CALENDAR])


def test_google_that_cannot_be_reached_at_all(
    google: FakeGoogle, with_key: Callable[..., None]
) -> None:
    """No connection can be opened."""
    google.stop()

    with pytest.raises(RefreshUnavailableError, match="unreachable"):
        access_token(REPORTS, scopes=[CALENDAR])


def test_private_key_that_cannot_be_read(
    google: FakeGoogle, robot: FakeServiceAccount, service_account: Callable[..., None]
) -> None:
    """The error shows no part of the key."""
    service_account(INFO={**google.service_account_info(robot), "private_key": "half-a-key"})

    with pytest.raises(ImproperlyConfigured, match="no credentials that can be used") as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert "half-a-key" not in str(caught.value)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "id"),
    [
        ({}, "E023"),
        ({"INFO": KEY, "DEFAULT_CREDENTIALS": True}, "E023"),
        ({"IMPERSONATE": 3}, "E023"),
        ({"IMPERSONATE": "robot"}, "E023"),
        ({"INFO": "text"}, "E024"),
        ({"INFO": 3}, "E024"),
        ({"INFO": json.dumps(KEY)}, "E024"),
        ({"FILE": json.dumps(KEY)}, "E024"),
        ({"FILE": KEY}, "E024"),
        ({"INFO": {"type": "authorized_user"}}, "E024"),
        ({"INFO": {**KEY, "private_key": None}}, "E024"),
        ({"INFO": {**KEY, "token_uri": "http://example.com"}}, "E015"),
        ({"FILE": "/nowhere/key.json"}, "E024"),
        ({"FILE": __file__}, "E024"),
        ({"FILE": 3.5}, "E024"),
        ({"INFO": KEY, "SUBJECTS": "anna@example.com"}, "E025"),
        ({"INFO": KEY, "SUBJECTS": ["anna"]}, "E025"),
        ({"INFO": KEY, "SUBJECTS": 3}, "E025"),
        ({"INFO": KEY, "API_ENDPOINT": 3}, "E015"),
        ({"INFO": KEY, "SUBJECT": []}, "W001"),
    ],
)
def test_settings_that_cannot_work_are_found(
    settings: Settings, keys: dict[str, Any], id: str
) -> None:
    """``manage.py check`` names the account, and shows no key."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": {"reports": keys}}

    messages = check_settings()

    assert [message.id for message in messages] == [f"django_google_link.{id}"]
    assert "reports" in messages[0].msg
    assert "very-private" not in str(messages)


def test_account_that_is_not_configured(settings: Settings) -> None:
    """The error repeats the name."""
    with pytest.raises(ImproperlyConfigured, match="no service account 'reports'"):
        access_token(REPORTS, scopes=[CALENDAR])


def test_settings_are_masked(settings: Settings) -> None:
    """Local variables of the settings show no key."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": {"reports": {"INFO": KEY}}}

    assert "very-private" not in repr(conf.service_accounts)


@pytest.mark.matrix
@pytest.mark.parametrize("accounts", [3, {"reports": 3}, {3: {}}])
def test_settings_of_another_shape_are_found(settings: Settings, accounts: Any) -> None:
    """The settings must be a dict of dicts."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}

    assert [message.id for message in check_settings()] == ["django_google_link.E011"]


@pytest.fixture(params=STOPS, ids=lambda kind: kind.__name__)
def interruption(request: pytest.FixtureRequest) -> Interruption:
    """The exception that interrupts a worker."""
    return Interruption(request.param)


def assert_shows_nothing(error: BaseException, *secrets: str) -> None:
    """Check that no frame of an error has a secret among its local variables."""
    frames = list_frames(error)
    assert "access_token" in dict(frames)
    for secret in secrets:
        assert [name for name, values in frames if secret in values] == []


@pytest.mark.matrix
def test_worker_that_is_told_to_stop_shows_no_assertion(
    google: FakeGoogle,
    robot: FakeServiceAccount,
    service_account: Callable[..., None],
    interruption: Interruption,
) -> None:
    """google-auth's frames contain the key and the assertion."""
    info = google.service_account_info(robot)
    bodies: list[str] = []

    @Request.application
    def hang(request: Request) -> WSGIResponse:
        bodies.append(request.form["assertion"])
        interruption.strike()
        return WSGIResponse("{}", content_type="application/json")

    with served(hang) as url:
        service_account(INFO={**info, "token_uri": f"{url}/token"})
        with interruption.expected() as caught:
            access_token(REPORTS, scopes=[CALENDAR])

    [assertion] = bodies
    assert_shows_nothing(caught.value, assertion, info["private_key"].splitlines()[1])


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["get", "set"])
def test_worker_that_is_told_to_stop_at_the_cache_shows_no_token(
    with_key: Callable[..., None],
    interruption: Interruption,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """The cache may hang before and after the token is requested."""
    token = access_token(REPORTS, scopes=[CALENDAR])
    if method == "set":
        cache.clear()

    def hang(*args: Any, **kwargs: Any) -> None:
        Timer(0.05, interruption.strike).start()
        Event().wait()

    monkeypatch.setattr(cache, method, hang)
    with interruption.expected() as caught:
        access_token(REPORTS, scopes=[CALENDAR])

    assert token.startswith("ya29.")
    assert_shows_nothing(caught.value, "ya29.")


@pytest.mark.usefixtures("key_service")
def test_token_that_could_not_be_kept_is_not_asked_for(
    google: FakeGoogle, with_key: Callable[..., None], settings: Settings
) -> None:
    """Without an encryption key, every view would request a token."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError()

    for _ in range(3):
        with pytest.raises(KeyServiceError):
            access_token(REPORTS, scopes=[CALENDAR])
    assert google.requests == []
    Safe.failure = None
    with travel(seconds=6):
        assert access_token(REPORTS, scopes=[CALENDAR])
