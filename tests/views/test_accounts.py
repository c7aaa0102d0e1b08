"""The connections page, and what can be done on it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.db import DataError, OperationalError, connection
from django.test import Client
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.accounts.lookup import get_account
from django_google_link.models import GoogleAccount, Status
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE
from tests.support.flow import link
from tests.support.signals import heard
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db


def test_accounts_without_a_link_offers_one(browser: Client, google: FakeGoogle) -> None:
    """An empty page says so, and its button leads to Google."""
    page = browser.get("/google/")

    assert page.status_code == 200
    assert b"You have not linked any Google account yet" in page.content
    assert browser.get(page.context["add_url"])["Location"].startswith(google.url)


def test_accounts_shows_what_is_linked_and_granted(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """Every account with its scopes in words; an unknown scope by its name."""
    make_google_account(user, email="one@gmail.com", scopes=[CALENDAR])
    make_google_account(user, email="two@gmail.com", scopes=["https://example.com/auth/thing"])
    make_google_account(user, email="three@gmail.com")

    page = browser.get("/google/").content.decode()

    assert "See your calendars and their events" in page
    assert "https://example.com/auth/thing" in page
    assert "only allowed this site" in page
    assert page.count("Make default") == 2
    assert page.count("google-link-badge") == 1


def test_accounts_escapes_what_google_says(browser: Client, google: FakeGoogle, user: Any) -> None:
    """Names and scopes come from outside."""
    make_google_account(user, email="", scopes=["<script>alert(1)</script>"])
    GoogleAccount.objects.update(name="<script>alert(2)</script>")

    page = browser.get("/google/").content.decode()

    assert "<script>" not in page
    assert escape("<script>alert(2)</script>") in page


def test_accounts_shows_only_ones_own(browser: Client, google: FakeGoogle, other_user: Any) -> None:
    """Another user's account is not on the page."""
    make_google_account(other_user, email="ben@gmail.com")

    assert b"ben@gmail.com" not in browser.get("/google/").content


def test_accounts_asks_the_database_once(
    browser: Client,
    google: FakeGoogle,
    user: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Session, user, accounts: however many are linked."""
    for _ in range(5):
        make_google_account(user)

    with django_assert_num_queries(3):
        browser.get("/google/")


def test_accounts_dead_link_can_be_linked_again(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The page says what happened; the button leads back here, and the row works again."""
    make_google_account(user, sub=alice.sub, scopes=[DRIVE], status=Status.NEEDS_REAUTHORIZATION)
    page = browser.get("/google/")

    response = link(browser, google, alice, page.context["accounts"][0]["authorize_url"])

    assert b"no longer works" in page.content
    assert response["Location"] == "/google/"
    account = GoogleAccount.objects.get()
    assert account.status == Status.ACTIVE
    assert not account.missing_scopes(CALENDAR, DRIVE)


def test_accounts_of_a_client_that_is_gone_are_shown(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """An operator's mistake does not break the page."""
    make_google_account(user, client="gone", status=Status.NEEDS_REAUTHORIZATION)

    page = browser.get("/google/")

    assert page.status_code == 200
    assert b"Link again" not in page.content


def test_accounts_without_a_default_client_offer_none(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings
) -> None:
    """Where every view names its client, there is none to offer here."""
    [client] = settings.GOOGLE_LINK["CLIENTS"].values()
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"red": client}}
    empty = browser.get("/google/")
    make_google_account(user, client="red")

    page = browser.get("/google/")

    assert (empty.status_code, page.status_code) == (200, 200)
    assert b"Link a" not in empty.content + page.content


def test_accounts_that_cannot_be_decrypted_are_shown(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """A row that somebody damaged, or whose key is gone, breaks no list."""
    make_google_account(user)
    GoogleAccount.objects.update(sealed_refresh_token="gl1.unknown.AAAA", sealed_access_token="x")

    assert browser.get("/google/").status_code == 200


def test_accounts_without_a_default_asks_to_choose(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """Several accounts, none the default: the page asks, and the choice leads on."""
    make_google_account(user)
    chosen = make_google_account(user)
    GoogleAccount.objects.update(is_default=False)
    page = browser.get("/google/?next=/agenda/%3Fday%3D1")

    response = browser.post(f"/google/{chosen.pk}/make-default/", {"next": page.context["next"]})

    assert b"Choose the one" in page.content
    assert response["Location"] == "/agenda/?day=1"
    assert GoogleAccount.objects.get(is_default=True) == chosen


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("clients", "defaults", "query", "is_asked"),
    [
        ([], [], "", False),
        (["default"], ["default"], "", False),
        (["default", "default"], ["default"], "", False),
        (["default", "default"], [], "", True),
        (["default", "second"], ["default", "second"], "", False),
        (["default", "default", "second", "second"], ["default"], "", True),
        (["default", "default"], ["default"], "?next=/agenda/", True),
    ],
)
def test_accounts_asks_to_choose_where_a_default_is_missing(
    browser: Client,
    google: FakeGoogle,
    user: Any,
    settings: Settings,
    clients: list[str],
    defaults: list[str],
    query: str,
    is_asked: bool,
) -> None:
    """For any client, or where a page has sent the user to choose; else nothing is said of it."""
    named = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {**named, "second": named["default"]},
    }
    for client in clients:
        make_google_account(user, client=client)
    GoogleAccount.objects.exclude(client__in=defaults).update(is_default=False)

    page = browser.get(f"/google/{query}")

    assert (b"Choose the one" in page.content) is is_asked


