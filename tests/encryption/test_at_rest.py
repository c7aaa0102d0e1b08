"""The tokens and the client secret, searched for wherever they must not appear."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import pprint
import sys
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import jsonpickle
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from googleapiclient.http import MediaInMemoryUpload
from pytest_django import Settings

from django_google_link.accounts.access_tokens import AccessToken, fresh_access_token
from django_google_link.conf.clients import get_client
from django_google_link.encryption import keyring
from django_google_link.encryption.format import Binding
from django_google_link.exceptions import (
    ConsentRequiredError,
    GoogleLinkError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount
from django_google_link.oauth import endpoints, transport
from django_google_link.secret import Secret, cut_frames
from django_google_link.services import authorized_session, build_service, credentials_for
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.frames import STOPS, Interruption, list_frames
from tests.support.servers import served

EVENTS = "/calendar/v3/calendars/primary/events"
REFRESH, ACCESS, SECRET = "1//refresh-me-not", "ya29.access-me-not", "GOCSPX-tell-me-not"


@pytest.fixture
def account(google: FakeGoogle, user: Any, configure: Callable[..., None]) -> GoogleAccount:
    """A link with tokens that are easy to search for."""
    configure(CLIENT_SECRET=SECRET)
    return make_google_account(user, refresh_token=REFRESH, access_token=ACCESS)


def is_clean(text: str | bytes) -> bool:
    """Return whether a text contains none of the secrets."""
    written = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return not any(secret in written for secret in (REFRESH, ACCESS, SECRET))


def error_reports() -> str:
    """Return Django's error page and mail for the frames below the test's own."""
    kind, error, traceback = sys.exc_info()
    assert traceback
    reporter = ExceptionReporter(RequestFactory().get("/"), kind, error, traceback.tb_next)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


def test_database_holds_ciphertext_only(account: GoogleAccount) -> None:
    """No column of the row contains a bare token."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM google_link_googleaccount")
        [row] = cursor.fetchall()

    assert is_clean(repr(row))
    assert repr(row).count("gl1.") == 3  # two tokens, and the key of one of them


def test_dumpdata_holds_ciphertext_only(account: GoogleAccount) -> None:
    """A fixture contains no bare token."""
    out = io.StringIO()

    call_command("dumpdata", "google_link", stdout=out)

    assert is_clean(out.getvalue())
    assert json.loads(out.getvalue())[0]["pk"] == str(account.pk)


def test_account_shows_nothing(account: GoogleAccount) -> None:
    """The object, its attributes and its pickle contain no bare token, even after unsealing one."""
    account.unseal_token("refresh_token")

    for text in (repr(account), str(account), repr(vars(account)), pickle.dumps(account)):
        assert is_clean(text)


def test_secret_shows_nothing() -> None:
    """No string conversion or formatting shows the value."""
    secret = Secret(REFRESH)

    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{secret!r}",
    ):
        assert is_clean(text)
        assert "*" in text
    assert secret.reveal() == REFRESH
    assert bool(secret)
    assert not Secret("")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "carry",
    [
        *(partial(pickle.dumps, protocol=number) for number in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy,
        copy.deepcopy,
        json.dumps,
        partial(json.dumps, default=vars),
        vars,
        Secret.__getstate__,
        lambda secret: asdict(AccessToken(value=secret, expires_at=None)),
        lambda secret: pickle.dumps([secret, {"token": secret}]),
    ],
)
def test_secret_cannot_be_carried_away(carry: Callable[[Secret], Any]) -> None:
    """It cannot be pickled, copied or serialized, alone or nested."""
    with pytest.raises(TypeError):
        carry(Secret(REFRESH))


@pytest.mark.matrix
@pytest.mark.parametrize(
    "walk",
    [
        partial(jsonpickle.encode, keys=True),
        partial(jsonpickle.encode, keys=True, unpicklable=False),
        partial(jsonpickle.encode, keys=True, fail_safe=repr),
        lambda secret: jsonpickle.encode([AccessToken(value=secret, expires_at=None)], keys=True),
        object.__getstate__,
        lambda secret: object.__reduce_ex__(secret, 2),
        lambda secret: [getattr(secret, name) for name in secret.__slots__],
        lambda secret: {name: getattr(secret, name, None) for name in dir(secret)},
        lambda secret: json.dumps(secret, default=dir),
        pprint.pformat,
    ],
)
def test_secret_has_no_attribute_that_a_serializer_finds(walk: Callable[[Secret], Any]) -> None:
    """Serializers either refuse it or write nothing."""
    try:
        found = repr(walk(Secret(REFRESH)))
    except TypeError as error:
        found = repr(error)

    assert is_clean(found)


