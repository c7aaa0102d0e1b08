"""``request.google``, and the address that starts linking."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from google.auth.exceptions import RefreshError
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.decorators import google_required
from django_google_link.exceptions import (
    AccountChoiceRequiredError,
    ConsentRequiredError,
    GrantLostError,
    MissingScopesError,
    NotLinkedError,
    StateError,
)
from django_google_link.models import GoogleAccount, Status
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.services import credentials_for
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from django_google_link.web.access import GoogleAccess, Requirement, is_safe_url
from django_google_link.web.pending import DECLINED_SESSION_KEY
from tests.support.apis import link_account
from tests.support.constants import CALENDAR, DRIVE, EVENTS, TASKS
from tests.support.flow import visit
from tests.support.statuses import STATUSES, assert_leads_on
from tests.support.urls import authorize_request_of, query_of

pytestmark = pytest.mark.django_db


# What it tells


def test_aware_anonymous(client: Client) -> None:
    """The view runs; there is nothing, and nothing raises."""
    response = client.get("/home/?x=1")

    content = response.json()
    assert query_of(content.pop("authorize_url")) == {"next": "/home/?x=1"}
    assert content == {
        "has_credentials": False,
        "status": "anonymous",
        "email": None,
        "sub": None,
        "emails": [],
        "granted_scopes": [],
        "missing_scopes": [CALENDAR],
        "has_drive": False,
    }


def test_aware_not_linked(browser: Client, user: Any) -> None:
    """The address to link is there, back to this page."""
    content = browser.get("/home/?x=1").json()

    wanted = authorize_request_of(content.pop("authorize_url"), user)
    assert (wanted.return_url, wanted.account, wanted.client) == ("/home/?x=1", "", "default")
    assert content == {
        "has_credentials": False,
        "status": "not_linked",
        "email": None,
        "sub": None,
        "emails": [],
        "granted_scopes": [],
        "missing_scopes": [CALENDAR],
        "has_drive": False,
    }


def test_aware_linked(browser: Client, user: Any) -> None:
    """All that was granted, and who it is."""
    make_google_account(user, scopes=[CALENDAR, DRIVE], email="a@gmail.com", sub="42")

    content = browser.get("/home/").json()

    assert authorize_request_of(content.pop("authorize_url"), user).account == "42"
    assert content == {
        "has_credentials": True,
        "status": "ready",
        "email": "a@gmail.com",
        "sub": "42",
        "emails": ["a@gmail.com"],
        "granted_scopes": sorted([*IDENTITY_SCOPES, CALENDAR, DRIVE]),
        "missing_scopes": [],
        "has_drive": True,
    }


def test_aware_with_scopes_missing(browser: Client, user: Any) -> None:
    """Still 200, with arguments and a return address of its own."""
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")

    response = browser.get("/dashboard/main/")

    content = response.json()
    wanted = authorize_request_of(content["authorize_url"], user)
    assert (response.status_code, response["X-Name"]) == (200, "main")
    assert (content["has_credentials"], content["status"]) == (False, "missing_scopes")
    assert (content["email"], content["missing_scopes"]) == ("a@gmail.com", [DRIVE])
    assert (wanted.return_url, list(wanted.required)) == ("/bare/", [CALENDAR, DRIVE])


def test_aware_with_a_lost_grant(browser: Client, user: Any) -> None:
    """A grant that is dead gives no scope, though it is known what it gave."""
    make_google_account(
        user, scopes=[CALENDAR, DRIVE], email="a@gmail.com", status=Status.NEEDS_REAUTHORIZATION
    )

    content = browser.get("/home/").json()

    assert (content["has_credentials"], content["status"]) == (False, "needs_reauthorization")
    assert (content["email"], content["has_drive"]) == ("a@gmail.com", False)


def test_aware_with_several_accounts(browser: Client, user: Any) -> None:
    """The default one is used, whatever else there is; without a default the user chooses."""
    make_google_account(user, scopes=[CALENDAR], email="one@gmail.com")
    make_google_account(user, scopes=[CALENDAR], email="two@gmail.com")

    with_default = browser.get("/home/").json()
    GoogleAccount.objects.update(is_default=False)
    without = browser.get("/home/").json()

    assert with_default["email"] == "one@gmail.com"
    assert (without["status"], without["email"]) == ("account_choice_required", None)
    assert with_default["emails"] == without["emails"] == ["one@gmail.com", "two@gmail.com"]


def test_identity_survives_a_refresh(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It stands in the row."""
    link_account(google, user, alice, CALENDAR)
    google.expire_access_tokens()

    assert browser.get("/agenda/").json()["events"] == EVENTS
    assert browser.get("/home/").json()["email"] == "alice@gmail.com"
    assert browser.get("/home/").json()["sub"] == alice.sub