@pytest.mark.parametrize("evil", ["//evil.example", "https://evil.example", "javascript:alert(1)"])
def test_next_that_leaves_the_site_is_dropped(
    browser: Client, google: FakeGoogle, user: Any, evil: str
) -> None:
    """Neither shown nor followed."""
    account = make_google_account(user)

    page = browser.get("/google/", {"next": evil})
    response = browser.post(f"/google/{account.pk}/make-default/", {"next": evil})

    assert b"evil" not in page.content
    assert b"alert" not in page.content
    assert response["Location"] == "/google/"


def test_link_another_account(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The button leads to a second row; the first stays the default."""
    first = make_google_account(user, scopes=[CALENDAR])

    response = link(browser, google, alice, browser.get("/google/").context["add_url"])

    assert response["Location"] == "/google/"
    assert GoogleAccount.objects.get(sub=alice.sub).is_default is False
    assert GoogleAccount.objects.get(pk=first.pk).is_default is True


def test_link_another_account_cancelled_can_be_tried_again(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Try again leads to Google, though one account is linked already."""
    make_google_account(user, scopes=[CALENDAR])
    add_url = browser.get("/google/").context["add_url"]
    denied = link(browser, google, alice, add_url, deny=True)

    again = browser.get(denied.context["try_url"])

    assert query_of(again["Location"])["prompt"] == "select_account"
    assert browser.get(local(google.consent(again["Location"], user=alice))).status_code == 302


def test_unlink_asks_first(browser: Client, google: FakeGoogle, user: Any) -> None:
    """GET shows what will happen, and does nothing."""
    account = make_google_account(user, email="one@gmail.com")

    page = browser.get(f"/google/{account.pk}/unlink/")

    assert page.status_code == 200
    assert b"Unlink one@gmail.com?" in page.content
    assert GoogleAccount.objects.exists()


def test_unlink_deletes_and_revokes(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Here and at Google, and the user stays."""
    link(browser, google, alice)
    account = GoogleAccount.objects.get()

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        response = browser.post(f"/google/{account.pk}/unlink/")

    [revocation] = google.requests_to("revoke")
    user.refresh_from_db()
    assert response["Location"] == "/google/"
    assert not GoogleAccount.objects.exists()
    assert (revocation.method, dict(revocation.query)) == ("POST", {})
    assert google.granted_scopes(alice) is None
    [(name, arguments)] = news
    assert (name, arguments["sub"]) == ("account_unlinked", alice.sub)


def test_label_tells_accounts_apart(browser: Client, google: FakeGoogle, user: Any) -> None:
    """A name of the user's own stands first, and what Google calls the account stays with it."""
    account = make_google_account(user, email="one@gmail.com")
    form = browser.get(f"/google/{account.pk}/label/").content.decode()

    response = browser.post(f"/google/{account.pk}/label/", {"label": " <b>Work</b> "})

    page = browser.get("/google/").content.decode().partition("<h1>")[2]
    assert "Label one@gmail.com" in form
    assert response["Location"] == "/google/"
    assert page.index("&lt;b&gt;Work&lt;/b&gt;") < page.index("one@gmail.com")


def test_label_can_be_taken_back(browser: Client, google: FakeGoogle, user: Any) -> None:
    """An empty one is none."""
    account = make_google_account(user, email="one@gmail.com")
    GoogleAccount.objects.update(label="Work")

    browser.post(f"/google/{account.pk}/label/", {"label": ""})

    account.refresh_from_db()
    assert account.display_name == "one@gmail.com"


def test_label_that_is_too_long_is_refused(browser: Client, google: FakeGoogle, user: Any) -> None:
    """The page says so, beside the field, with what was typed; nothing is saved."""
    account = make_google_account(user)

    page = browser.post(f"/google/{account.pk}/label/", {"label": "x" * 61})

    assert b"at most 60 characters" in page.content
    assert b"x" * 61 in page.content
    assert not GoogleAccount.objects.exclude(label="").exists()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Work\r\nHome", "Work Home"),
        ("  Work \t at\u2028home\x85", "Work at home"),
        ("\x1b[31mWork\x1b[0m\x07", "[31mWork[0m"),
        ("\u202eWork\u202c \u2066x\u2069\u200f\u061c", "Work x"),
        ("Wo\u200brk\u200d\ufeff\u2060\u00ad", "Work"),
        ("Work\x00\x9b\U000e0041", "Work"),
        ("仕事　用", "仕事 用"),
        ("Büro – «Ü» 🏠", "Büro – «Ü» 🏠"),
        ("\u200b\n", ""),
        ("x" * 60 + "\u200b", "x" * 60),
    ],
)
def test_label_keeps_what_can_be_seen(
    browser: Client, google: FakeGoogle, user: Any, typed: str, kept: str
) -> None:
    """On one line, from left to right as it was typed, and without commands to a terminal."""
    account = make_google_account(user)
    body = "label=" + quote(typed)

    response = browser.post(
        f"/google/{account.pk}/label/", body, content_type="application/x-www-form-urlencoded"
    )

    account.refresh_from_db()
    assert response["Location"] == "/google/"
    assert account.label == kept


