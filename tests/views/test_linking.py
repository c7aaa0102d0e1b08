"""The linking flow, as a browser and FakeGoogle go through it."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, connection
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link import signals
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.models import GoogleAccount, Status
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from django_google_link.web.pending import DECLINED_SESSION_KEY, SESSION_KEY
from tests.support.constants import CALENDAR, CALLBACK, DRIVE
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.flow import arrive, link
from tests.support.signals import connected, heard
from tests.support.tables import delete_rows
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db

IDENTITY = ["openid", "email", "profile"]


def wanted(user: Any, **changes: Any) -> str:
    """Return a signed address of the authorize view."""
    values: dict[str, Any] = {
        "user": str(user.pk),
        "host": "testserver",
        "client": "default",
        "scopes": (*IDENTITY, CALENDAR),
        "required": (CALENDAR,),
        "return_url": "/agenda/?day=1",
        **changes,
    }
    return AuthorizeRequest(**values).url()


def callback(browser: Client, **query: str) -> Any:
    """Come to the callback with this query, and see where it leads on this site."""
    response: Any = browser.get(f"/google/callback/?{urlencode(query)}")
    if response.headers.get("Location") == "/google/failed/":
        return browser.get("/google/failed/")
    return response


def started(browser: Client, start: str = "/google/authorize/") -> dict[str, str]:
    """Start a flow, and return the parameters that went to Google."""
    return query_of(browser.get(start)["Location"])


# Starting


def test_authorize_sends_the_user_to_google(browser: Client, google: FakeGoogle) -> None:
    """All parameters, and never the client secret."""
    response = browser.get("/google/authorize/")

    location = response["Location"]
    query = query_of(location)
    assert response.status_code == 302
    assert location.startswith(f"{google.url}/o/oauth2/v2/auth?")
    assert query.pop("state") and query.pop("nonce") and query.pop("code_challenge")
    assert query == {
        "client_id": google.client.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": f"openid email profile {CALENDAR}",
        "code_challenge_method": "S256",
        "access_type": "offline",
        "include_granted_scopes": "true",
        "prompt": "consent",
    }
    assert google.client.client_secret not in location


def test_authorize_anonymous_logs_in_first_and_comes_back(
    client: Client, google: FakeGoogle, user: Any
) -> None:
    """The full query string survives the login."""
    start = wanted(user)

    response = client.get(start)

    assert response.status_code == 302
    assert response["Location"].startswith("/login/?")
    assert query_of(response["Location"])["next"] == start


@pytest.mark.parametrize("login_url", ["google_link:accounts", "/login/?tenant=1"])
def test_authorize_anonymous_honours_any_login_url(
    client: Client, google: FakeGoogle, settings: Settings, login_url: str
) -> None:
    """LOGIN_URL may be a name, or carry a query."""
    settings.LOGIN_URL = login_url

    response = client.get("/google/authorize/")

    assert query_of(response["Location"])["next"] == "/google/authorize/"


def test_authorize_already_linked_goes_straight_on(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """Who has it all is not sent to Google."""
    make_google_account(user, scopes=[CALENDAR])

    response = browser.get(wanted(user))

    assert response["Location"] == "/agenda/?day=1"
    assert SESSION_KEY not in browser.session


def test_authorize_for_a_further_account_goes_to_google(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """A further account is asked for though one is linked, and the user chooses."""
    make_google_account(user, scopes=[CALENDAR])

    query = started(browser, wanted(user, add=True))

    assert query["prompt"] == "select_account"
    assert "login_hint" not in query


@pytest.mark.parametrize("status", Status.values)
def test_authorize_without_a_refresh_token_asks_for_consent(
    browser: Client, google: FakeGoogle, user: Any, status: str
) -> None:
    """A row without a usable token is no link."""
    make_google_account(user, scopes=[CALENDAR], sub="42", refresh_token="", status=status)

    query = started(browser, wanted(user))

    assert query["prompt"] == "consent"
    assert query["login_hint"] == "42"


def test_authorize_for_more_scopes_keeps_to_the_account(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """Consent brings a refresh token for all of them; the account is hinted at."""
    make_google_account(user, scopes=[CALENDAR], sub="42")

    query = started(browser, wanted(user, required=(DRIVE,), scopes=(*IDENTITY, DRIVE)))

    assert query["prompt"] == "consent"
    assert query["login_hint"] == "42"


def test_authorize_among_several_without_a_default_lets_google_ask(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """Where nothing says which account is meant, the user chooses at Google."""
    for _ in range(2):
        make_google_account(user, scopes=[CALENDAR])
    GoogleAccount.objects.update(is_default=False)

    assert started(browser, wanted(user))["prompt"] == "select_account"


def test_authorize_among_several_of_which_one_lacks_a_scope_asks_for_consent(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """The user may choose that one, and only a new refresh token is sure to carry the scope."""
    make_google_account(user, scopes=[CALENDAR, DRIVE])
    make_google_account(user, scopes=[CALENDAR])

    query = started(browser, wanted(user, add=True, scopes=(*IDENTITY, DRIVE)))

    assert query["prompt"] == "select_account consent"


def test_authorize_takes_nothing_from_the_query(browser: Client, google: FakeGoogle) -> None:
    """Scopes, return address and parameters cannot be named by a visitor."""
    hostile = {
        "scope": "https://mail.google.com/",
        "scopes": "https://mail.google.com/",
        "next": "https://evil.example",
        "return_url": "https://evil.example",
        "redirect_uri": "https://evil.example",
        "prompt": "none",
        "client": "other",
    }

    response = browser.get(
        f"/google/authorize/?{urlencode(hostile)}", headers={"referer": "https://evil.example/x"}
    )

    assert "mail.google.com" not in response["Location"]
    assert "evil" not in response["Location"]
    assert "evil" not in json.dumps(dict(browser.session.items()))
    assert query_of(response["Location"])["prompt"] == "consent"


@pytest.mark.matrix
@pytest.mark.parametrize("signed", ["x", "a:b:c", "", "%00", "é" * 3000])
def test_authorize_with_a_forged_request_is_refused(
    browser: Client, google: FakeGoogle, signed: str
) -> None:
    """What we have not signed starts nothing."""
    response = browser.get("/google/authorize/", {"request": signed or "."})

    assert response.status_code == 400
    assert b"changed nothing" in response.content
    assert SESSION_KEY not in browser.session


def test_authorize_with_a_request_signed_for_something_else_is_refused(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """A value that another part of the site signed is not a request."""
    response = browser.get("/google/authorize/", {"request": signing.dumps({"user": str(user.pk)})})

    assert response.status_code == 400


def test_authorize_with_another_users_request_is_refused(
    browser: Client, google: FakeGoogle, other_user: Any
) -> None:
    """A link that was made for somebody else starts nothing."""
    assert browser.get(wanted(other_user)).status_code == 400


def test_authorize_with_an_old_request_is_refused(browser: Client, user: Any) -> None:
    """A link is good for as long as was said when it was made."""
    assert browser.get(wanted(user, max_age=-1)).status_code == 400


def test_authorize_with_the_oldest_request_is_refused(
    browser: Client, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was said then, no link is good for ever."""
    start = wanted(user)
    monkeypatch.setattr("django_google_link.accounts.authorize_links.LONGEST_AGE", -1)

    assert browser.get(start).status_code == 400


