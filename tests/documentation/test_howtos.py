"""The how-to guides' code does what they say."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from django.utils import timezone
from django.utils.module_loading import import_string
from pytest_django import Settings

from django_google_link.checks.settings import check_settings
from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.documentation.pages import block_with, blocks, run, text_of, use_templates
from tests.support.apis import link_account
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, EVENTS
from tests.support.databases import new_user
from tests.support.urls import local, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("class/", run("howto/views", "class Agenda(")["Agenda"].as_view()),
    path("kept/", run("howto/connections", "CALENDAR = ")["events"]),
    path("profile/", run("howto/accounts", "def from_address")["profile"]),
    path("start/", run("howto/own-flow", "def start")["start"]),
    path("finish/", run("howto/own-flow", "def start")["finish"], name="finish"),
    path("birthdays/", run("howto/consent", "def birthdays")["birthdays"]),
    path("home/", run("howto/consent", "def home")["home"]),
    path("drf/", run("howto/rest-framework", "class AgendaView")["AgendaView"].as_view()),
    path("drf/function/", run("howto/rest-framework", "@api_view")["agenda"]),
]


def test_class_based_view(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """Off to consent, and then the events in the template's context."""
    use_templates(settings, {"agenda.html": "{{ events.0.summary }}"})
    assert browser.get("/class/", headers={"accept": HTML}).status_code == 302

    link_account(google, user, alice, CALENDAR)

    assert browser.get("/class/").content.decode() == EVENTS[0]["summary"]


