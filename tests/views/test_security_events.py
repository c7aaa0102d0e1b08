"""The address to which Google sends security events: what is accepted there, and what is not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import InterfaceError, OperationalError, connection
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from pytest_django import Settings

from django_google_link.models import SecurityEvent
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.views import security_events
from tests.support.failing import refusing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver")]

PATH = "/google/security-events/"
TYPE = "application/secevent+jwt"


def refused(response: Any) -> str:
    """Return why a token was not accepted, as RFC 8935 section 2.3 has it."""
    assert response.status_code == 400, response
    assert response["Content-Type"] == "application/json"
    assert response["Content-Language"] == "en"
    content = json.loads(response.content)
    assert set(content) == {"err", "description"}
    assert content["description"]
    return str(content["err"])


def test_event_is_accepted(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """202 with nothing in it, and what came is stored."""
    response = google.send_security_event(
        client, "account-disabled", user=alice, details={"reason": "hijacking"}
    )

    assert (response.status_code, response.content) == (202, b"")
    stored = SecurityEvent.objects.get()
    assert (stored.types, stored.sub, stored.reason) == ("account-disabled", alice.sub, "hijacking")
    assert "sessionid" not in response.cookies


def test_verification_is_recorded(client: Client, google: FakeGoogle) -> None:
    """With what it was asked with."""
    response = google.send_security_event(client, "verification", details={"state": "hello"})

    assert response.status_code == 202
    assert SecurityEvent.objects.get().state == "hello"


def test_event_comes_without_csrf_token_and_without_login(
    google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Also on sites where every view needs a login."""
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    browser = Client(enforce_csrf_checks=True)

    assert google.send_security_event(browser, "sessions-revoked", user=alice).status_code == 202


