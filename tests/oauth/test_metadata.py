"""The endpoints of an issuer, as it publishes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from werkzeug.wrappers import Request, Response

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    RefreshUnavailableError,
    StateError,
)
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.oauth.authorization_response import check_issuer
from django_google_link.oauth.metadata import with_endpoints
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.constants import CALLBACK
from tests.support.flow import link
from tests.support.https_servers import served_securely, write_certificate
from tests.support.providers import START, play_provider, without
from tests.support.times import until

ENDPOINTS = ("AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT", "REVOCATION_ENDPOINT", "JWKS_URI")


@pytest.fixture
def issuer(google: FakeGoogle, settings: Settings) -> str:
    """An issuer of which nothing but its name is in the settings."""
    play_provider(google, settings)
    without(settings, *ENDPOINTS)
    return google.url


def asked(google: FakeGoogle) -> list[str]:
    """Return where the metadata was looked for."""
    return [request.path for request in google.requests if ".well-known" in request.path]


def document(google: FakeGoogle, **changes: Any) -> dict[str, Any]:
    """Return metadata that is good, with these changes; ``None`` leaves a member out."""
    good = {
        "issuer": google.url,
        "authorization_endpoint": f"{google.url}/o/oauth2/v2/auth",
        "token_endpoint": f"{google.url}/token",
        "revocation_endpoint": f"{google.url}/revoke",
        "jwks_uri": f"{google.url}/oauth2/v3/certs",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


@pytest.mark.django_db
def test_issuer_alone_is_enough(
    browser: Client, google: FakeGoogle, alice: FakeUser, issuer: str
) -> None:
    """It is asked once, when somebody links, and not before."""
    assert browser.get("/google/").status_code == 200
    assert asked(google) == []

    assert link(browser, google, alice).status_code == 302

    account = GoogleAccount.objects.get()
    assert (account.issuer, account.sub) == (issuer, alice.sub)
    with travel(minutes=50):
        assert fresh_access_token(account).value
    assert asked(google) == ["/.well-known/openid-configuration"]


@pytest.mark.django_db
def test_server_without_openid_has_metadata_of_its_own(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """RFC 8414, where OpenID's are not there; the userinfo endpoint is in the settings."""
    play_provider(google, settings, speaks_openid=False)
    without(settings, *ENDPOINTS)
    google.metadata = "oauth"

    assert link(browser, google, alice).status_code == 302

    assert GoogleAccount.objects.get().sub == alice.sub
    assert asked(google) == [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ]


