"""What was granted is kept: through every Google that is possible, and through a week of hours."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.exceptions import MissingScopesError
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, DRIVE, OPENID, TASKS
from tests.support.flow import link, visit
from tests.support.googles import (
    EVERY_GOOGLE,
    SOME_GOOGLES,
    behave,
    describe_google,
    keeps_later_scopes,
    live_through,
)
from tests.support.terminal import allowing, run_authorize

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

WEEK = 7 * 24

some_googles = pytest.mark.parametrize("switches", SOME_GOOGLES, ids=describe_google)
every_google = pytest.mark.parametrize("switches", EVERY_GOOGLE, ids=describe_google)


@pytest.fixture
def start(user: Any) -> Callable[..., str]:
    """Return addresses of the authorize view, signed for the user."""

    def start(*scopes: str, **changes: Any) -> str:
        values: dict[str, Any] = {
            "user": str(user.pk),
            "host": "testserver",
            "client": "default",
            "scopes": (*OPENID, *scopes),
            "required": scopes,
            "return_url": "/any-account/",
            **changes,
        }
        return AuthorizeRequest(**values).url()

    return start


def read(account: GoogleAccount) -> GoogleAccount:
    """Return an account as it is now."""
    return GoogleAccount.objects.get(pk=account.pk)


def live_on(
    browser: Client,
    google: FakeGoogle,
    account: GoogleAccount,
    *,
    hours: int,
    page: str,
    **how: Any,
) -> None:
    """Ask for both each hour, in a task and on a page: nobody is asked, and nothing shrinks."""
    before = read(account).granted_scopes
    for _ in live_through(hours):
        assert access_token(read(account), scopes=[CALENDAR, DRIVE])
        response, asked = visit(browser, google, page)
        assert (response.status_code, asked) == (200, 0)
        assert read(account).granted_scopes == before
    assert len(google.requests_to("token")) >= hours


def live_without(browser: Client, google: FakeGoogle, account: GoogleAccount, hours: int) -> None:
    """What cannot be kept is said at once; the user is not asked again, and the rest works on."""
    for hour in range(2):
        with pytest.raises(MissingScopesError):
            access_token(read(account), scopes=[DRIVE])
        response, asked = visit(browser, google, "/files/")
        assert (response.status_code, asked) == (403, 0), hour
        for _ in live_through(hours // 2):
            assert access_token(read(account), scopes=[CALENDAR])
    assert CALENDAR in read(account).granted_scopes


def live_on_if_kept(
    browser: Client,
    google: FakeGoogle,
    account: GoogleAccount,
    switches: tuple[bool, ...],
    response: Any,
    *,
    hours: int,
) -> None:
    """Drive, granted later, lives on at each Google where it can; else that is said at once."""
    if keeps_later_scopes(switches):
        assert response.status_code == 200
        live_on(browser, google, account, hours=hours, page="/files/")
    else:
        live_without(browser, google, account, hours)


def grant_drive_later(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...], hours: int
) -> None:
    """Link for the calendar, and grant Drive an hour later, on a page that requires it."""
    behave(google, switches)
    assert visit(browser, google, "/bare/", user=alice)[1] == 1
    account = GoogleAccount.objects.get()
    for _ in live_through(1):
        assert access_token(read(account), scopes=[CALENDAR])
        response, asked = visit(browser, google, "/files/", user=alice)
        assert asked <= 2 if keeps_later_scopes(switches) else asked == 2
        live_on_if_kept(browser, google, account, switches, response, hours=hours)


@some_googles
def test_scope_that_is_required_later(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...]
) -> None:
    """One more consent, or two where Google gives no refresh token at first; and none after."""
    grant_drive_later(browser, google, alice, switches, hours=3)


def test_scope_that_is_required_later_lives_through_a_week(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The Google that most probably is the real one."""
    grant_drive_later(browser, google, alice, SOME_GOOGLES[0], hours=WEEK)