@pytest.mark.matrix
@pytest.mark.parametrize(
    "evil",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/ok\r\nX: y",
        "/a\tb",
        "\x00/",
        "http:///evil.example",
        "/\u202eevil",
    ],
)
def test_return_url_that_leaves_the_site_falls_back(
    browser: Client, google: FakeGoogle, user: Any, alice: FakeUser, evil: str
) -> None:
    """Checked at the start, and again at the end."""
    make_google_account(user, scopes=[CALENDAR])

    straight_on = browser.get(wanted(user, return_url=evil))
    at_the_end = link(browser, google, alice, wanted(user, return_url=evil, add=True))

    assert straight_on["Location"] == at_the_end["Location"] == "/google/"


def test_return_url_that_leaves_https_falls_back(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """No way back from https to http."""
    make_google_account(user, scopes=[CALENDAR])

    response = browser.get(wanted(user, return_url="http://testserver/x"), secure=True)

    assert response["Location"] == "/google/"


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["head", "options", "post", "put", "delete", "patch"])
@pytest.mark.parametrize("path", ["/google/authorize/", "/google/callback/"])
def test_other_methods_neither_start_nor_consume(
    browser: Client, google: FakeGoogle, method: str, path: str
) -> None:
    """405, with the pending state as it was."""
    state = started(browser)["state"]
    before = dict(browser.session.items())

    response = getattr(browser, method)(f"{path}?state={state}&code=x")

    assert response.status_code == 405
    assert dict(browser.session.items()) == before


def test_redirect_uri_of_the_settings_wins(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """The same at start and exchange, and not the Host header's."""
    fixed = "https://www.example.com/google/callback/"
    google.client.redirect_uris.append(fixed)
    configure(REDIRECT_URI=fixed)

    response = link(browser, google, alice)

    assert response.status_code == 302
    assert google.requests_to("authorize")[0].query["redirect_uri"] == fixed
    assert google.requests_to("token")[0].form["redirect_uri"] == fixed


def test_redirect_uri_is_built_from_the_request(browser: Client, google: FakeGoogle) -> None:
    """With the scheme of the request."""
    query = query_of(browser.get("/google/authorize/", secure=True)["Location"])

    assert query["redirect_uri"] == "https://testserver/google/callback/"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([CALLBACK, "https://www.example.com/google/callback/"], CALLBACK),
        (["https://www.example.com/google/callback/"], "https://www.example.com/google/callback/"),
    ],
)
def test_redirect_uri_of_the_secrets_file_is_honoured(
    browser: Client,
    google: FakeGoogle,
    configure: Callable[..., None],
    tmp_path: Any,
    listed: list[str],
    expected: str,
) -> None:
    """Behind a proxy the file knows better than the request."""
    google.client.redirect_uris[:] = listed
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=path)

    assert started(browser)["redirect_uri"] == expected