@pytest.mark.django_db
def test_userinfo_endpoint_is_published(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """In OpenID's; where it is in neither, that is said and the grant is ended."""
    play_provider(google, settings, speaks_openid=False)
    without(settings, *ENDPOINTS, "USERINFO_ENDPOINT")
    assert link(browser, google, alice).status_code == 302
    GoogleAccount.objects.all().delete()
    PendingRevocation.objects.all().delete()

    with travel(days=3):
        google.metadata = "oauth"
        assert link(browser, google, alice).status_code == 400
    assert not GoogleAccount.objects.exists()
    assert len(google.requests_to("revoke")) == 1


def test_settings_go_before_what_is_published(
    google: FakeGoogle, issuer: str, configure: Callable[..., None]
) -> None:
    """An endpoint, and how the secret is shown."""
    configure(
        REVOCATION_ENDPOINT=f"{issuer}/other", TOKEN_ENDPOINT_AUTH_METHOD="client_secret_post"
    )
    body = document(google, token_endpoint_auth_methods_supported=["client_secret_basic"])
    google.fail_next(endpoint="discovery", status=200, body=body)

    client = with_endpoints(get_client())

    assert client.revocation_endpoint == f"{issuer}/other"
    assert client.token_endpoint == f"{issuer}/token"
    assert not client.authenticates_by_header


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("methods", "by_header"),
    [
        (["client_secret_basic"], True),
        (["client_secret_basic", "private_key_jwt"], True),
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_post"], False),
        (["none"], False),
        ("client_secret_basic", False),
        (None, False),
        ([5], False),
    ],
)
def test_secret_is_shown_as_the_issuer_wants(
    google: FakeGoogle, issuer: str, methods: Any, by_header: bool
) -> None:
    """Where it leaves no choice."""
    body = document(google, token_endpoint_auth_methods_supported=methods)
    google.fail_next(endpoint="discovery", status=200, body=body)

    assert with_endpoints(get_client()).authenticates_by_header is by_header


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"issuer": "https://evil.example"}, "metadata_of_another_issuer"),
        ({"issuer": "SLASH"}, "metadata_of_another_issuer"),
        ({"issuer": None}, "metadata_of_another_issuer"),
        ({"issuer": ["x"]}, "metadata_of_another_issuer"),
        ({"token_endpoint": None}, "metadata_incomplete"),
        ({"authorization_endpoint": None}, "metadata_incomplete"),
        ({"token_endpoint": ""}, "metadata_unusable"),
        ({"token_endpoint": "http://id.example.com/token"}, "metadata_unusable"),
        ({"token_endpoint": 5}, "metadata_unusable"),
        ({"token_endpoint": ["https://id.example.com"]}, "metadata_unusable"),
        ({"token_endpoint": "https://id.example.com/\ntoken"}, "metadata_unusable"),
        ({"jwks_uri": "file:///etc/passwd"}, "metadata_unusable"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "metadata_unusable"),
        ({"revocation_endpoint": "https://oauth2.googleapis.com/revoke"}, "metadata_unusable"),
        ({"authorization_endpoint": "https://accounts.google.com/x"}, "metadata_unusable"),
        ({"userinfo_endpoint": "https://user@id.example.com/"}, "metadata_unusable"),
    ],
)
def test_metadata_that_must_not_be_used_is_the_operators_matter(
    google: FakeGoogle, issuer: str, changes: dict[str, Any], error: str
) -> None:
    """It is another issuer's, lacks an endpoint, or leads where no token may go."""
    if changes.get("issuer") == "SLASH":
        changes = {"issuer": f"{issuer}/"}
    google.fail_next(endpoint="discovery", status=200, body=document(google, **changes))

    with pytest.raises(ClientMisconfiguredError) as caught:
        with_endpoints(get_client())

    assert caught.value.error == error
    assert asked(google) == ["/.well-known/openid-configuration"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 500}, RefreshUnavailableError),
        ({"status": 429}, RefreshUnavailableError),
        ({"status": 200, "body": "<html>"}, RefreshUnavailableError),
        ({"status": 200, "body": []}, RefreshUnavailableError),
        ({"status": 200, "body": {}}, RefreshUnavailableError),
        ({"status": 302, "headers": {"Location": "/token"}}, RefreshUnavailableError),
        ({"status": 200, "body": b"[" * 2_000_000}, RefreshUnavailableError),
        ({"drop": True}, RefreshUnavailableError),
        ({"status": 404}, ClientMisconfiguredError),
    ],
)
@pytest.mark.django_db
def test_metadata_that_cannot_be_had_is_told(
    browser: Client,
    google: FakeGoogle,
    issuer: str,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
    error: type[Exception],
) -> None:
    """A page with a way to try again, and never a 500."""
    google.fail_next(endpoint="discovery", **fault)
    google.fail_next(endpoint="/.well-known/oauth-authorization-server", **fault)

    response: Any = browser.get(START)

    assert response.status_code == 503
    assert b"Try again" in response.content
    assert f"The metadata of {issuer} cannot be used" in caplog.text
    with pytest.raises(error):
        with_endpoints(get_client())


