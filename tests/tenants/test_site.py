"""A site with django-tenants: links, commands and workers of each tenant are its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from django_google_link import services
from django_google_link.models import GoogleAccount, HistoryEntry, PendingRevocation, Status
from django_google_link.testing import FakeGoogle
from tests.documentation.pages import ROOT, block_with
from tests.support.flow import link
from tests.support.tenants import NAMES, accounts_of, site_environment
from tests.support.times import in_seconds

pytestmark = pytest.mark.tenants

IS_SHARED = settings.LAYOUT == "shared"
own = pytest.mark.skipif(IS_SHARED, reason="All tenants share their users and links.")
Visit = Callable[[str], Client]
Manage = Callable[..., tuple[int, str]]


@pytest.fixture
def linked_tenants(tenants_google: FakeGoogle, visit: Visit) -> FakeGoogle:
    """Users of the same number, each with an account that has to be refreshed."""
    for name in NAMES:
        user = tenants_google.add_user(f"{name}@gmail.com")
        assert link(visit(name), tenants_google, user).status_code == 302
        connection.set_schema(name)
        GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
    return tenants_google


def emails_of(name: str) -> list[str]:
    """Return the addresses of the accounts that a tenant sees."""
    return [account.email for account in accounts_of(name)]


def fresh_tokens_of(name: str) -> int:
    """Return how many accounts of a tenant have a token that lives."""
    return sum(account.has_unexpired_access_token() for account in accounts_of(name))


@own
def test_users_of_the_same_number(linked_tenants: FakeGoogle) -> None:
    """Each has a token of their own account."""
    tokens = set()
    for name in NAMES:
        [account] = accounts_of(name)
        assert (account.user_id, account.email) == (1, f"{name}@gmail.com")
        tokens.add(services.access_token(account.user))
        assert HistoryEntry.objects.filter(sub=account.sub).count() == HistoryEntry.objects.count()

    assert len(tokens) == 2


@own
def test_session_of_another_tenant(linked_tenants: FakeGoogle, visit: Visit) -> None:
    """Whoever carries a cookie to the other host is nobody there."""
    blue = visit("blue")
    assert b"blue@gmail.com" in blue.get("/google/").content

    response = blue.get("/google/", headers={"host": "red.example"})

    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


@pytest.mark.skipif(not IS_SHARED, reason="Each tenant has users of its own.")
def test_links_that_all_tenants_share(linked_tenants: FakeGoogle, manage: Manage) -> None:
    """They are seen, and refreshed, by whichever tenant is first."""
    assert emails_of("blue") == emails_of("red") == ["blue@gmail.com", "red@gmail.com"]

    code, output = manage(
        "tenant_command", "google_link_refresh", "--schema=red", "--expiring-within=10"
    )

    assert (code, "2 refreshed" in output) == (0, True), output
    assert fresh_tokens_of("blue") == 2


@own
def test_refresh_of_one_tenant(linked_tenants: FakeGoogle, manage: Manage) -> None:
    """The other one's accounts stay as they are."""
    code, output = manage(
        "tenant_command", "google_link_refresh", "--schema=red", "--expiring-within=10"
    )

    assert (code, "1 refreshed" in output) == (0, True), output
    assert (fresh_tokens_of("blue"), fresh_tokens_of("red")) == (0, 1)


@own
def test_refresh_of_all_tenants(linked_tenants: FakeGoogle, manage: Manage) -> None:
    """One after the other; the public schema has nothing that is due, or no tables."""
    code, output = manage("all_tenants_command", "google_link_refresh", "--expiring-within=10")

    assert (code, output.count("1 refreshed")) == (0, 2), output
    assert (fresh_tokens_of("blue"), fresh_tokens_of("red")) == (1, 1)


@own
def test_failure_is_told(linked_tenants: FakeGoogle, manage: Manage) -> None:
    """By the exit code."""
    linked_tenants.fail_next()

    code, output = manage(
        "tenant_command", "google_link_refresh", "--schema=red", "--expiring-within=10"
    )

    assert (code, "1 postponed" in output) == (1, True), output


@own
def test_every_command_is_one_tenants(linked_tenants: FakeGoogle, manage: Manage) -> None:
    """Nothing of the other one's is touched, told or removed."""
    [blue], [red] = accounts_of("blue"), accounts_of("red")
    connection.set_schema("red")
    linked_tenants.fail_next(endpoint="revoke")
    red.delete()
    assert PendingRevocation.objects.update(retry_at=in_seconds(-60)) == 1
    sealed = blue.sealed_refresh_token

    for words in (
        ["google_link_revoke_pending"],
        ["google_link_rotate_keys"],
        ["google_link_status"],
        ["google_link_export", "anna"],
        ["google_link_forget", "anna", "--no-input"],
    ):
        code, output = manage("tenant_command", *words, "--schema=red")
        assert (code, "blue@gmail.com" in output) == (0, False), (words, output)

    connection.set_schema("red")
    assert not PendingRevocation.objects.exists()
    [blue] = accounts_of("blue")
    assert (blue.status, blue.sealed_refresh_token) == (Status.ACTIVE, sealed)
    assert HistoryEntry.objects.exists()


@own
def test_command_of_the_guide_goes_on(linked_tenants: FakeGoogle) -> None:
    """A tenant whose accounts have to wait stops no other."""
    from django_tenants.utils import get_tenant_model

    names: dict[str, Any] = {"__name__": "command"}
    exec(block_with("howto/tenants", "class Command"), names)
    get_tenant_model().objects.filter(schema_name="public").delete()
    linked_tenants.fail_next()

    with pytest.raises(CommandError, match=r"^(blue|red): "):
        call_command(names["Command"](), expiring_within=10)

    assert fresh_tokens_of("blue") + fresh_tokens_of("red") == 1


@pytest.fixture
def worker(linked_tenants: FakeGoogle, tmp_path: Path) -> Iterator[Any]:
    """A running worker with two threads, and the app that sends it tasks."""
    from tenant_schemas_celery.app import CeleryApp

    folders = {name: tmp_path / name for name in ("queue", "control", "results")}
    for folder in folders.values():
        folder.mkdir()
    celery = {
        "broker_url": "filesystem://localhost//",
        "broker_transport_options": {
            "data_folder_in": str(folders["queue"]),
            "data_folder_out": str(folders["queue"]),
            "control_folder": str(folders["control"]),
        },
        "result_backend": f"file://{folders['results']}",
    }
    order = {
        "app": block_with("howto/tenants", "CeleryApp"),
        "celery": celery,
        "task": block_with("howto/tasks", "shared_task"),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.tenants.celery_site", "worker"]
    process = subprocess.Popen(
        [*command, "--pool", "threads", "--concurrency", "2", "--loglevel", "WARNING"],
        cwd=ROOT,
        env={**site_environment(CELERY=order), "C_FORCE_ROOT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    app = CeleryApp("test", set_as_current=False)
    app.conf.update(celery)
    try:
        yield app
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@own
def test_tasks_are_done_for_the_tenant_who_sends_them(
    worker: Any, linked_tenants: FakeGoogle
) -> None:
    """Users of the same number, and each one's own calendar."""
    linked_tenants.answer("/calendar/v3/calendars/primary/events", {"items": [{}, {}]})
    results = []
    for name in NAMES:
        connection.set_schema(name)
        results.append(worker.send_task("tasks.count_events", [1]))

    assert [result.get(timeout=60) for result in results] == [2, 2]
    assert (fresh_tokens_of("blue"), fresh_tokens_of("red")) == (1, 1)