def test_redirect_uri_that_google_does_not_know_is_a_configuration_error(
    browser: Client, google: FakeGoogle, configure: Callable[..., None], tmp_path: Any
) -> None:
    """An error that says what to do, and no broken URL."""
    google.client.redirect_uris[:] = ["https://www.example.com/elsewhere/"]
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=path)

    with pytest.raises(ImproperlyConfigured, match="not a redirect URI of"):
        browser.get("/google/authorize/")


def test_redirect_uri_on_loopback_is_never_another_port(
    browser: Client, google: FakeGoogle, configure: Callable[..., None], tmp_path: Any
) -> None:
    """A developer on another port than Google knows is told so, and not sent there."""
    google.client.redirect_uris[:] = ["http://127.0.0.1:8000/google/callback/"]
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=path)

    with pytest.raises(ImproperlyConfigured, match=r"127\.0\.0\.1:8001"):
        browser.get("/google/authorize/", headers={"host": "127.0.0.1:8001"})


def test_redirect_uri_on_loopback_is_not_for_the_public(
    browser: Client, google: FakeGoogle, configure: Callable[..., None], tmp_path: Any
) -> None:
    """The developer's file in production is an error, and sends nobody to their own machine."""
    google.client.redirect_uris[:] = ["http://127.0.0.1:8000/google/callback/"]
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=path)

    with pytest.raises(ImproperlyConfigured, match="testserver"):
        browser.get("/google/authorize/")


@pytest.mark.parametrize("host", ["192.168.1.5:8000", "laptop.local"])
def test_redirect_uri_on_the_local_network(
    browser: Client,
    google: FakeGoogle,
    configure: Callable[..., None],
    settings: Settings,
    tmp_path: Any,
    host: str,
) -> None:
    """It cannot be added at Google, so that nobody is told to: another address is named."""
    settings.ALLOWED_HOSTS = ["*"]
    google.client.redirect_uris[:] = ["http://localhost:8000/google/callback/"]
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=path)

    with pytest.raises(ImproperlyConfigured, match="Google accepts http on loop") as caught:
        browser.get("/google/authorize/", headers={"host": host})

    assert f"http://{host}/google/callback/ is not a redirect URI of" in str(caught.value)
    assert "The file has http://localhost:8000/google/callback/: open the site at" in (
        str(caught.value)
    )
    assert "Google console" not in str(caught.value)