def test_failure_is_remembered_for_a_moment(google: FakeGoogle, issuer: str) -> None:
    """Whoever comes next does not wait for it, and the one after a few seconds asks."""
    google.fail_next(2, endpoint="discovery", status=500)
    google.metadata = ""

    for _ in range(3):
        with pytest.raises(ClientMisconfiguredError, match="AUTHORIZATION_ENDPOINT"):
            with_endpoints(get_client())
    assert len(asked(google)) == 2

    google.metadata = "openid"
    with travel(seconds=11), pytest.raises(ClientMisconfiguredError):
        with_endpoints(get_client())
    with travel(seconds=22):
        assert with_endpoints(get_client()).token_endpoint == f"{issuer}/token"


@pytest.mark.slow
def test_failure_does_not_replace_what_another_caller_has_fetched(
    google: FakeGoogle, issuer: str, settings: Settings
) -> None:
    """Of two callers who ask for the first time, one may get no response."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 6}
    google.fail_next(1, endpoint="discovery", status=503, delay=8)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(with_endpoints, get_client())
        until(lambda: asked(google))
        with_endpoints(get_client())

        assert waiting.result().token_endpoint == f"{issuer}/token"
    assert with_endpoints(get_client()).token_endpoint == f"{issuer}/token"


def test_what_was_known_serves_while_the_issuer_is_away(
    google: FakeGoogle, issuer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For a day, and it is asked again meanwhile."""
    with_endpoints(get_client())

    with google.failing(endpoint="discovery"), caplog.at_level(logging.WARNING):
        google.metadata = ""
        with travel(hours=2):
            assert with_endpoints(get_client()).token_endpoint == f"{issuer}/token"
        assert "cannot be used" in caplog.text
        with travel(hours=26), pytest.raises(ClientMisconfiguredError):
            with_endpoints(get_client())


def test_clock_that_is_put_back_keeps_nothing(google: FakeGoogle, issuer: str) -> None:
    """What could not be read a moment ago would be asked for in an hour."""
    google.metadata = ""
    with pytest.raises(ClientMisconfiguredError):
        with_endpoints(get_client())
    google.metadata = "openid"

    with travel(hours=-1):
        assert with_endpoints(get_client()).token_endpoint == f"{issuer}/token"


@pytest.mark.slow
@pytest.mark.django_db
def test_refresh_takes_no_longer_than_its_turn(
    browser: Client, google: FakeGoogle, alice: FakeUser, issuer: str, settings: Settings
) -> None:
    """Where the metadata hangs as well: another worker would ask with the same refresh token."""
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.6}

    with travel(hours=2):
        google.fail_next(endpoint="discovery", delay=0.7)
        google.delay = 0.4
        with pytest.raises(RefreshUnavailableError, match="timeout"):
            fresh_access_token(account)
        google.delay = 0
        with travel(seconds=40):
            google.fail_next(endpoint="discovery", delay=0.7)
            assert fresh_access_token(account).value


@pytest.mark.slow
@pytest.mark.django_db
def test_user_who_unlinks_does_not_wait_for_the_metadata(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    issuer: str,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """It is a part of the one short attempt."""
    link(browser, google, alice)
    monkeypatch.setattr("django_google_link.accounts.revocations.SHORT_TIMEOUT", 0.2)

    with travel(hours=30):
        google.fail_next(endpoint="discovery", status=200, body=document(google), delay=0.5)
        with django_capture_on_commit_callbacks(execute=True):
            GoogleAccount.objects.get().unlink()

    assert PendingRevocation.objects.exists()
    assert google.requests_to("revoke") == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("cache_control", "seconds"), [("max-age=60", 60), ("", 3600), ("max-age=999999999", 86_400)]
)
def test_issuer_says_how_long_it_holds(
    google: FakeGoogle, issuer: str, cache_control: str, seconds: int
) -> None:
    """An hour if it does not, and a day at most."""
    headers = {"Cache-Control": cache_control}
    google.fail_next(endpoint="discovery", status=200, body=document(google), headers=headers)
    with_endpoints(get_client())

    with travel(seconds=seconds - 1):
        with_endpoints(get_client())
    assert len(asked(google)) == 1
    with travel(seconds=seconds + 1):
        with_endpoints(get_client())
    assert len(asked(google)) == 2