@pytest.mark.processes
@every_google
def test_scope_that_is_required_later_lives_through_a_week_at_every_google(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    switches: tuple[bool, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Consents that were asked, and scopes that are held, for each: a day in CI, then a week."""
    hours = WEEK if os.environ.get("LONG") == "whole" else 24
    grant_drive_later(browser, google, alice, switches, hours=hours)

    account = GoogleAccount.objects.get()
    consents = [request for request in google.requests if request.path.endswith("/consent")]
    scopes = sorted(scope.rpartition("/")[2] for scope in account.granted_scopes)
    with capsys.disabled():
        print(
            f"\n{describe_google(switches)}: {len(consents)} consents,"
            f" {len(google.requests_to('token'))} token requests in {hours} hours,"
            f" holds {', '.join(scopes)}"
        )


@some_googles
def test_scope_that_is_optional(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    switches: tuple[bool, ...],
    start: Callable[..., str],
) -> None:
    """Asked beside what is required, and granted."""
    behave(google, switches)
    link(browser, google, alice, start(CALENDAR))
    account = GoogleAccount.objects.get()

    page = start(TASKS, scopes=(*OPENID, TASKS, DRIVE))
    response, asked = visit(browser, google, page, user=alice)

    assert asked <= 2
    live_on_if_kept(browser, google, account, switches, response, hours=2)


@some_googles
def test_partial_consent_and_the_rest_later(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...]
) -> None:
    """What was left out is not asked by itself, and granted when the user says so."""
    behave(google, switches)
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    declined, asked = visit(browser, google, "/files/", user=alice, grant=[])
    assert (declined.status_code, asked) == (403, 1)
    for _ in live_through(2):
        assert visit(browser, google, "/files/")[1] == 0
        assert access_token(read(account), scopes=[CALENDAR])
    again = browser.get("/files/", headers={"accept": HTML}).context["authorize_url"]

    response, asked = visit(browser, google, again, user=alice)

    assert asked <= 2
    live_on_if_kept(browser, google, account, switches, response, hours=2)


@some_googles
def test_refusal_and_then_consent(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...]
) -> None:
    """The page that says so has a way to try again; nothing is lost meanwhile."""
    behave(google, switches)
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    to_google = browser.get(browser.get("/files/")["Location"])["Location"]
    back = google.consent(to_google, user=alice, deny=True)
    denied: Any = browser.get(back.removeprefix("http://testserver"))
    assert denied.status_code == 403
    assert access_token(read(account), scopes=[CALENDAR])

    response, asked = visit(browser, google, denied.context["try_url"], user=alice)

    assert asked <= 2
    live_on_if_kept(browser, google, account, switches, response, hours=2)


@some_googles
def test_second_account_keeps_its_own(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    switches: tuple[bool, ...],
    start: Callable[..., str],
) -> None:
    """A further account is linked with more; the first one stays as it was."""
    behave(google, switches)
    link(browser, google, alice)
    ben = google.add_user("ben@gmail.com")

    response, asked = visit(
        browser, google, start(CALENDAR, DRIVE, add=True, return_url="/any-account/"), user=ben
    )

    assert (response.status_code, asked) == (200, 1)
    first, second = GoogleAccount.objects.order_by("linked_at")
    assert CALENDAR in first.granted_scopes and DRIVE not in first.granted_scopes
    live_on(browser, google, second, hours=2, page=f"/chosen/{second.pk}/")
    assert access_token(first, scopes=[CALENDAR])


@some_googles
def test_first_account_chosen_again_as_a_further_one(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    switches: tuple[bool, ...],
    start: Callable[..., str],
) -> None:
    """Who chooses the account that is linked already is asked for no more than anybody."""
    behave(google, switches)
    link(browser, google, alice)
    account = GoogleAccount.objects.get()

    asked = visit(browser, google, start(CALENDAR, DRIVE, add=True), user=alice)[1]

    assert GoogleAccount.objects.get() == account
    assert asked <= 2
    if keeps_later_scopes(switches):
        live_on(browser, google, account, hours=2, page="/files/")


@some_googles
def test_scope_that_nobody_asked_for(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...]
) -> None:
    """``include_granted_scopes`` brings what another client of the project was granted."""
    behave(google, switches)
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    project = google.client.project
    google.grant(alice, [*OPENID, TASKS], client=google.add_client(project=project))

    response, asked = visit(browser, google, "/files/", user=alice)

    assert asked <= 2
    live_on_if_kept(browser, google, account, switches, response, hours=2)


def test_scope_that_nobody_asked_for_causes_no_consent(
    browser: Client, google: FakeGoogle, alice: FakeUser, start: Callable[..., str]
) -> None:
    """The user chooses the linked account again: all that was asked for is held."""
    link(browser, google, alice)
    sibling = google.add_client(project=google.client.project)
    google.grant(alice, [*OPENID, TASKS], client=sibling)

    response, asked = visit(browser, google, start(CALENDAR, add=True), user=alice)

    assert (response.status_code, asked) == (200, 1)
    account = GoogleAccount.objects.get()
    assert TASKS not in account.granted_scopes
    for _ in live_through(2):
        assert access_token(read(account), scopes=[CALENDAR])


@some_googles
def test_dead_grant_is_linked_again_with_all_that_it_had(
    browser: Client, google: FakeGoogle, alice: FakeUser, switches: tuple[bool, ...]
) -> None:
    """Revoked at Google, and granted once more."""
    behave(google, switches)
    link(browser, google, alice)
    visit(browser, google, "/files/", user=alice)
    account = GoogleAccount.objects.get()
    google.answer("/calendar/v3/calendars/primary/events", {"items": []})
    google.revoke(alice)

    for _ in live_through(1):
        response, asked = visit(browser, google, "/agenda/", user=alice)
        assert response.status_code == 200
        account.refresh_from_db()
        assert account.status == Status.ACTIVE
        assert 1 <= asked <= 2
        assert access_token(read(account), scopes=[CALENDAR])
        assert visit(browser, google, "/agenda/")[1] == 0


@pytest.fixture
def desktop(google: FakeGoogle, settings: Settings, tmp_path: Path) -> None:
    """The client is of type "Desktop app", and may use any port of this machine."""
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]
    content = {
        "client_id": client.pop("CLIENT_ID"),
        "client_secret": client["CLIENT_SECRET"],
        "redirect_uris": ["http://localhost"],
    }
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps({"installed": content}))
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"default": {**client, "CLIENT_SECRETS_FILE": path}},
    }
    google.client.type = "installed"
    google.client.redirect_uris.append("http://localhost")


@some_googles
@pytest.mark.usefixtures("desktop")
def test_terminal_asks_once_or_twice(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, switches: tuple[bool, ...]
) -> None:
    """``--scopes`` adds to what is linked, and stays."""
    behave(google, switches)
    name, alices_browser = user.get_username(), allowing(google, alice)
    assert run_authorize(name, alices_browser).count("Open this URL") == 1
    account = GoogleAccount.objects.get()

    for _ in live_through(1):
        said = run_authorize(name, alices_browser, scopes=[DRIVE])

        assert said.count("Open this URL") <= 2
        if keeps_later_scopes(switches):
            live_on(browser, google, account, hours=2, page="/files/")
        else:
            assert f"Not granted: {DRIVE}" in said
            assert DRIVE not in GoogleAccount.objects.get().granted_scopes
            assert access_token(read(account), scopes=[CALENDAR])


def import_file(google: FakeGoogle, alice: FakeUser, user: Any, path: Path) -> GoogleAccount:
    """Import a refresh token for the calendar."""
    token = google.grant(alice, [*OPENID, CALENDAR]).refresh_token
    path.write_text(
        f'{{"refresh_token": "{token}", "client_id": "{google.client.client_id}",'
        f' "token_uri": "{google.url}/token"}}'
    )
    call_command(
        "google_link_import", "files", str(path), user=user.get_username(), stdout=io.StringIO()
    )
    return GoogleAccount.objects.get()


@some_googles
@pytest.mark.usefixtures("shared_database")
def test_imported_token_and_drive_later(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tmp_path: Path,
    switches: tuple[bool, ...],
) -> None:
    """It carries the calendar; Drive is granted on a page."""
    behave(google, switches)
    tells = google.refresh_sends_scope
    account = import_file(google, alice, user, tmp_path / "token.json")
    # Where nobody says what a token carries, nothing is assumed.
    assert (CALENDAR in account.granted_scopes) is tells

    asked = visit(browser, google, "/files/", user=alice)[1]

    assert asked <= 2
    account.refresh_from_db()
    if DRIVE in account.granted_scopes:
        live_on(browser, google, account, hours=2, page="/files/")
    else:
        assert not keeps_later_scopes(switches)
