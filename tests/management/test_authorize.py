"""``google_link_authorize``: linking from a terminal, with a simulated browser."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_google_link.accounts.linking import complete_authorization
from django_google_link.management.commands import google_link_authorize
from django_google_link.management.loopback import LoopbackServer
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID
from tests.support.databases import new_user
from tests.support.terminal import Terminal, allowing, run_authorize
from tests.support.urls import query_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def secrets_file(google: FakeGoogle, settings: Settings, tmp_path: Path) -> Callable[..., None]:
    """Give the client a secrets file of this type, with these redirect URIs."""
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]

    def write(kind: str, *redirect_uris: str) -> None:
        path = tmp_path / "client_secret.json"
        content = {"client_id": client["CLIENT_ID"], "client_secret": client["CLIENT_SECRET"]}
        path.write_text(json.dumps({kind: {**content, "redirect_uris": redirect_uris}}))
        others = {key: value for key, value in client.items() if key not in {"CLIENT_ID"}}
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": {**others, "CLIENT_SECRETS_FILE": path}},
        }
        google.client.type = kind
        google.client.redirect_uris[:] = redirect_uris

    return write


@pytest.fixture
def desktop(secrets_file: Callable[..., None]) -> None:
    """A client of type "Desktop app", which may use any port."""
    secrets_file("installed", "http://localhost")


def nobody(url: str) -> None:
    """Do nothing."""


@pytest.mark.usefixtures("desktop")
def test_authorize_links_as_the_web_flow_does(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The account, its scopes and valid tokens are stored; the code is not printed."""
    said = run_authorize(user.get_username(), allowing(google, alice), scopes=[DRIVE])

    account = GoogleAccount.objects.get()
    assert (account.user, account.email, account.is_default) == (user, alice.email, True)
    assert {CALENDAR, DRIVE} <= set(account.granted_scopes)
    assert access_token(user)
    assert f"{alice.email} is linked to {user}." in said
    assert "Not granted" not in said
    assert "code=" not in said