def test_session_and_credentials_reach_google(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What requests and google-auth want is at hand."""
    link_account(google, user, alice, CALENDAR)

    assert browser.get("/sessions/").json() == {"items": EVENTS}


@pytest.mark.matrix
@pytest.mark.parametrize("ask", ["credentials", "session", "service", "http"])
@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        ("anonymous", NotLinkedError, "not_linked"),
        ("not_linked", NotLinkedError, "not_linked"),
        ("missing_scopes", MissingScopesError, "missing_scopes"),
        ("needs_reauthorization", GrantLostError, "revoked"),
        ("account_choice_required", AccountChoiceRequiredError, "account_choice_required"),
    ],
)
def test_clients_are_refused_for_a_reason(
    rf: RequestFactory,
    user: Any,
    status: str,
    kind: type[ConsentRequiredError],
    reason: str,
    ask: str,
) -> None:
    """The error says why, and is what code written for google-auth catches."""
    STATUSES[status][0](user)
    request = rf.get("/")
    request.user = AnonymousUser() if status == "anonymous" else user
    access = GoogleAccess(request, Requirement(scopes=(CALENDAR,)))
    asked = {
        "credentials": lambda: access.credentials,
        "session": access.session,
        "http": access.http,
        "service": lambda: access.service("calendar", "v3"),
    }

    with pytest.raises(kind) as caught:
        asked[ask]()

    assert isinstance(caught.value, RefreshError)
    assert caught.value.reason == reason
    assert caught.value.account == access.account


# Which account


def test_chosen_account_is_used(browser: Client, user: Any) -> None:
    """An id as text or UUID, and a row; none is the usual choice."""
    make_google_account(user, scopes=[CALENDAR], email="one@gmail.com")
    two = make_google_account(user, scopes=[CALENDAR], email="two@gmail.com")

    urls = [
        f"/chosen/?account={two.pk}",
        f"/chosen/{two.pk}/",
        f"/fetched/?account={two.pk}",
        "/other/",
        f"/chosen-by-coroutine/?account={two.pk}",
    ]
    assert {browser.get(url).content for url in urls} == {b"two@gmail.com"}
    for url in ("/chosen/", "/chosen-by-coroutine/"):
        assert browser.get(url).content == b"one@gmail.com"


def test_chosen_account_that_is_not_ready_is_the_one_to_link(browser: Client, user: Any) -> None:
    """Another account that would do is no substitute."""
    make_google_account(user, scopes=[CALENDAR])
    two = make_google_account(user, scopes=[TASKS], sub="2")
    url = f"/chosen/?account={two.pk}"

    wanted = authorize_request_of(browser.get(url)["Location"], user)

    assert (wanted.account, wanted.return_url) == ("2", url)


def test_chosen_account_for_nobody_is_not_looked_for(client: Client) -> None:
    """A chooser sees users only: whoever is anonymous logs in first."""
    assert client.get("/fetched/")["Location"].startswith("/login/")


@pytest.mark.parametrize("path", ["/chosen/", "/chosen-by-coroutine/", "/fetched/"])
def test_chosen_account_of_somebody_else_is_a_404(
    browser: Client, user: Any, other_user: Any, path: str
) -> None:
    """As if it did not exist, also where the chooser gives the row itself."""
    make_google_account(user, scopes=[CALENDAR])
    theirs = make_google_account(other_user, scopes=[CALENDAR])

    assert browser.get(f"{path}?account={theirs.pk}").status_code == 404


def test_chosen_account_of_another_client_is_a_404(browser: Client, user: Any) -> None:
    """It is the user's, and no use here."""
    account = make_google_account(user, scopes=[CALENDAR], client="second")

    assert browser.get(f"/chosen/{account.pk}/").status_code == 404


def test_chosen_account_is_not_looked_for_at_another_client(
    rf: RequestFactory, user: Any, settings: Settings
) -> None:
    """A view that finds out in the middle that it needs another client leads there."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    clients = {**clients, "second": clients["default"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    account = make_google_account(user, scopes=[CALENDAR])
    request = rf.get("/")
    request.user = user

    @google_required(account=lambda request: account.pk)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(credentials_for(user, client="second").token)

    wanted = authorize_request_of(view(request)["Location"], user)

    assert (wanted.client, wanted.account) == ("second", "")


def test_chosen_account_is_no_choice_for_the_services(rf: RequestFactory, user: Any) -> None:
    """Where the view leaves it to them, and they cannot tell, the user is asked."""
    account, _ = (make_google_account(user, scopes=[CALENDAR]) for _ in range(2))
    GoogleAccount.objects.update(is_default=False)
    request = rf.get("/")
    request.user = user

    @google_required(account=lambda request: account.pk)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(credentials_for(user).token)

    assert_leads_on(view(request)["Location"], "account_choice_required", user, back_to="/")


@pytest.mark.matrix
@pytest.mark.parametrize("garbage", ["x", "0", "%00", "' or 1=1 --", "é", str(UUID(int=7))])
def test_chosen_account_that_is_garbage_is_a_404(browser: Client, user: Any, garbage: str) -> None:
    """Whatever a visitor writes there."""
    make_google_account(user, scopes=[CALENDAR])

    assert browser.get("/chosen/", {"account": garbage}).status_code == 404


@pytest.mark.parametrize("garbage", [0, False, b"x", [], {}, object()])
def test_chosen_account_of_a_strange_type_is_not_found(
    rf: RequestFactory, user: Any, garbage: Any
) -> None:
    """Only None is no choice."""
    make_google_account(user, scopes=[CALENDAR])
    request = rf.get("/")
    request.user = user
    access = GoogleAccess(request, Requirement(account=lambda request: garbage))

    with pytest.raises(Http404):
        access.has_credentials()
    assert len(access.accounts) == 1


# The address that starts linking


def test_authorize_url_asks_for_more(browser: Client, user: Any) -> None:
    """Further scopes become required, in every form that scopes have."""
    make_google_account(user, scopes=[CALENDAR], sub="42")
    query = urlencode({"scope": [f"{DRIVE} {TASKS}", "openid"], "return_url": "/bare/"}, doseq=True)

    wanted = authorize_request_of(browser.get(f"/offering/?{query}").content.decode(), user)

    assert list(wanted.required) == [CALENDAR, DRIVE, TASKS, "openid"]
    assert list(wanted.scopes) == [*IDENTITY_SCOPES, CALENDAR, DRIVE, TASKS]
    assert (wanted.return_url, wanted.account) == ("/bare/", "42")


def test_authorize_url_when_ready_leads_straight_back(browser: Client, user: Any) -> None:
    """Nothing is missing, so nobody is asked."""
    make_google_account(user, scopes=[CALENDAR])

    url = browser.get("/offering/?return_url=/bare/").content.decode()

    assert browser.get(url)["Location"] == "/bare/"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "safe",
    [
        "/bare/",
        "/agenda/?q=%C3%A9&next=%2Ffiles%2F%3Fa%3D1%26b%3D2",
        "/agenda/münchen/#today",
        "http://testserver/bare/",
        "https://testserver/bare/",
        "?day=2",
    ],
)
def test_return_url_on_this_site_is_kept(browser: Client, user: Any, safe: str) -> None:
    """To the letter, with a query in the query, and any script."""
    url = browser.get("/offering/", {"return_url": safe}).content.decode()

    assert authorize_request_of(url, user).return_url == safe


EVIL = [
    "//evil.example",
    "///evil.example",
    "////evil.example/%2e%2e",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "https://evil.example/",
    "https:evil.example",
    "https:///evil.example",
    "http:/\\evil.example",
    "HTTPS://EVIL.example",
    "https://testserver@evil.example/",
    "https://testserver:80@evil.example/",
    "https://testserver\\@evil.example/",
    "https://evil.example\\.testserver/",
    "https://testserver.evil.example/",
    "https://testserver:8000/",
    "https://tеstserver/",
    "https://testserver。evil.example/",
    "//testserver@evil.example",
    "ftp://testserver/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "/bare/\r\nSet-Cookie: a=b",
    "/bare/\x00",
    "/bare/\x7f",
    "/bare/\u202egnp.exe",
    "\x01//evil.example",
    "\u00a0//evil.example",
    "http://[::1",
    "https://[evil.example]/",
]


@pytest.mark.matrix
@pytest.mark.parametrize("evil", EVIL)
def test_return_url_off_this_site_is_not_used(browser: Client, user: Any, evil: str) -> None:
    """The page itself takes its place."""
    response = browser.get("/offering/", {"return_url": evil})

    wanted = authorize_request_of(response.content.decode(), user)
    assert wanted.return_url.startswith("/offering/?return_url=")
    assert wanted.return_url.isascii()


@pytest.mark.matrix
@pytest.mark.parametrize("evil", EVIL)
def test_return_url_off_this_site_is_not_used_for_login(client: Client, evil: str) -> None:
    """Nor is it handed to the login page."""
    response = client.get("/offering/", {"return_url": evil})

    assert query_of(response.content.decode())["next"].startswith("/offering/?return_url=")


@pytest.mark.matrix
@pytest.mark.parametrize("evil", EVIL)
def test_return_url_is_checked_on_the_way_out_too(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser, evil: str
) -> None:
    """Were an address ever signed that is not safe, it still would not be used."""
    make_google_account(user, scopes=[CALENDAR])
    wanted = AuthorizeRequest(
        user=str(user.pk),
        host="testserver",
        client="default",
        scopes=(),
        required=(),
        return_url=evil,
    )

    assert browser.get(wanted.url())["Location"] == "/google/"


def test_return_url_does_not_leave_https(client: Client, user: Any) -> None:
    """HTTP on an HTTPS request falls back."""
    client.force_login(user)

    url = client.get(
        "/offering/", {"return_url": "http://testserver/bare/"}, secure=True
    ).content.decode()

    assert authorize_request_of(url, user).return_url.startswith("/offering/")


@pytest.mark.parametrize("host", ["testserver", "localhost"])
def test_return_url_is_on_the_host_of_the_request(rf: RequestFactory, host: str) -> None:
    """Another host of ours is another site."""
    request = rf.get("/", headers={"host": host})

    assert is_safe_url(request, "http://testserver/") is (host == "testserver")


@pytest.mark.parametrize(
    ("login_url", "login", "come_back"),
    [
        ("/login/", "/login/", "/home/?x=1"),
        ("login", "/login/", "/home/?x=1"),
        ("/login/?tenant=1", "/login/?tenant=1&", "/home/?x=1"),
        ("http://testserver/login/", "http://testserver/login/", "/home/?x=1"),
        ("https://sso.example/in", "https://sso.example/in", "http://testserver/home/?x=1"),
        ("//sso.example/in", "//sso.example/in", "http://testserver/home/?x=1"),
    ],
)
def test_authorize_url_of_nobody_honours_login_url(
    client: Client, settings: Settings, login_url: str, login: str, come_back: str
) -> None:
    """As Django's login_required, also where users log in on another site."""
    settings.LOGIN_URL = login_url

    url = client.get("/home/?x=1").json()["authorize_url"]

    assert url.startswith(login)
    assert query_of(url)["next"] == come_back


# Signed


def offered(browser: Client) -> str:
    """Return the address that a page offers."""
    url: str = browser.get("/home/").json()["authorize_url"]
    return url


def tampered(url: str) -> list[str]:
    """Return the address with a character changed in each of the parts of what is signed."""
    places = [url.index("=") + 2, *(i + 2 for i, c in enumerate(url) if url[i : i + 3] == "%3A")]
    swap = {"A": "B"}
    changed = [url[:i] + swap.get(url[i], "A") + url[i + 1 :] for i in (places[0], len(url) - 1)]
    return [*changed, url[: places[1]] + "x" + url[places[1] :], url[:-1], f"{url}A"]


def test_authorize_url_cannot_be_tampered_with(
    browser: Client, user: Any, google: FakeGoogle
) -> None:
    """Content, time and signature are one."""
    url = offered(browser)

    assert browser.get(url)["Location"].startswith(google.url)
    for forged in tampered(url):
        assert browser.get(forged).status_code == 400


def test_authorize_url_is_signed_with_the_key_of_the_site(
    browser: Client, google: FakeGoogle, settings: Settings
) -> None:
    """Another site's link is none; a key that was rotated out is still honoured."""
    url = offered(browser)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    browser.cookies.clear()
    user = GoogleAccount._meta.get_field("user").related_model.objects.get()
    browser.force_login(user)

    refused = browser.get(url)
    settings.SECRET_KEY_FALLBACKS = [old]
    honoured = browser.get(url)

    assert refused.status_code == 400
    assert honoured.status_code == 302


def test_authorize_url_is_of_no_use_to_another_user(
    browser: Client, other_user: Any, google: FakeGoogle
) -> None:
    """A link sent to somebody else starts nothing for them."""
    url = offered(browser)
    browser.force_login(other_user)

    assert browser.get(url).status_code == 400


@pytest.mark.parametrize(("hours", "status"), [(23.9, 302), (24.1, 400)])
def test_authorize_url_is_good_for_a_day(
    browser: Client,
    google: FakeGoogle,
    monkeypatch: pytest.MonkeyPatch,
    hours: float,
    status: int,
) -> None:
    """A page may lie open that long."""
    url = offered(browser)
    later = signing.time.time() + hours * 3600
    monkeypatch.setattr(signing, "time", SimpleNamespace(time=lambda: later))

    assert browser.get(url).status_code == status


@pytest.mark.parametrize(
    ("age", "sender", "message"),
    [(24 * 3600 + 1, "1", "has expired"), (0, "2", "another user"), (0, "1", None)],
)
def test_authorize_url_says_why_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, age: int, sender: str, message: str | None
) -> None:
    """For the log: a day is 24 hours, and a primary key is compared as text."""
    wanted = AuthorizeRequest(
        user=sender,
        host="testserver",
        client="default",
        scopes=("openid",),
        required=(),
        return_url="/",
    )
    text = query_of(wanted.url())["request"]
    later = signing.time.time() + age
    monkeypatch.setattr(signing, "time", SimpleNamespace(time=lambda: later))

    if message is None:
        assert AuthorizeRequest.unsign(text, user="1", host="testserver").user == "1"
    else:
        with pytest.raises(StateError, match=message):
            AuthorizeRequest.unsign(text, user="1", host="testserver")