def test_secrets_compare_by_value() -> None:
    """Equal tokens are equal; a bare string is not a secret."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("é") == Secret("é")
    assert Secret("a") != "a"


def test_client_and_answers_show_nothing(google: FakeGoogle, account: GoogleAccount) -> None:
    """The objects passed around in the protocol do not show secrets."""
    google.fail_next(2, status=200, body={"access_token": ACCESS, "refresh_token": REFRESH})
    client = get_client()
    response = endpoints.refresh(client, refresh_token=Secret(REFRESH))
    answer = transport.fetch(client.token_endpoint, form={})

    assert response.access_token.reveal() == answer.document["access_token"] == ACCESS
    assert is_clean(repr(client))
    assert is_clean(repr(response))
    assert is_clean(repr(answer))


def test_credentials_show_nothing(account: GoogleAccount) -> None:
    """Credentials contain only the access token, and do not show it."""
    credentials = credentials_for(account)

    assert credentials.token == ACCESS
    assert REFRESH not in repr(vars(credentials))
    assert SECRET not in repr(vars(credentials))
    assert is_clean(repr(credentials))
    assert is_clean(pickle.dumps(credentials))


LONG = {"access_token": ACCESS, "refresh_token": REFRESH, "padding": "x" * 1_500_000}

FAULTS: list[dict[str, Any]] = [
    {"status": 400, "body": {"error": "invalid_grant"}},
    {"status": 401, "body": {"error": "invalid_client"}},
    {"status": 503, "body": f"<html>{REFRESH}</html>"},
    {"status": 200, "body": {"access_token": "", "refresh_token": REFRESH}},
    {"status": 200, "body": LONG},
    {"status": 200, "body": {"access_token": ACCESS, "refresh_token": REFRESH, "scope": 5}},
    {"status": 400, "body": {"error": REFRESH, "error_description": f"{REFRESH} is bad"}},
    {"drop": True},
]


@pytest.mark.matrix
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("debug", [True, False])
def test_error_reports_show_nothing(
    account: GoogleAccount,
    google: FakeGoogle,
    settings: Settings,
    fault: dict[str, Any],
    debug: bool,
) -> None:
    """Django's error page and mail, with the local variables of all frames, contain no secret."""
    settings.DEBUG = debug
    google.fail_next(**fault)
    account.access_token_expires_at = None

    try:
        fresh_access_token(account, rejected=Secret(ACCESS))
    except GoogleLinkError:
        reports = error_reports()

    assert "fresh_access_token" in reports
    assert is_clean(reports)


def events_by_a_service(account: GoogleAccount) -> None:
    with build_service(account, "calendar", "v3") as service:
        service.events().list(calendarId="primary").execute()


def events_by_a_batch(account: GoogleAccount) -> None:
    with build_service(account, "calendar", "v3") as service:
        batch = service.new_batch_http_request()
        batch.add(service.events().list(calendarId="primary"))
        batch.execute()


def events_by_a_session(account: GoogleAccount) -> None:
    with authorized_session(account) as session:
        session.get(f"https://www.googleapis.com{EVENTS}").raise_for_status()


@pytest.mark.matrix
@pytest.mark.parametrize("call", [events_by_a_service, events_by_a_batch, events_by_a_session])
@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 503}])
@pytest.mark.parametrize("debug", [True, False])
def test_error_reports_of_a_call_show_nothing(
    account: GoogleAccount,
    google: FakeGoogle,
    settings: Settings,
    call: Callable[[GoogleAccount], None],
    fault: dict[str, Any],
    debug: bool,
) -> None:
    """Error reports of API calls do not show the HTTP libraries' local variables."""
    settings.DEBUG = debug
    for path in (EVENTS, "/batch/calendar/v3"):
        google.answer(path, {})
        google.fail_next(endpoint=path, **fault)

    try:
        call(account)
    except Exception:
        reports = error_reports()

    assert call.__name__ in reports
    assert is_clean(reports)