def test_event_is_acted_on_once(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """And accepted each time: Google delivers again what it thinks was lost."""
    for _ in range(2):
        response = google.send_security_event(
            client, "sessions-revoked", user=alice, jti="the same"
        )
        assert response.status_code == 202

    assert SecurityEvent.objects.count() == 1


def test_nothing_is_there_unless_it_is_configured(
    client: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Off, as the setting is not there."""
    settings.GOOGLE_LINK = {
        key: value for key, value in settings.GOOGLE_LINK.items() if key != "SECURITY_EVENTS_URL"
    }

    assert google.send_security_event(client, "sessions-revoked", user=alice).status_code == 404
    assert not SecurityEvent.objects.exists()


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options"])
def test_events_are_posted(client: Client, method: str) -> None:
    """And nothing else."""
    assert getattr(client, method)(PATH).status_code == 405


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"foreign_key": True}, "authentication_failed"),
        ({"alg": "none"}, "invalid_key"),
        ({"alg": "HS256"}, "invalid_key"),
        ({"alg": "RS512"}, "invalid_key"),
        ({"header": {"kid": "unknown"}}, "invalid_key"),
        ({"header": {"kid": 7}}, "invalid_request"),
        ({"remove_header": ["kid"]}, "invalid_key"),
        ({"header": {"typ": "at+jwt"}}, "invalid_request"),
        ({"header": {"typ": ["JWT"]}}, "invalid_request"),
        ({"claims": {"iss": "https://evil.example/"}}, "invalid_issuer"),
        ({"claims": {"iss": None}}, "invalid_request"),
        ({"remove": ["iss"]}, "invalid_request"),
        ({"claims": {"aud": "another"}}, "invalid_audience"),
        ({"claims": {"aud": []}}, "invalid_request"),
        ({"claims": {"aud": ["another", 7]}}, "invalid_request"),
        ({"remove": ["aud"]}, "invalid_request"),
        ({"claims": {"iat": "1508184845"}}, "invalid_request"),
        ({"claims": {"iat": -1}}, "invalid_request"),
        ({"claims": {"iat": True}}, "invalid_request"),
        ({"claims": {"iat": 10**30}}, "invalid_request"),
        ({"claims": {"iat": float("nan")}}, "invalid_request"),
        ({"remove": ["iat"]}, "invalid_request"),
        ({"claims": {"jti": ""}}, "invalid_request"),
        ({"claims": {"jti": 7}}, "invalid_request"),
        ({"remove": ["jti"]}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"claims": {"events": ["account-disabled"]}}, "invalid_request"),
        ({"remove": ["events"]}, "invalid_request"),
        ({"events": {"https://example.com/event": "text"}}, "invalid_request"),
        ({"details": {"subject": None}}, "invalid_request"),
        ({"details": {"subject": {"subject_type": "iss-sub"}}}, "invalid_request"),
        ({"details": {"subject": {"sub": 7}}}, "invalid_request"),
        ({"details": {"subject": {"sub": "\x00"}}}, "invalid_request"),
        ({"details": {"subject": {"sub": "1", "iss": "https://evil.example/"}}}, "invalid_request"),
        ({"details": {"reason": {"a": 1}}}, "invalid_request"),
        ({"payload": ["no object"]}, "invalid_request"),
        ({"payload": b"no JSON"}, "invalid_request"),
    ],
    ids=str,
)
def test_token_is_refused(
    client: Client, google: FakeGoogle, alice: FakeUser, options: dict[str, Any], code: str
) -> None:
    """With a word for it, and nothing of it is stored."""
    response = google.send_security_event(client, "account-disabled", user=alice, **options)

    assert refused(response) == code
    assert not SecurityEvent.objects.exists()


def test_issuer_is_the_one_of_the_configuration_to_the_letter(
    client: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """That of Google's ends with a slash, and that of ID tokens does not."""
    response = google.send_security_event(
        client, "sessions-revoked", user=alice, claims={"iss": google.url}
    )

    assert refused(response) == "invalid_issuer"


@pytest.mark.parametrize("kind", [None, "JWT", "secevent+jwt", "application/secevent+jwt"])
def test_types_of_tokens_that_google_may_send(
    client: Client, google: FakeGoogle, alice: FakeUser, kind: str | None
) -> None:
    """Its documentation names none."""
    how: dict[str, Any] = {"header": {"typ": kind}} if kind else {"remove_header": ["typ"]}

    response = google.send_security_event(client, "sessions-revoked", user=alice, **how)

    assert response.status_code == 202


def test_audience_is_one_client_of_several(
    client: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """As text or in a list."""
    audience = ["another", google.client.client_id]

    response = google.send_security_event(
        client, "sessions-revoked", user=alice, claims={"aud": audience}
    )

    assert response.status_code == 202


def test_id_token_is_no_event(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Though Google has signed it with the same key."""
    now = int(time.time())
    claims = {"iss": google.url, "aud": google.client.client_id, "sub": alice.sub, "iat": now}

    response = google.send_security_event(client, "x", payload={**claims, "exp": now + 3600})

    assert refused(response) == "invalid_request"


def test_token_does_not_expire(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Nor is it refused for its age: Google's own example is of 2017."""
    old = {"iat": 1508184845, "exp": 1508184846, "nbf": 9e9}

    response = google.send_security_event(client, "sessions-revoked", user=alice, claims=old)

    assert response.status_code == 202


@pytest.mark.parametrize(("seconds", "status"), [(50, 202), (70, 400)])
def test_token_is_not_of_the_future(
    client: Client, google: FakeGoogle, alice: FakeUser, seconds: int, status: int
) -> None:
    """But for a minute, by which clocks may differ."""
    response = google.send_security_event(
        client, "sessions-revoked", user=alice, issued_at=time.time() + seconds
    )

    assert response.status_code == status


def test_key_that_is_new_is_fetched(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Once in a minute: whoever makes key ids up makes us ask no more often."""
    google.send_security_event(client, "sessions-revoked", user=alice)
    for _ in range(3):
        google.send_security_event(client, "x", user=alice, header={"kid": "made up"})
    assert len(google.requests_to("certs")) == 1

    google.rotate_signing_key()
    with travel(minutes=2):
        response = google.send_security_event(client, "sessions-revoked", user=alice)

    assert response.status_code == 202
    assert len(google.requests_to("certs")) == 2
    assert len(google.requests_to("risc_configuration")) == 1


def test_what_would_be_refused_makes_nobody_ask(
    client: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Neither for the configuration nor for keys."""
    google.send_security_event(client, "sessions-revoked", user=alice, claims={"aud": "another"})
    google.push_security_event(client, "no token")

    assert google.requests == []


@pytest.mark.parametrize("endpoint", ["risc_configuration", "certs"])
def test_google_is_away(client: Client, google: FakeGoogle, alice: FakeUser, endpoint: str) -> None:
    """Then it may deliver again, and is left alone for some seconds."""
    with google.failing(endpoint=endpoint, status=503):
        for _ in range(3):
            response = google.send_security_event(client, "sessions-revoked", user=alice)
            assert (response.status_code, response["Retry-After"]) == (503, "60")
    assert len(google.requests_to(endpoint)) == 1

    with travel(seconds=10):
        response = google.send_security_event(client, "sessions-revoked", user=alice)
    assert response.status_code == 202


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": 7},
        {"jwks_uri": None},
        {"jwks_uri": "http://example.com/keys"},
        {"jwks_uri": ["https://example.com/keys"]},
    ],
)
def test_configuration_makes_no_sense(
    client: Client, google: FakeGoogle, alice: FakeUser, configuration: dict[str, Any]
) -> None:
    """As if Google were away."""
    google.tamper_next_response("risc_configuration", fields=configuration)

    response = google.send_security_event(client, "sessions-revoked", user=alice)

    assert response.status_code == 503


@pytest.mark.parametrize("error", [OperationalError("no space"), InterfaceError("closed")])
def test_database_is_away(
    client: Client,
    google: FakeGoogle,
    alice: FakeUser,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Google delivers again, and the log says no more than what kind of failure it is."""
    with refusing(error, SecurityEvent._meta.db_table):
        response = google.send_security_event(client, "sessions-revoked", user=alice)

    assert response.status_code == 503
    assert not SecurityEvent.objects.exists()
    assert type(error).__name__ in caplog.text
    assert str(error) not in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        {"SECURITY_EVENTS_URL": "http://example.com/"},
        {"ENCRYPTION_KEYS": []},
        {"CLIENTS": {"default": {"CLIENT_ID": "x"}}},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_settings_are_wrong(
    client: Client,
    google: FakeGoogle,
    settings: Settings,
    broken: dict[str, Any],
) -> None:
    """An operator's mistake loses no event."""
    token = google.security_event_token("token-revoked", refresh_token="1//whatever")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **broken}

    assert google.push_security_event(client, token).status_code == 503


def test_content_type_is_that_of_the_rfc(client: Client, google: FakeGoogle) -> None:
    """With parameters, too."""
    token = google.security_event_token("verification")

    assert refused(client.post(PATH, token, content_type="application/json")) == "invalid_request"
    assert refused(client.post(PATH, {"SET": token})) == "invalid_request"
    answer = client.post(PATH, token, content_type=f"{TYPE}; charset=us-ascii")
    assert answer.status_code == 202


@pytest.mark.parametrize("size", [65_537, 1_000_000])
def test_body_is_bounded(size: int) -> None:
    """No more of it is read than that."""
    request = RequestFactory().generic("POST", PATH, b"x" * size, content_type=TYPE)

    assert refused(security_events(request)) == "invalid_request"
    assert len(request.read()) == size - 65_537


def test_body_is_bounded_on_asgi() -> None:
    """Where a body may come without saying how long it is."""
    request = AsyncRequestFactory().generic("POST", PATH, b"x" * 1_000_000, content_type=TYPE)
    request.META.pop("CONTENT_LENGTH", None)

    assert refused(security_events(request)) == "invalid_request"


def test_event_comes_on_asgi(google: FakeGoogle, alice: FakeUser) -> None:
    """As everywhere."""
    token = google.security_event_token("sessions-revoked", user=alice)
    post = async_to_sync(AsyncClient().post)

    assert post(PATH, token, content_type=TYPE).status_code == 202
    assert refused(post(PATH, "x" * 1_000_000, content_type=TYPE)) == "invalid_request"
    assert SecurityEvent.objects.count() == 1


def test_body_that_breaks_off() -> None:
    """Whoever sends it has gone."""

    class Gone:
        def read(self, *args: Any) -> bytes:
            raise OSError("connection reset")

    request: Any = RequestFactory().generic("POST", PATH, b"x", content_type=TYPE)
    request._stream = Gone()

    assert refused(security_events(request)) == "invalid_request"


def test_event_whose_sub_stands_in_a_line_of_its_own(
    client: Client, google: FakeGoogle, caplog: pytest.LogCaptureFixture
) -> None:
    """What others write makes no lines in the log, and nothing that a database refuses."""
    caplog.set_level("INFO")
    with_nul = {"https://example.com/a\x00b\nERROR forged": {}}

    assert google.send_security_event(client, events=with_nul).status_code == 202
    assert SecurityEvent.objects.get().types == "a?b?ERROR forged"
    assert "\nERROR" not in caplog.text.replace("\nERROR    django", "")


@pytest.mark.django_db(transaction=True)
def test_failure_can_be_told_with_atomic_requests(
    client: Client, google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is the view's own: one around it would fail after the view."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    depths: list[bool] = []

    def note(execute: Any, *args: Any) -> Any:
        depths.append(len(connection.savepoint_ids) > 1)
        return execute(*args)

    with connection.execute_wrapper(note):
        google.send_security_event(client, "sessions-revoked", user=alice)

    assert depths
    assert not any(depths)
    assert SecurityEvent.objects.exists()