LABEL = "Büro 仕事 🏠"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("is_taken", "kept"),
    [
        (lambda label: True, "Büro 仕事 🏠"),
        (lambda label: max(label, default="") < "\U00010000", "Büro 仕事"),
        (lambda label: max(label, default="") < "\u0100", "Büro"),
        (str.isascii, "Bro"),
    ],
    ids=["utf8mb4", "utf8mb3", "latin1", "ascii"],
)
@pytest.mark.parametrize(
    "refusal",
    [
        DataError("Incorrect string value"),
        UnicodeEncodeError("latin-1", "\u4ed5", 0, 1, "ordinal not in range(256)"),
    ],
    ids=["server", "driver"],
)
def test_label_loses_what_the_database_does_not_take(
    browser: Client,
    google: FakeGoogle,
    user: Any,
    is_taken: Callable[[str], bool],
    kept: str,
    refusal: Exception,
) -> None:
    """And the user gets no error."""
    account = make_google_account(user)

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "label" in sql and not is_taken(params[0]):
            raise refusal
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        response = browser.post(f"/google/{account.pk}/label/", {"label": LABEL})

    account.refresh_from_db()
    assert response["Location"] == "/google/"
    assert account.label == kept


@pytest.mark.parametrize("error", [DataError("whatever is stored"), OperationalError("down")])
def test_label_that_cannot_be_stored_is_an_error(
    browser: Client, google: FakeGoogle, user: Any, error: Exception
) -> None:
    """Where it is not for its characters, nothing of it is stored."""
    account = make_google_account(user)

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "label" in sql:
            raise error
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse), pytest.raises(type(error)):
        browser.post(f"/google/{account.pk}/label/", {"label": LABEL})

    account.refresh_from_db()
    assert account.label == ""


@pytest.mark.skipif(connection.vendor != "mysql", reason="Others have one character set.")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("charset", "kept"), [("utf8mb3", "Büro 仕事"), ("latin1", "Büro")])
def test_label_in_an_old_table(
    browser: Client, google: FakeGoogle, user: Any, charset: str, kept: str
) -> None:
    """As MySQL and MariaDB made them for years."""
    account = make_google_account(user)
    table = GoogleAccount._meta.db_table
    change = f"ALTER TABLE {table} MODIFY label varchar(60) CHARACTER SET {{}} NOT NULL"
    with connection.cursor() as cursor:
        cursor.execute(change.format(charset))
    try:
        response = browser.post(f"/google/{account.pk}/label/", {"label": LABEL})
        account.refresh_from_db()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(change.format("utf8mb4"))

    assert response["Location"] == "/google/"
    assert account.label == kept