@pytest.fixture(params=STOPS, ids=lambda kind: kind.__name__)
def interruption(
    request: pytest.FixtureRequest, account: GoogleAccount, configure: Callable[..., None]
) -> Iterator[Interruption]:
    """A provider that does not respond until the worker is interrupted."""
    interruption = Interruption(request.param)

    def hang(environ: Any, start_response: Any) -> list[bytes]:
        interruption.strike()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    with served(hang) as url:
        configure(TOKEN_ENDPOINT=url, REVOCATION_ENDPOINT=url, API_ENDPOINT=url)
        yield interruption


def refresh(account: GoogleAccount) -> None:
    """Ask for an access token."""
    fresh_access_token(account, rejected=Secret(ACCESS))


def exchange(account: GoogleAccount) -> None:
    """Exchange a code."""
    endpoints.exchange_code(get_client(), code=Secret(REFRESH), redirect_uri="x", code_verifier="v")


def revoke(account: GoogleAccount) -> None:
    """Revoke a grant."""
    endpoints.revoke(get_client(), token=Secret(REFRESH))


def upload(account: GoogleAccount) -> None:
    """Send a file."""
    media = MediaInMemoryUpload(b"text", mimetype="text/plain", resumable=True)
    with build_service(account, "drive", "v3") as service:
        service.files().create(media_body=media).execute()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "call",
    [
        events_by_a_service,
        events_by_a_batch,
        events_by_a_session,
        upload,
        refresh,
        exchange,
        revoke,
    ],
)
def test_worker_that_is_told_to_stop_shows_nothing(
    account: GoogleAccount, interruption: Interruption, call: Callable[[GoogleAccount], None]
) -> None:
    """No frame of an interrupted request contains a token, whatever the request."""
    with interruption.expected() as caught:
        call(account)

    frames = list_frames(caught.value)
    assert call.__name__ in dict(frames)
    assert [(name, values) for name, values in frames if not is_clean(values)] == []


def test_frames_are_cut_of_all_that_led_to_an_error() -> None:
    """Frames of causes, contexts and group members are removed, even in cycles."""

    def fail(token: str) -> None:
        try:
            raise KeyError(token[:0])
        except KeyError as error:
            raise ValueError from error

    errors: list[Exception] = []
    for _ in range(2):
        try:
            fail(ACCESS)
        except ValueError as error:
            errors.append(error)
    group = ExceptionGroup("Both have failed.", errors)
    errors[0].__context__ = group
    assert not is_clean(repr(list_frames(group)))

    assert cut_frames(group) is group

    assert list_frames(group) == []


@pytest.mark.matrix
@pytest.mark.parametrize("call", [refresh, exchange, revoke])
@pytest.mark.parametrize("fault", [{"drop": True}, {"drop": True, "body": REFRESH}])
def test_frames_of_a_failed_request_show_nothing(
    account: GoogleAccount,
    google: FakeGoogle,
    call: Callable[[GoogleAccount], None],
    fault: dict[str, Any],
) -> None:
    """Frames of the requesting thread, and of what led to the error, contain no token."""
    for endpoint in ("token", "revoke"):
        google.fail_next(endpoint=endpoint, **fault)
    GoogleAccount.objects.update(access_token_expires_at=None, sealed_access_token="")

    with pytest.raises(RefreshUnavailableError) as caught:
        call(account)

    frames = list_frames(caught.value)
    assert call.__name__ in dict(frames)
    assert [(name, values) for name, values in frames if not is_clean(values)] == []


@pytest.mark.matrix
@pytest.mark.parametrize("debug", [True, False])
def test_error_reports_of_a_failed_exchange_show_nothing(
    account: GoogleAccount, google: FakeGoogle, settings: Settings, debug: bool
) -> None:
    """The code, as good as a token until it is used, is not shown."""
    settings.DEBUG = debug

    try:
        endpoints.exchange_code(
            get_client(), code=Secret(REFRESH), redirect_uri="x", code_verifier=ACCESS
        )
    except GoogleLinkError:
        reports = error_reports()

    assert "exchange_code" in reports
    assert REFRESH not in reports
    assert SECRET not in reports