@pytest.mark.usefixtures("desktop")
def test_authorize_holds_nothing_of_a_former_client(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """With a new client id, Google is asked for consent and issues a token to the new client."""
    run_authorize(user.get_username(), allowing(google, alice))
    GoogleAccount.objects.update(client_id="former", sealed_access_token="")

    run_authorize(user.get_username(), allowing(google, alice))

    assert access_token(user)


@pytest.mark.usefixtures("desktop")
def test_authorize_tells_what_was_not_granted(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Partial consent succeeds, and the missing scopes are printed."""
    said = run_authorize(
        user.get_username(), allowing(google, alice, grant=[CALENDAR]), scopes=[DRIVE]
    )

    assert f"Not granted: {DRIVE}" in said
    assert GoogleAccount.objects.get().is_active


@pytest.mark.usefixtures("desktop")
def test_authorize_that_is_refused(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """The command says so, and nothing changes."""
    with pytest.raises(CommandError, match="refused at Google"):
        run_authorize(user.get_username(), allowing(google, alice, deny=True))

    assert not GoogleAccount.objects.exists()


@pytest.mark.usefixtures("desktop")
def test_authorize_again_keeps_the_refresh_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google issues no second refresh token for the same grant."""
    account = linked(user, google, alice)
    before = token_of(account, "refresh_token")

    run_authorize(user.get_username(), allowing(google, alice))

    assert GoogleAccount.objects.get() == account
    assert token_of(account, "refresh_token") == before


@pytest.mark.usefixtures("desktop")
def test_authorize_of_a_further_account_asks_twice_if_need_be(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google issued that account's refresh token before, so that a second consent is needed."""
    linked(user, google, google.add_user("first@gmail.com"))
    google.grant(alice, ["openid", "email", "profile", CALENDAR])

    said = run_authorize(user.get_username(), allowing(google, alice))

    assert said.count("Open this URL") == 2
    assert GoogleAccount.objects.get(sub=alice.sub).is_active


def test_authorize_uses_what_the_file_of_a_web_client_lists(
    google: FakeGoogle, alice: FakeUser, user: Any, secrets_file: Callable[..., None]
) -> None:
    """The port and path of the listed redirect URI are used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets_file("web", "https://a.example/cb/", f"http://127.0.0.1:{port}/terminal/")
    google.client.redirect_uris.append(f"http://127.0.0.1:{port}/terminal/")

    def visit(url: str) -> None:
        requests.get(google.consent(url, user=alice))

    assert f"http://127.0.0.1:{port}/terminal/" in run_authorize(user.get_username(), visit)
    assert GoogleAccount.objects.get().email == alice.email


@pytest.mark.parametrize("port", [None, 9999])
def test_authorize_without_a_redirect_uri_of_this_machine(
    google: FakeGoogle, user: Any, secrets_file: Callable[..., None], port: int | None
) -> None:
    """The error names the redirect URI to add."""
    secrets_file("web", "https://a.example/cb/", "http://127.0.0.1:1234/")
    if port is None:
        secrets_file("web", "https://a.example/cb/")

    with pytest.raises(CommandError, match=f"http://127.0.0.1:{port or 8765}/. Add it"):
        run_authorize(user.get_username(), nobody, port=port)


def test_authorize_with_a_client_of_unknown_type(google: FakeGoogle, user: Any) -> None:
    """Without a secrets file a fixed port is used, and Google checks the redirect URI."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(CommandError, match=f"Cannot listen on port {port}"):
            run_authorize(user.get_username(), nobody, port=port)


@pytest.mark.usefixtures("desktop")
def test_authorize_for_nobody(google: FakeGoogle) -> None:
    """A misspelled username is reported before Google is asked."""
    with pytest.raises(CommandError, match="no user 'nobody'"):
        run_authorize("nobody", nobody)


def test_authorize_with_broken_settings(user: Any, settings: Settings) -> None:
    """The error is reported without a traceback."""
    with pytest.raises(CommandError, match="no client 'other'"):
        run_authorize(user.get_username(), nobody, client="other")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}
    with pytest.raises(CommandError, match="ENCRYPTION_KEYS"):
        call_command("google_link_authorize", user.get_username(), skip_checks=True)


@pytest.mark.slow
@pytest.mark.usefixtures("desktop")
def test_authorize_that_nobody_answers(google: FakeGoogle, user: Any) -> None:
    """The command times out, and ignores responses with a wrong state."""

    def guess(url: str) -> None:
        [back] = re.findall(r"redirect_uri=http%3A%2F%2F127.0.0.1%3A(\d+)", url)
        answer = requests.get(f"http://127.0.0.1:{back}/?state=guessed&code=x")
        assert answer.status_code == 404

    terminal = Terminal(guess)
    with pytest.raises(CommandError, match=r"No response arrived within 0\.5 seconds"):
        call_command(
            "google_link_authorize",
            user.get_username(),
            stdout=terminal,
            no_browser=True,
            timeout=0.5,
        )
    assert not GoogleAccount.objects.exists()


@pytest.mark.usefixtures("desktop")
def test_authorize_when_google_fails(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """The failure is reported in one line."""
    google.fail_next(status=503)

    with pytest.raises(CommandError, match=r"HTTP 503\)\) Nothing has changed"):
        run_authorize(user.get_username(), allowing(google, alice))


@pytest.mark.usefixtures("shared_database", "desktop")
def test_authorize_for_a_user_who_is_deleted_meanwhile(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new grant is revoked, since nothing else would ever revoke it."""
    owner = new_user()

    def complete_late(*args: Any, **kwargs: Any) -> Any:
        owner.delete()
        return complete_authorization(*args, **kwargs)

    monkeypatch.setattr(google_link_authorize, "complete_authorization", complete_late)

    with pytest.raises(CommandError, match="The user no longer exists"):
        run_authorize(owner.get_username(), allowing(google, alice))

    assert google.granted_scopes(alice) is None


@pytest.mark.slow
@pytest.mark.usefixtures("desktop")
@pytest.mark.parametrize("name", ["firefox", "/usr/bin/lynx", "w3m"])
def test_authorize_opens_a_browser(
    google: FakeGoogle, alice: FakeUser, user: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A browser that runs until it gets its page does not block the command."""
    visit = allowing(google, alice)
    ended: list[str] = []
    is_left = threading.Event()

    def run_browser(url: str) -> bool:
        visit(url)
        time.sleep(0.2)  # Its user reads the page.
        ended.append(name)
        is_left.set()
        return True

    monkeypatch.setattr(webbrowser, "open", run_browser)
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser(name))
    call_command("google_link_authorize", user.get_username(), stdout=io.StringIO())

    if name == "firefox":
        is_left.wait(10)  # It has a window of its own, which may stay open.
    assert ended == [name]
    assert GoogleAccount.objects.get().email == alice.email


@pytest.mark.usefixtures("desktop")
@pytest.mark.parametrize("error", [webbrowser.Error, ValueError, OSError])
def test_authorize_without_a_browser(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    """The printed URL can be opened by hand, whatever ``BROWSER`` says."""
    visit = allowing(google, alice)

    def refuse(url: str = "") -> Any:
        if url:
            visit(url)
        raise error("No browser is here.") if url else webbrowser.Error("No browser is here.")

    monkeypatch.setattr(webbrowser, "open", refuse)
    monkeypatch.setattr(webbrowser, "get", refuse)
    call_command("google_link_authorize", user.get_username(), stdout=io.StringIO())

    assert GoogleAccount.objects.get().email == alice.email


@pytest.mark.usefixtures("desktop")
def test_authorize_that_is_interrupted(
    google: FakeGoogle, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C cancels the waiting command."""

    def interrupt(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LoopbackServer, "handle_request", interrupt)

    with pytest.raises(CommandError, match="Stopped") as stopped:
        run_authorize(user.get_username(), nobody)
    assert stopped.value.returncode == 130


@pytest.mark.usefixtures("desktop")
def test_authorize_without_lasting_access(
    google: FakeGoogle, alice: FakeUser, user: Any, configure: Callable[..., None]
) -> None:
    """A link that cannot be refreshed is not stored."""
    configure(AUTHORIZATION_PARAMS={"access_type": "online"})

    with pytest.raises(CommandError, match="not grant lasting access"):
        run_authorize(user.get_username(), allowing(google, alice))

    assert not GoogleAccount.objects.exists()


@pytest.mark.usefixtures("desktop")
def test_authorize_that_google_itself_refuses(google: FakeGoogle, user: Any) -> None:
    """The error is not reported as the user's refusal."""

    def refuse(url: str) -> None:
        query = query_of(url)
        answer = urlencode({"error": "admin_policy_enforced", "state": query["state"]})
        requests.get(f"{query['redirect_uri']}?{answer}")

    with pytest.raises(CommandError, match="responded with the error 'admin_policy_enforced'"):
        run_authorize(user.get_username(), refuse)


@pytest.mark.usefixtures("desktop")
def test_authorize_with_another_account_at_the_second_consent(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If the second consent is for another account, the command fails."""
    linked(user, google, google.add_user("first@gmail.com"))
    google.grant(alice, [*OPENID, CALENDAR])
    visits = [allowing(google, google.add_user("bob@gmail.com")), allowing(google, alice)]

    def visit(url: str) -> None:
        visits.pop()(url)

    with pytest.raises(CommandError, match=r"bob@gmail\.com was chosen, which is not the expected"):
        run_authorize(user.get_username(), visit)