def test_authorize_url_of_another_version_is_refused(user: Any) -> None:
    """What a deploy left in an open page is answered, not tripped over."""
    for content in ({"user": str(user.pk), "colour": "red"}, ["x"], "x", 1, None):
        signed = signing.dumps(content, salt="django_google_link.authorize")
        with pytest.raises(StateError, match="another version"):
            AuthorizeRequest.unsign(signed, user=str(user.pk), host="testserver")


def test_authorize_url_is_for_the_account_of_this_page(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The whole way for a second account, chosen by the page."""
    link_account(google, user, google.add_user("bob@gmail.com"), CALENDAR)
    account = link_account(google, user, alice)

    response, visits = visit(browser, google, f"/chosen/{account.pk}/")

    assert (response.content, visits) == (b"alice@gmail.com", 1)


# What was declined


def test_declined_is_read_from_any_session(browser: Client, user: Any) -> None:
    """A session that another version wrote breaks nothing."""
    for strange in (None, [], "x", {"default": None}, {"default": "x"}, {"default": {}}):
        session = browser.session
        session[DECLINED_SESSION_KEY] = strange
        session.save()
        assert browser.get("/bare/").status_code == 302


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("declined", "scopes", "status"),
    [
        ([CALENDAR], [], 403),
        ([CALENDAR], [DRIVE], 403),
        ([CALENDAR, DRIVE], [CALENDAR], 403),
        ([CALENDAR], [CALENDAR], 302),
        ([TASKS], [], 302),
        (["openid"], [], 302),
        ([], [], 302),
    ],
)
def test_declined_counts_where_it_is_missing(
    browser: Client,
    user: Any,
    configure: Callable[..., None],
    declined: list[str],
    scopes: list[str],
    status: int,
) -> None:
    """Only what is missing here matters."""
    make_google_account(user, scopes=scopes)
    session = browser.session
    session[DECLINED_SESSION_KEY] = {"default": declined, "second": [CALENDAR, DRIVE]}
    session.save()

    assert browser.get("/words/").status_code == status