@pytest.mark.matrix
@pytest.mark.parametrize("debug", [True, False])
def test_error_reports_of_a_token_that_cannot_be_sealed_show_nothing(
    settings: Settings, debug: bool
) -> None:
    """The token is not shown if its binding cannot be encoded."""
    settings.DEBUG = debug
    binding = Binding(
        purpose="p", row_id="1", owner="1", sub="\ud800", issuer="https://a", client_id="c"
    )

    try:
        keyring.seal(Secret(REFRESH), binding)
    except UnicodeEncodeError:
        reports = error_reports()

    assert "seal" in reports
    assert is_clean(reports)


TYPO = "c2VjcmV0LCBidXQgc2hvcnQ="


@pytest.mark.matrix
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {"ENCRYPTION_KEYS": [*kept["ENCRYPTION_KEYS"], ""]},
        lambda kept: {"ENCRYPTION_KEYS": [*kept["ENCRYPTION_KEYS"], TYPO]},
        lambda kept: {"CLIENTS": {**kept["CLIENTS"], 5: {}}},
        lambda kept: {"CLIENTS": {"default": {**kept["CLIENTS"]["default"], "HOSTED_DOMAIN": ""}}},
    ],
    ids=["an empty key", "a short key", "a client without a name", "a bad client"],
)
def test_error_reports_of_a_mistaken_setting_show_nothing(
    settings: Settings, change: Callable[[Any], Any], debug: bool
) -> None:
    """Keys and the client secret next to an invalid setting are not shown."""
    settings.DEBUG = debug
    kept = settings.GOOGLE_LINK
    settings.GOOGLE_LINK = {**kept, **change(kept)}

    def use() -> None:
        keyring.key_ids()
        get_client()

    try:
        use()
    except ImproperlyConfigured:
        reports = error_reports()

    assert "SettingsError" in reports
    in_base64 = [*kept["ENCRYPTION_KEYS"], TYPO]
    # A report shows bytes as Python writes them.
    decoded = [repr(urlsafe_b64decode(key))[2:-1] for key in in_base64]
    for secret in (*in_base64, *decoded, kept["CLIENTS"]["default"]["CLIENT_SECRET"]):
        assert secret not in reports


def test_errors_show_nothing(account: GoogleAccount, google: FakeGoogle) -> None:
    """Exceptions contain no secret in their messages or attributes."""
    google.error_next("invalid_grant", description="Bad Request")

    with pytest.raises(ConsentRequiredError) as caught:
        fresh_access_token(account, rejected=Secret(ACCESS))

    error = caught.value
    for text in (str(error), repr(error), repr(vars(error)), pickle.dumps(error)):
        assert is_clean(text)


def test_logs_show_nothing(
    account: GoogleAccount,
    google: FakeGoogle,
    alice: FakeUser,
    caplog: pytest.LogCaptureFixture,
    settings: Settings,
) -> None:
    """No logger shows a secret at DEBUG in a refresh, a failure, an exchange and a revocation."""
    caplog.set_level(logging.DEBUG)
    configured = settings.GOOGLE_LINK["CLIENTS"]["default"]
    configured["CLIENT_SECRET"] = google.client.client_secret
    tokens = google.grant(alice, ["openid"])
    account.seal_token("refresh_token", Secret(tokens.refresh_token))
    account.save()

    fresh = fresh_access_token(account, rejected=Secret(ACCESS))
    google.fail_next()
    GoogleAccount.objects.update(access_token_expires_at=None, sealed_access_token="")
    with pytest.raises(GoogleLinkError):
        fresh_access_token(account)
    with pytest.raises(GoogleLinkError):
        endpoints.exchange_code(
            get_client(), code=Secret(REFRESH), redirect_uri="x", code_verifier="verifier-me-not"
        )
    endpoints.revoke(get_client(), token=Secret(tokens.refresh_token))

    written = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "POST /token" in written
    assert "POST /revoke" in written
    for secret in (
        REFRESH,
        ACCESS,
        "verifier-me-not",
        tokens.refresh_token,
        fresh.value.reveal(),
        google.client.client_secret,
    ):
        assert secret not in written
