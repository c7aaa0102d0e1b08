"""A database that keeps ending connections: every acknowledged link is stored."""

from __future__ import annotations

import io
import os
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection, connections
from django.test import Client

from django_google_link.models import GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.databases import new_user
from tests.support.urls import query_of

on_postgresql = pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgresql", reason="pg_terminate_backend"
)
pytestmark = [pytest.mark.processes, on_postgresql, pytest.mark.usefixtures("shared_database")]

#: ``make long`` runs for a minute, in several rounds: the fake's consent page lists all
#: accounts, and with those of one long round it would take longer than a connection lasts.
ROUNDS = 10 if os.environ.get("LONG") == "whole" else 1
#: Seconds.
DURATION = 6
EVERY = 0.15
LINKERS = 3


def end_connections(stopped: threading.Event) -> int:
    """End all other connections to this database, repeatedly; return how many."""
    ended = 0
    with connection.cursor() as cursor:
        while not stopped.wait(EVERY):
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND usename = current_user"
            )
            ended += cursor.fetchone()[0]
    return ended


def link_once(google: FakeGoogle, user: Any, someone: FakeUser, codes: dict[str, str]) -> bool:
    """Go through the flow, and return whether the user was told that it succeeded.

    Args:
        codes: receives the authorization code, by the subject of the account.
    """
    browser = Client(raise_request_exception=False)
    try:
        browser.force_login(user)
        location = browser.get("/google/authorize/").headers.get("Location", "")
        if not location.startswith(google.url):
            return False
        back = urlsplit(google.consent(location, user=someone))
        codes[someone.sub] = query_of(back.geturl())["code"]
        response = browser.get(f"{back.path}?{back.query}")
        return response.headers.get("Location") == "/google/"
    except (DatabaseError, InterfaceError, UpdateError):
        return False
    finally:
        connections.close_all()


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_links_outlive_lost_connections(
    google: FakeGoogle, capsys: pytest.CaptureFixture[str], turn: int
) -> None:
    """Each acknowledged link gets a token, and no grant at Google is orphaned."""
    people: list[tuple[Any, FakeUser]] = [
        (new_user(f"user{number}"), google.add_user(f"user{number}@gmail.com"))
        for number in range(40 * DURATION)
    ]
    queue, stopped = iter(people), threading.Event()
    tried: list[tuple[Any, FakeUser]] = []
    told: list[Any] = []
    codes: dict[str, str] = {}
    lock = threading.Lock()

    def work() -> None:
        # On a busy machine, all attempts may fail while connections are being ended.
        while not (stopped.is_set() and told):
            with lock:
                pair = next(queue, None)
            if pair is None:
                return
            tried.append(pair)
            if link_once(google, *pair, codes):
                told.append(pair[0])

    threads = [threading.Thread(target=work) for _ in range(LINKERS)]
    for thread in threads:
        thread.start()
    timer = threading.Timer(DURATION, stopped.set)
    timer.start()
    ended = end_connections(stopped)
    for thread in threads:
        thread.join()
    timer.join()

    tokens = [access_token(user) for user in told]
    with travel(days=2):
        call_command("google_link_revoke_pending", stdout=io.StringIO())
    # If the code was not exchanged, nobody has received a token.
    used = {request.form.get("code") for request in google.requests_to("token")}
    unknown = [
        someone.email
        for user, someone in tried
        if codes.get(someone.sub) in used
        and google.granted_scopes(someone) is not None
        and not GoogleAccount.objects.filter(user=user).exists()
    ]
    with capsys.disabled():
        print(
            f"\n{ended} connections ended in {DURATION} s: {len(tried)} attempts to link,"
            f" {len(told)} acknowledged, {len(tokens)} of them with a token,"
            f" {len(unknown)} grants alive at Google and unknown here"
        )
    assert unknown == []
    assert told