def test_label_outlives_linking_again_and_writes_nothing_else(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What is the user's is not Google's to change, nor the other way round."""
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    browser.post(f"/google/{account.pk}/label/", {"label": "Work", "email": "evil@gmail.com"})

    link(browser, google, alice, browser.get("/google/").context["add_url"])

    again = GoogleAccount.objects.get()
    assert (again.label, again.email) == ("Work", account.email)


@pytest.mark.matrix
@pytest.mark.parametrize("action", ["label", "unlink", "make-default"])
def test_actions_on_somebody_elses_account_are_not_found(
    browser: Client, google: FakeGoogle, other_user: Any, action: str
) -> None:
    """As if it did not exist."""
    account = make_google_account(other_user)
    GoogleAccount.objects.update(is_default=False)

    theirs = browser.post(f"/google/{account.pk}/{action}/")
    nobodys = browser.post(f"/google/{uuid4()}/{action}/")
    malformed = browser.post(f"/google/1/{action}/")

    assert {theirs.status_code, nobodys.status_code, malformed.status_code} == {404}
    assert GoogleAccount.objects.get().is_default is False


@pytest.mark.parametrize("action", ["label", "unlink", "make-default"])
def test_actions_need_the_csrf_token(google: FakeGoogle, user: Any, action: str) -> None:
    """Another site cannot press the button."""
    account = make_google_account(user)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)

    assert strict.post(f"/google/{account.pk}/{action}/").status_code == 403
    assert GoogleAccount.objects.exists()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("", "post"),
        ("", "delete"),
        ("{pk}/label/", "delete"),
        ("{pk}/unlink/", "delete"),
        ("{pk}/make-default/", "get"),
        ("{pk}/make-default/", "head"),
    ],
)
def test_other_methods_are_not_allowed(
    browser: Client, google: FakeGoogle, user: Any, path: str, method: str
) -> None:
    """Each page has its methods."""
    account = make_google_account(user)

    response = getattr(browser, method)(f"/google/{path.format(pk=account.pk)}")

    assert response.status_code == 405


@pytest.mark.parametrize("path", ["/google/", f"/google/{UUID(int=1)}/unlink/"])
def test_pages_need_a_login(client: Client, google: FakeGoogle, db: None, path: str) -> None:
    """Anonymous visitors log in first."""
    assert client.get(path)["Location"] == f"/login/?next={path}"


def test_pages_are_never_cached(browser: Client, google: FakeGoogle, user: Any) -> None:
    """What is linked is nobody else's business."""
    account = make_google_account(user)

    for path in ("", f"{account.pk}/label/", f"{account.pk}/unlink/"):
        assert "no-store" in browser.get(f"/google/{path}")["Cache-Control"]


@pytest.mark.matrix
@pytest.mark.parametrize("action", ["label", "unlink", "make-default"])
def test_answers_to_actions_are_never_cached(
    browser: Client, google: FakeGoogle, user: Any, action: str
) -> None:
    """They say whose links these are, or lead to where it is said."""
    account = make_google_account(user)

    done = browser.post(f"/google/{account.pk}/{action}/", {"label": "Work"})
    not_found = browser.post(f"/google/{uuid4()}/{action}/")
    anonymous = Client().post(f"/google/{account.pk}/{action}/")

    assert (done.status_code, not_found.status_code, anonymous.status_code) == (302, 404, 302)
    for response in (done, anonymous):
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]


def test_redirect_url_of_the_settings_is_the_default(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Where to go when nothing else was said."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REDIRECT_URL": "/welcome/"}

    assert link(browser, google, alice)["Location"] == "/welcome/"


def test_client_resolver_names_the_client(
    browser: Client, google: FakeGoogle, settings: Settings, configure: Callable[..., None]
) -> None:
    """The client may depend on the request."""
    tenant = google.add_client(redirect_uris=["http://testserver/google/callback/"])
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {**settings.GOOGLE_LINK["CLIENTS"], "tenant": google.client_settings(tenant)},
        "CLIENT_RESOLVER": f"{__name__}.resolve",
    }

    url = browser.get("/google/authorize/", headers={"x-tenant": "tenant"})["Location"]

    assert query_of(url)["client_id"] == tenant.client_id


def resolve(request: Any) -> str:
    """Name the client of a request, as a multi-tenant site would."""
    return str(request.headers.get("x-tenant", "default"))


def test_pages_are_protected_whatever_the_site_does(
    user: Any, google: FakeGoogle, settings: Settings
) -> None:
    """Without the middleware too: no forged form unlinks, and no frame shows the buttons."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    account = make_google_account(user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)

    for action in ("label", "unlink", "make-default"):
        assert client.post(f"/google/{account.pk}/{action}/").status_code == 403
    for page in ("/google/", f"/google/{account.pk}/label/", f"/google/{account.pk}/unlink/"):
        assert client.get(page)["X-Frame-Options"] == "DENY"
    assert GoogleAccount.objects.exists()


def test_replica_that_lags_is_not_asked(
    google: FakeGoogle, alice: FakeUser, browser: Client, user: Any, settings: Settings
) -> None:
    """Who has just linked is not sent to Google once more, and sees the link."""

    def db_for_read(model: Any, **hints: Any) -> str | None:
        return "replica" if model is GoogleAccount else None  # There is no such database.

    settings.DATABASE_ROUTERS = [SimpleNamespace(db_for_read=db_for_read)]

    link(browser, google, alice)

    assert "alice@gmail.com" in browser.get("/google/").content.decode()
    assert browser.get("/google/authorize/?next=/").status_code == 302
    assert get_account(user, scopes=[CALENDAR]).email == "alice@gmail.com"