def test_redirect_uri_without_tls_is_warned_of(
    user: Any, google: FakeGoogle, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Google will refuse it: the proxy's headers are not heeded, as a rule. An emulator may not."""
    client = Client()
    client.force_login(user)

    client.get("/google/authorize/")
    own = {"CLIENT_ID": "1-x.apps.googleusercontent.com", "CLIENT_SECRET": "not-a-secret"}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": own}}
    client.get("/google/authorize/", headers={"host": "127.0.0.1:8000"})
    assert caplog.text == ""
    client.get("/google/authorize/")
    assert "SECURE_PROXY_SSL_HEADER" in caplog.text


def test_authorize_without_an_encryption_key_sends_nobody_to_google(
    browser: Client, google: FakeGoogle, settings: Settings
) -> None:
    """They would come back with a grant that nobody can keep."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}

    with pytest.raises(ImproperlyConfigured, match="ENCRYPTION_KEYS"):
        browser.get("/google/authorize/")


def test_authorization_params_are_sent(
    browser: Client, google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """Parameters of the settings go along and win."""
    configure(
        AUTHORIZATION_PARAMS={"hl": "de", "access_type": "online"}, HOSTED_DOMAIN="example.com"
    )

    query = started(browser)

    assert (query["hl"], query["access_type"], query["hd"]) == ("de", "online", "example.com")


def test_authorization_params_do_not_keep_the_refresh_token_away(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """A ``prompt`` of the settings comes beside ours, which asks for consent where it must."""
    configure(AUTHORIZATION_PARAMS={"prompt": "select_account"})
    browser.get(local(google.consent(browser.get("/google/authorize/")["Location"], user=alice)))
    delete_rows()  # A backup was restored.

    location = browser.get("/google/authorize/")["Location"]
    browser.get(local(google.consent(location, user=alice)))

    assert query_of(location)["prompt"] == "consent select_account"
    assert GoogleAccount.objects.get().is_active


# What is remembered


def test_session_holds_no_secret_and_no_state(browser: Client, google: FakeGoogle) -> None:
    """JSON primitives, and of the state only a hash."""
    state = started(browser)["state"]

    session = json.dumps(dict(browser.session.items()))

    assert state not in session
    assert google.client.client_secret not in session


def test_session_holds_no_token_after_linking(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """ASVS 10.1.1: tokens reach neither the session nor the browser."""
    response = link(browser, google, alice)

    [account] = GoogleAccount.objects.all()
    session = json.dumps(dict(browser.session.items()))
    cookies = str(browser.cookies)
    page = browser.get("/google/").content.decode()
    for name in ("refresh_token", "access_token"):
        token = account.unseal_token(name)
        assert token
        for place in (session, cookies, page, str(response.headers)):
            assert token.reveal() not in place
    assert session.count(SESSION_KEY) <= 1
    assert browser.session[SESSION_KEY] == {}


@pytest.mark.slow
def test_tabs_complete_in_any_order(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Several starts do not break each other."""
    starts = [wanted(user, return_url=f"/{number}/") for number in range(3)]
    urls = [browser.get(start)["Location"] for start in starts]
    backs = [local(google.consent(url, user=alice)) for url in urls]

    responses = [browser.get(backs[number]) for number in (2, 0, 1)]

    assert [response["Location"] for response in responses] == ["/2/", "/0/", "/1/"]
    assert GoogleAccount.objects.count() == 1


@pytest.mark.slow
def test_pending_starts_are_capped(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """The oldest of eleven makes room."""
    urls = [browser.get("/google/authorize/")["Location"] for _ in range(11)]

    oldest = arrive(browser, google.consent(urls[0], user=alice))
    newest = arrive(browser, google.consent(urls[-1], user=alice))

    assert (oldest.status_code, newest.status_code) == (400, 302)


def test_pending_start_expires(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """After STATE_MAX_AGE it is too late."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    session = browser.session
    for entry in session[SESSION_KEY].values():
        entry["created_at"] -= 601
    session.save()

    response = arrive(browser, back)

    assert response.status_code == 400
    assert not google.requests_to("token")


# Coming back


def test_callback_stores_the_link(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Exchanged, stored, told once, and on to the page."""
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        response = link(browser, google, alice, wanted(user))

    [account] = GoogleAccount.objects.all()
    [exchange] = google.requests_to("token")
    assert response["Location"] == "/agenda/?day=1"
    assert (account.user, account.sub, account.email) == (user, alice.sub, "alice@gmail.com")
    assert (account.name, account.email_verified, account.is_default) == (
        "Alice Example",
        True,
        True,
    )
    assert set(account.granted_scopes) == {*IDENTITY, CALENDAR}
    assert account.status == Status.ACTIVE
    assert exchange.form["grant_type"] == "authorization_code"
    assert exchange.form["code_verifier"]
    [(name, arguments)] = news
    assert (name, arguments["account"], arguments["created"]) == ("account_linked", account, True)
    assert arguments["request"].user == user


@pytest.mark.matrix
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"state": "unknown"},
        {"state": "unknown", "code": "x"},
        {"code": "x"},
        {"state": "", "code": ""},
        {"state": "[]", "code": "x"},
        {"state": '"x"', "code": "x"},
        {"state": "null", "error": "access_denied"},
        {"error": "access_denied"},
        {"error": "<script>alert(1)</script>"},
        {"state": "é\x00\ud7ff" * 500, "code": "x"},
    ],
)
def test_callback_without_a_pending_start_touches_nothing(
    browser: Client, google: FakeGoogle, query: dict[str, str]
) -> None:
    """400 with an explanation, and no request to Google."""
    response = callback(browser, **query)

    assert response.status_code == 400
    assert b"start again" in response.content
    assert b"<script>alert" not in response.content
    assert google.requests == []


@pytest.mark.matrix
@pytest.mark.parametrize("garbage", [None, [], "x", 1, {"x": 1}, {"x": {"created_at": "now"}}])
def test_callback_with_a_garbled_session_is_refused(
    browser: Client, google: FakeGoogle, garbage: Any
) -> None:
    """Whatever the session holds, never a 500."""
    session = browser.session
    session[SESSION_KEY] = garbage
    session[DECLINED_SESSION_KEY] = garbage
    session.save()

    assert callback(browser, state="x", code="x").status_code == 400
    assert browser.get("/google/authorize/").status_code == 302


def test_callback_without_a_code_is_refused(browser: Client, google: FakeGoogle) -> None:
    """A state alone is not enough."""
    response = callback(browser, state=started(browser)["state"])

    assert response.status_code == 400
    assert not google.requests_to("token")