def test_issuer_may_say_that_its_answers_name_it(google: FakeGoogle, issuer: str) -> None:
    """Then one that does not is refused (RFC 9207 section 2.4)."""
    client = get_client()
    check_issuer(client, None)

    google.declares_iss = True
    with travel(days=3):
        with pytest.raises(StateError, match="has no iss"):
            check_issuer(client, None)
        check_issuer(client, issuer)
        with pytest.raises(StateError, match="another"):
            check_issuer(client, "https://evil.example")


@pytest.mark.slow
def test_no_more_than_a_hundred_issuers_are_remembered(
    google: FakeGoogle, configure: Callable[..., None], issuer: str
) -> None:
    """Then all are forgotten, and asked again as they are needed."""

    def ask(number: int) -> None:
        configure(ISSUER=f"{issuer}/{number}")
        with pytest.raises(ClientMisconfiguredError):
            with_endpoints(get_client())

    for number in range(100):
        ask(number)
    ask(0)
    first = "/0/.well-known/openid-configuration"
    assert asked(google).count(first) == 1

    ask(100)
    ask(0)
    assert asked(google).count(first) == 2


class _Publisher(BaseHTTPRequestHandler):
    """Publishes what the server has for a path."""

    server: Any

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(self.path)
        found = self.server.documents.get(self.path)
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def publisher() -> Iterator[Any]:
    """A server that publishes metadata at any path."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Publisher)
    server.documents, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.usefixtures("unknown_provider")
def test_path_of_an_issuer_is_heeded(settings: Settings, slash: str) -> None:
    """OpenID's comes behind it, and RFC 8414 puts its own before it (section 3.1)."""
    with publisher() as server:
        issuer = f"{server.url}/tenant/one{slash}"
        well_known = "/.well-known/oauth-authorization-server/tenant/one"
        server.documents[well_known] = {
            "issuer": issuer,
            "authorization_endpoint": f"{server.url}/authorize",
            "token_endpoint": "https://tokens.example.com/token",
        }
        client = {"CLIENT_ID": "id", "CLIENT_SECRET": "hush", "ISSUER": issuer}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}

        found = with_endpoints(get_client())

        assert server.asked == ["/tenant/one/.well-known/openid-configuration", well_known]
        assert found.token_endpoint == "https://tokens.example.com/token"
        assert found.revocation_endpoint is None


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("endpoint", "is_taken"),
    [
        ("https://tokens.example.com/token", True),
        ("http://tokens.example.com/token", False),
        ("http://127.0.0.1:9/token", False),
        ("https://127.0.0.1/token", False),
        ("https://localhost/token", False),
        ("http://[::1]/token", False),
    ],
)
@pytest.mark.usefixtures("unknown_provider")
def test_issuer_elsewhere_leads_nowhere_on_this_machine(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    is_taken: bool,
) -> None:
    """A stranger's document must not have this site send requests to what is behind its walls."""
    elsewhere = "127.0.0.2"
    certificate, key = write_certificate(tmp_path, elsewhere)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", elsewhere)

    @Request.application
    def application(request: Request) -> Response:
        body = {
            "issuer": request.host_url.rstrip("/"),
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": endpoint,
        }
        return Response(json.dumps(body), content_type="application/json")

    with served_securely(application, certificate, key, elsewhere) as issuer:
        client = {"CLIENT_ID": "id", "CLIENT_SECRET": "hush", "ISSUER": issuer}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}

        if is_taken:
            assert with_endpoints(get_client()).token_endpoint == endpoint
            return
        with pytest.raises(ClientMisconfiguredError, match="token_endpoint"):
            with_endpoints(get_client())


def test_callback_is_the_clients_own(google: FakeGoogle, issuer: str) -> None:
    """As for every provider but Google."""
    assert get_client().callback_args == ("default",)
    assert f"{CALLBACK}default/" in google.client.redirect_uris