@pytest.mark.usefixtures("shared_database")
def test_flow_of_ones_own(
    client: Client,
    google: FakeGoogle,
    alice: FakeUser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two views of the project's, and a link at their end."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.chdir(tmp_path)
    Path("client_secret.json").write_text(json.dumps(google.client_secrets()))
    google.client.redirect_uris.append("http://testserver/finish/")
    user = new_user()
    client.force_login(user)

    back = google.consent(client.get("/start/")["Location"], user=alice)
    response = client.get(local(back))

    assert response["Location"] == "/google/"
    account = GoogleAccount.objects.get()
    assert (account.user, account.granted_scopes) == (user, sorted(["openid", CALENDAR]))


def test_kept_service(browser: Client, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """It calls for whoever is logged in."""
    link_account(google, user, alice, CALENDAR)

    assert browser.get("/kept/").json()["items"] == EVENTS


def test_async_view(
    async_client: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It calls for whoever is logged in."""
    link_account(google, user, alice, CALENDAR)
    page = run("howto/views", "import httpx")
    urlpatterns.append(path("async/", page["agenda"]))
    async_client.force_login(user)

    async def visit() -> Any:
        async with page["CLIENT"]:
            return await async_client.get("/async/")

    response = async_to_sync(visit)()

    assert response.json() == {"items": EVENTS}


def test_async_clients(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Refused once, each gets another token."""
    link_account(google, user, alice, CALENDAR)
    kept = run("howto/async", "import httpx")
    get_json = run("howto/async", "async def get_json")["get_json"]
    url = f"{google.url}/calendar/v3/calendars/primary/events"

    async def ask() -> Any:
        async with kept["CLIENT"] as client:
            google.expire_access_tokens()
            first = await get_json(client, url, user)
            return [first, await kept["list_events"](user)]

    assert async_to_sync(ask)() == [{"items": EVENTS}, EVENTS]
    assert len(google.requests_to("token")) == 1


def test_names_in_settings_can_be_imported() -> None:
    """They are where the page says."""
    [middleware] = run("howto/views", "MIDDLEWARE")["MIDDLEWARE"]

    assert import_string(middleware)
    assert import_string(
        run("howto/rest-framework", "EXCEPTION_HANDLER")["REST_FRAMEWORK"]["EXCEPTION_HANDLER"]
    )


@pytest.mark.parametrize("url", ["/drf/", "/drf/function/"])
def test_drf_view(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings, url: str
) -> None:
    """A 403 that says where to go, and then the events."""
    settings.REST_FRAMEWORK = run("howto/rest-framework", "EXCEPTION_HANDLER")["REST_FRAMEWORK"]
    refused = browser.get(url, headers={"accept": "application/json"})
    assert set(refused.json()) == {
        "error",
        "reason",
        "missing_scopes",
        "authorize_url",
        "link_request",
        "declined",
        "detail",
    }

    link_account(google, user, alice, CALENDAR)

    assert browser.get(url).json() == EVENTS


def test_background_task(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """It tells the user, waits for Google, and works."""
    sync_calendar = run("howto/tasks", "def sync_calendar")["sync_calendar"]
    said: list[Any] = []

    def sync() -> Any:
        return sync_calendar(user, tell=lambda _, reason: said.append(reason), retry=said.append)

    assert sync() is None
    account = link_account(google, user, alice, CALENDAR)
    assert sync() == EVENTS

    GoogleAccount.objects.update(access_token_expires_at=account.linked_at)
    google.fail_next(status=503)
    assert sync() is None
    assert said[0] == "not_linked"
    assert len(said) == 2


def test_account_of_the_address(browser: Client, user: Any, other_user: Any) -> None:
    """One's own, and nobody else's."""
    first = make_google_account(user, email="a@example.com", scopes=[CALENDAR])
    second = make_google_account(user, email="b@example.com", scopes=[CALENDAR])
    foreign = make_google_account(other_user)

    assert browser.get("/profile/").content.decode() == f"{first.email} of 2"
    assert browser.get(f"/profile/?account={second.pk}").content.decode() == f"{second.email} of 2"
    assert browser.get(f"/profile/?account={foreign.pk}").status_code == 404


def client_of_tenant(request: HttpRequest) -> str:
    """The resolver of the page."""
    name: str = run("howto/tenants", "def client_of_tenant")["client_of_tenant"](request)
    return name


def test_client_of_a_tenant(browser: Client, user: Any, settings: Settings) -> None:
    """Each host links through its own."""
    settings.ALLOWED_HOSTS = ["*"]
    [client] = settings.GOOGLE_LINK["CLIENTS"].values()
    names = {name: {**client, "CLIENT_ID": name} for name in ("default", "blue", "red")}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": names,
        "CLIENT_RESOLVER": f"{__name__}.client_of_tenant",
    }

    for host, name in (("blue.example", "blue"), ("red.example", "red"), ("x.example", "default")):
        location = browser.get("/google/authorize/", headers={"host": host})["Location"]
        assert query_of(location)["client_id"] == name


def test_service_accounts(google: FakeGoogle, settings: Settings, tmp_path: Path) -> None:
    """The settings pass, and the call goes out as the account."""
    key = google.service_account_info(google.add_service_account())
    (tmp_path / "reports-key.json").write_text(json.dumps(key))
    names: dict[str, Any] = {"BASE_DIR": tmp_path}
    exec(block_with("howto/service-accounts", '"SERVICE_ACCOUNTS"'), names)
    accounts = names["GOOGLE_LINK"]["SERVICE_ACCOUNTS"]
    accounts["reports"]["API_ENDPOINT"] = google.url
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}

    @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
    def events(request: Any, user: Any, id: str) -> dict[str, Any]:
        return {"items": [{}, {}]}

    assert check_settings() == []
    assert run("howto/service-accounts", "def busy_days")["busy_days"]() == 2


def test_view_does_with_less(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The optional scope is not there, and the view runs."""
    link_account(google, user, alice, CALENDAR)

    assert browser.get("/birthdays/").json() == {"with_contacts": False}


def test_view_offers(browser: Client, settings: Settings) -> None:
    """Who has not linked an account sees where to."""
    use_templates(settings, {"offer.html": blocks(text_of("howto/consent"), "html")[0]})

    assert "/google/authorize/?" in browser.get("/home/").content.decode()


def test_outage_says_when_to_come_back(rf: RequestFactory, settings: Settings) -> None:
    """Other errors are left alone."""
    [page] = blocks(text_of("howto/outages"), "html")
    use_templates(settings, {"google_is_down.html": page})
    middleware = run("howto/outages", "class GoogleOutage")["GoogleOutageMiddleware"](None)
    retry_at = timezone.now() + timedelta(seconds=90)

    answer = middleware.process_exception(rf.get("/"), RefreshUnavailableError(retry_at=retry_at))

    assert answer.status_code == 503
    assert 85 <= int(answer["Retry-After"]) <= 90
    assert "Retry-After" not in middleware.process_exception(rf.get("/"), RefreshUnavailableError())
    assert middleware.process_exception(rf.get("/"), ValueError()) is None


def test_pages_are_put_into_the_site(browser: Client, settings: Settings) -> None:
    """By one template of the site's own, whatever its blocks are called."""
    plain, mapped, _ = blocks(text_of("howto/pages"), "html")
    head = "<head>{% block head %}{% endblock %}</head>"
    names = {plain: ("title", "content"), mapped: ("page_title", "main")}
    for override, (title, content) in names.items():
        base = f"<i>{{% block {title} %}}{{% endblock %}}</i>"
        base += f"{{% block {content} %}}{{% endblock %}}"
        use_templates(
            settings, {"base.html": head + base, "django_google_link/base.html": override}
        )

        page = browser.get("/google/").content.decode()

        assert "<i>Linked Google accounts</i>" in page
        assert "You have not linked any Google account yet." in page