def test_callback_in_another_browser_is_refused(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The state belongs to the session that started."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    elsewhere = Client()
    elsewhere.force_login(user)

    response = arrive(elsewhere, back)

    assert response.status_code == 400
    assert not google.requests_to("token")


@pytest.mark.parametrize("copy", ["RAW_URI", "REQUEST_URI"])
def test_callback_leaves_the_server_a_path_to_log(browser: Client, copy: str) -> None:
    """gunicorn reads its own of these after the request, and would miss it."""
    response: Any = browser.get("/google/callback/?code=4/secret", **{copy: "/google/callback/?c"})

    assert response.wsgi_request.environ[copy] == "/google/callback/"


def test_callback_twice_exchanges_once(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """A repeat, by a reload or a double click, leads where the first one led."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)

    first, second = arrive(browser, back), arrive(browser, back)

    assert (first.status_code, second.status_code) == (302, 302)
    assert first["Location"] == second["Location"] == "/google/"
    assert len(google.requests_to("token")) == 1
    assert GoogleAccount.objects.count() == 1


def test_callback_uses_the_state_up_before_the_exchange(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """A failed exchange leaves no state behind either."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    google.fail_next()

    first, second = arrive(browser, back), arrive(browser, back)

    assert (first.status_code, second.status_code) == (503, 400)
    assert len(google.requests_to("token")) == 1


@pytest.mark.usefixtures("shared_database")
def test_callback_uses_the_state_up_with_atomic_requests(
    google: FakeGoogle, alice: FakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error rolls nothing back, and no transaction is open while Google is asked."""
    browser = Client(raise_request_exception=False)
    browser.force_login(new_user())
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    configured = settings.GOOGLE_LINK
    settings.GOOGLE_LINK = {**configured, "CLIENTS": {"other": {}}}
    first = arrive(browser, back)
    settings.GOOGLE_LINK = configured

    second = arrive(browser, back)

    assert (first.status_code, second.status_code) == (500, 400)
    assert google.requests_to("token") == []


def test_callback_as_another_user_stores_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser, other_user: Any
) -> None:
    """Even with the session's content carried over."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    pending = browser.session[SESSION_KEY]
    browser.force_login(other_user)
    session = browser.session
    session[SESSION_KEY] = pending
    session.save()

    response = arrive(browser, back)

    assert response.status_code == 400
    assert not google.requests_to("token")
    assert not GoogleAccount.objects.exists()


def test_callback_logged_out_asks_for_the_login_without_the_code(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Log in, then start again; the code goes nowhere."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    browser.logout()

    response = browser.get(local(back))

    assert response["Location"] == "/login/?next=/google/"
    assert not GoogleAccount.objects.exists()


def test_callback_ignores_a_return_url_in_the_query(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Only what was kept counts."""
    back = google.consent(browser.get(wanted(user))["Location"], user=alice)

    response = browser.get(f"{local(back)}&return_url=/evil/&next=/evil/")

    assert response["Location"] == "/agenda/?day=1"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"status": 400, "body": {"error": "invalid_grant"}}, 400),
        ({"status": 400, "body": {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}}, 400),
        (
            {"status": 400, "body": {"error": "<b>x</b>", "error_description": "<b>x</b>" * 9999}},
            400,
        ),
        ({"status": 401, "body": {"error": "invalid_client"}}, 503),
        ({"status": 400, "body": {"error": "redirect_uri_mismatch"}}, 503),
        ({"status": 500, "body": "oops"}, 503),
        ({"status": 403, "body": "<html>Rate limit</html>", "content_type": "text/html"}, 503),
        ({"status": 200, "body": {"token_type": "Bearer"}}, 503),
        ({"status": 200, "body": {"access_token": ["x"]}}, 503),
        ({"status": 200, "body": {"access_token": "x", "token_type": "mac"}}, 503),
        ({"status": 200, "body": ["x"]}, 503),
        ({"status": 200, "body": "[" * 100_000}, 503),
        ({"status": 200, "body": "\udcff".encode("utf-8", "surrogatepass")}, 503),
        ({"status": 302, "headers": {"Location": "/"}}, 503),
        ({"drop": True}, 503),
        ({"status": 200, "body": {"access_token": "x"}}, 400),
        ({"status": 200, "body": {"access_token": "x", "id_token": "a.b.c"}}, 400),
        ({"status": 200, "body": {"access_token": "x", "id_token": "é"}}, 400),
    ],
)
def test_exchange_that_fails_stores_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser, fault: dict[str, Any], status: int
) -> None:
    """A page that says so, never a 500, and Google's text is not repeated."""
    google.fail_next(**fault)

    response = link(browser, google, alice)

    assert response.status_code == status
    assert b"Try again" in response.content
    assert b"<b>x</b>" not in response.content
    assert len(response.content) < 5000
    assert not GoogleAccount.objects.exists()


def test_exchange_without_expires_in_is_accepted(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """A lifetime is optional, and so is the scope (then the requested ones)."""
    to_google = browser.get("/google/authorize/")["Location"]
    back = google.consent(to_google, user=alice)
    nonce = query_of(to_google)["nonce"]
    google.tamper_next_id_token(claims={"nonce": nonce})
    real = google.grant(alice, [CALENDAR])
    token = _id_token(google, alice, nonce)
    google.fail_next(
        status=200,
        body={"access_token": "ya29.x", "refresh_token": real.refresh_token, "id_token": token},
    )

    response = browser.get(local(back))

    [account] = GoogleAccount.objects.all()
    assert response.status_code == 302
    assert account.access_token_expires_at is None
    assert set(account.granted_scopes) == {*IDENTITY, CALENDAR}


def _id_token(google: FakeGoogle, alice: FakeUser, nonce: str) -> str:
    """Get a real ID token with this nonce, by an exchange of our own."""
    import requests

    query = {
        "client_id": google.client.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid email profile",
        "nonce": nonce,
    }
    back = google.consent(f"{google.url}/o/oauth2/v2/auth?{urlencode(query)}", user=alice)
    answer = requests.post(
        f"{google.url}/token",
        data={
            "grant_type": "authorization_code",
            "code": query_of(back)["code"],
            "redirect_uri": CALLBACK,
            "client_id": google.client.client_id,
            "client_secret": google.client.client_secret,
        },
        timeout=10,
    )
    return str(answer.json()["id_token"])


@pytest.mark.matrix
@pytest.mark.parametrize(
    "tampering",
    [
        {"claims": {"aud": "somebody else"}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"exp": 1}},
        {"claims": {"nonce": "another"}},
        {"remove": ("nonce",)},
        {"remove": ("sub",)},
        {"foreign_key": True},
        {"alg": "none"},
    ],
)
def test_id_token_that_cannot_be_trusted_stores_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser, tampering: dict[str, Any]
) -> None:
    """ASVS 10.5.1, 10.5.3, 10.5.4: the whole way, not just the function."""
    google.tamper_next_id_token(**tampering)

    response = link(browser, google, alice)

    assert response.status_code == 400
    assert not GoogleAccount.objects.exists()


def test_signing_keys_out_of_reach_is_another_error(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Google's fault, not the user's."""
    google.fail_next(endpoint="certs", status=500)

    assert link(browser, google, alice).status_code == 503


def test_answer_of_another_issuer_is_refused(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """ASVS 10.2.2, RFC 9207: the code is not sent to a server that did not issue it."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)

    response = arrive(browser, f"{back}&iss=https%3A%2F%2Fevil.example")

    assert response.status_code == 400
    assert response.request["PATH_INFO"] == "/google/failed/"
    assert not google.requests_to("token")


def test_error_of_another_issuer_is_no_refusal(browser: Client, google: FakeGoogle) -> None:
    """Nor remembered as one: whoever sent it was not asked."""
    state = started(browser)["state"]

    response = callback(browser, state=state, error="access_denied", iss="https://evil.example")

    assert response.request["PATH_INFO"] == "/google/failed/"
    assert browser.get("/agenda/")["Location"].startswith("/google/authorize/?")


def test_answer_with_the_right_issuer_is_accepted(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """RFC 9207: Google may start to send it."""
    google.sends_iss = True

    assert link(browser, google, alice).status_code == 302


def test_hosted_domain_is_checked_in_the_id_token(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """The hd parameter is only for Google's screen: the claim decides."""
    configure(HOSTED_DOMAIN="example.com")
    to_google = browser.get("/google/authorize/")["Location"].replace("hd=example.com", "")
    worker = google.add_user("w@example.com", hosted_domain="example.com")

    private = browser.get(local(google.consent(to_google, user=alice)))
    work = link(browser, google, worker)

    assert (private.status_code, work.status_code) == (403, 302)
    assert b"Only Google accounts at example.com" in private.content
    assert GoogleAccount.objects.get().hosted_domain == "example.com"


def test_any_workspace_will_do(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """Google is asked to offer those alone, and a private account is refused."""
    configure(HOSTED_DOMAIN="*")
    to_google = browser.get("/google/authorize/")["Location"]
    assert query_of(to_google)["hd"] == "*"
    worker = google.add_user("w@example.com", hosted_domain="example.com")

    private = browser.get(local(google.consent(to_google.replace("hd=%2A", ""), user=alice)))

    assert private.status_code == 403
    assert b"Only Google Workspace accounts" in private.content
    assert link(browser, google, worker).status_code == 302


# Denied, in part or as a whole


def test_denied_shows_a_page_and_never_loops(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The state is used up, a signal is sent, the way back is a page."""
    with heard() as news:
        response = link(browser, google, alice, wanted(user), deny=True)

    [(name, arguments)] = news
    assert response.status_code == 403
    assert b"You cancelled" in response.content
    assert b"See your calendars" in response.content
    assert name == "authorization_denied"
    assert (arguments["error"], arguments["user"]) == ("access_denied", user)
    assert not google.requests_to("token")
    assert browser.session[SESSION_KEY] == {}
    assert not GoogleAccount.objects.exists()


def test_denied_offers_to_try_again(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The button starts the same again, and works."""
    response = link(browser, google, alice, wanted(user), deny=True)

    again = link(browser, google, alice, response.context["try_url"])

    assert again["Location"] == "/agenda/?day=1"
    assert browser.session[DECLINED_SESSION_KEY] == {"default": []}


@pytest.mark.matrix
@pytest.mark.parametrize("error", ["server_error", "<script>alert(1)</script>", "x" * 100_000, ""])
def test_error_from_google_is_shown_escaped_and_short(
    browser: Client, google: FakeGoogle, error: str
) -> None:
    """400, nothing exchanged or stored."""
    response = callback(browser, state=started(browser)["state"], error=error, code="x")

    assert response.status_code == 400
    assert b"<script>alert" not in response.content
    assert len(response.content) < 5000
    assert not google.requests_to("token")


def test_partial_consent_is_a_success_with_less(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What was granted is kept, and what was left out is remembered."""
    start = wanted(user, scopes=(*IDENTITY, CALENDAR, DRIVE), required=(DRIVE,))

    response = link(browser, google, alice, start, grant=[CALENDAR])

    assert response["Location"] == "/agenda/?day=1"
    assert set(GoogleAccount.objects.get().granted_scopes) == {*IDENTITY, CALENDAR}
    assert browser.session[DECLINED_SESSION_KEY] == {"default": [DRIVE]}


def test_incremental_consent_keeps_what_was_granted(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Asking for more loses nothing, and brings a refresh token for all of it."""
    link(browser, google, alice)
    before = GoogleAccount.objects.get()

    link(browser, google, alice, wanted(user, scopes=(*IDENTITY, DRIVE), required=(DRIVE,)))

    after = GoogleAccount.objects.get()
    assert set(after.granted_scopes) == {*IDENTITY, CALENDAR, DRIVE}
    assert after.unseal_token("refresh_token") != before.unseal_token("refresh_token")
    assert set(after.refresh_token_scopes) == {*IDENTITY, CALENDAR, DRIVE}
    assert after.grant_version > before.grant_version


# Refresh tokens and accounts


def test_no_refresh_token_asks_for_consent_once_more(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google has granted before and we hold nothing: consent makes a new token."""
    google.grant(alice, [*IDENTITY, CALENDAR])
    make_google_account(user, scopes=[CALENDAR])

    second = link(browser, google, alice, wanted(user, add=True))
    third = browser.get(local(google.consent(second["Location"], user=alice)))

    assert query_of(second["Location"])["prompt"] == "consent"
    assert query_of(second["Location"])["login_hint"] == alice.sub
    assert third["Location"] == "/agenda/?day=1"
    assert GoogleAccount.objects.get(sub=alice.sub).unseal_token("refresh_token")


def test_no_refresh_token_twice_fails_clearly(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """A link that cannot be refreshed is never stored as healthy."""
    configure(AUTHORIZATION_PARAMS={"access_type": "online"})

    second = link(browser, google, alice)
    third = browser.get(local(google.consent(second["Location"], user=alice)))

    assert third.status_code == 400
    assert b"not grant lasting access" in third.content
    assert not GoogleAccount.objects.exists()


def test_no_refresh_token_for_a_dead_link_asks_for_consent(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, configure: Callable[..., None]
) -> None:
    """A stored token that Google has refused is not kept as if it were good."""
    configure(AUTHORIZATION_PARAMS={"access_type": "online"})
    make_google_account(user, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION)

    response = link(browser, google, alice, wanted(user))

    assert query_of(response["Location"])["prompt"] == "consent"
    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION


def test_linking_again_heals_a_dead_link(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The same row, active again, with the new token."""
    account = make_google_account(
        user, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION, status_reason="revoked"
    )

    link(browser, google, alice, wanted(user))

    [after] = GoogleAccount.objects.all()
    assert (after.pk, after.status, after.status_reason) == (account.pk, Status.ACTIVE, "")
    assert after.unseal_token("refresh_token") != account.unseal_token("refresh_token")


def test_another_account_than_expected_changes_nothing_and_is_offered(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The expected row stays to the byte; the user may add the other one."""
    expected = make_google_account(user, sub="42", email="expected@gmail.com")
    before = GoogleAccount.objects.values().get()
    start = wanted(user)
    to_google = browser.get(start)["Location"].replace("login_hint=42", "")

    response = browser.get(local(google.consent(to_google, user=alice)))
    added = link(browser, google, alice, response.context["add_url"])

    assert response.status_code == 409
    assert b"expected@gmail.com" in response.content
    assert b"alice@gmail.com" in response.content
    assert added["Location"] == "/agenda/?day=1"
    assert GoogleAccount.objects.filter(pk=expected.pk).values().get() == before
    assert GoogleAccount.objects.filter(user=user).count() == 2


def test_another_account_for_a_link_that_is_gone_is_offered(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The account asked for was unlinked meanwhile: still nothing is stored unasked."""
    to_google = browser.get(wanted(user, account="42"))["Location"].replace("login_hint=42", "")

    response = browser.get(local(google.consent(to_google, user=alice)))

    assert response.status_code == 409
    assert not GoogleAccount.objects.exists()


def test_same_google_account_for_two_users_is_two_links(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """Both keep their own; nothing moves."""
    link(browser, google, alice)
    browser.force_login(other_user)

    response = link(browser, google, alice)

    assert response.status_code == 302
    assert {row.user for row in GoogleAccount.objects.all()} == {user, other_user}


# The answers themselves


def test_answers_are_private(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """No-store and no referrer, on success and on failure."""
    responses = [
        browser.get("/google/authorize/"),
        link(browser, google, alice, wanted(user)),
        callback(browser, state="x", code="y"),
        link(browser, google, alice, wanted(user, required=(DRIVE,)), deny=True),
    ]

    for response in responses:
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"


def test_code_and_state_are_not_logged(
    browser: Client, google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the flow is in any log at DEBUG."""
    caplog.set_level(logging.DEBUG)
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    caplog.clear()

    browser.get(local(back))
    browser.get(local(back))

    query = query_of(back)
    written = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert written
    for secret in (query["code"], query["state"], google.client.client_secret):
        assert secret not in written


def test_a_raising_receiver_changes_nothing(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """The link is kept and the user goes on."""

    def receiver(**kwargs: Any) -> None:
        raise RuntimeError("receiver")

    with (
        connected(signals.account_linked, receiver),
        django_capture_on_commit_callbacks(execute=True),
    ):
        response = link(browser, google, alice)

    assert response.status_code == 302
    assert GoogleAccount.objects.count() == 1


def test_pages_are_whole(browser: Client, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Each page has a language, a title, one heading, a main part, and nothing inline."""
    pages = [
        browser.get("/google/"),
        callback(browser, state="x"),
        link(browser, google, alice, wanted(user), deny=True),
        callback(browser, state=started(browser)["state"], error="server_error"),
    ]

    for page in pages:
        html = page.content.decode()
        assert html.count("<h1>") == html.count("<main>") == html.count("<title>") == 1
        assert 'lang="en-us"' in html
        assert "<script" not in html and "style=" not in html and "<style" not in html


def test_session_survives_pickling_and_json(browser: Client, google: FakeGoogle) -> None:
    """The pending start is made of primitives, whatever the session serializer."""
    browser.get("/google/authorize/")

    content = SessionStore(browser.session.session_key).load()[SESSION_KEY]

    assert json.loads(json.dumps(content)) == pickle.loads(pickle.dumps(content)) == content


def test_link_of_a_former_client_is_made_anew(
    browser: Client, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """As the error asks for: Google is asked for consent, since no usable token is held."""
    browser.get(local(google.consent(browser.get("/google/authorize/")["Location"], user=alice)))
    client = google.add_client(redirect_uris=[CALLBACK])
    configure(CLIENT_ID=client.client_id, CLIENT_SECRET=client.client_secret)

    location = browser.get("/google/authorize/")["Location"]
    assert query_of(location)["prompt"] == "consent"
    browser.get(local(google.consent(location, user=alice)))

    account = GoogleAccount.objects.get()
    assert (account.client_id, account.is_active) == (client.client_id, True)


def test_account_that_cannot_be_saved_has_a_page(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """What was given is taken back, and the page says so."""
    location = browser.get("/google/authorize/")["Location"]
    back = local(google.consent(location, user=alice))

    with refusing(DataError("cannot be saved"), "INSERT INTO", "googleaccount"):
        response = browser.get(back)

    assert response.status_code == 503
    assert "Your account could not be saved" in response.content.decode()
    assert google.granted_scopes(alice) is None


def test_authorize_at_a_provider_that_does_not_combine_asks_for_all(
    browser: Client, google: FakeGoogle, user: Any, configure: Callable[..., None]
) -> None:
    """Else what was granted before would be gone."""
    configure(INCLUDE_GRANTED_SCOPES=False)
    make_google_account(user, scopes=[CALENDAR])

    query = started(browser, wanted(user, required=(DRIVE,), scopes=(*IDENTITY, DRIVE)))

    assert {CALENDAR, DRIVE} <= set(query["scope"].split())
