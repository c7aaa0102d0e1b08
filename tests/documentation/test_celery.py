"""The guide's Celery task, in a real worker with two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from django.conf import settings

from django_google_link.models import GoogleAccount, Status
from django_google_link.testing import FakeGoogle, FakeUser
from tests.concurrency.workers import database_settings
from tests.documentation.pages import ROOT, block_with
from tests.support.accounts import linked
from tests.support.databases import new_user
from tests.support.times import in_seconds, until

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, whose access token has expired; two events are in her calendar."""
    google.answer("/calendar/v3/calendars/primary/events", {"items": [{}, {}]})
    return linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))


@pytest.fixture
def worker(account: GoogleAccount, tmp_path: Path) -> Iterator[Celery]:
    """A running worker; what it is sent goes through the file system."""
    queue, control, results = (tmp_path / name for name in ("queue", "control", "results"))
    for folder in (queue, control, results):
        folder.mkdir()
    celery = {
        "broker_url": "filesystem://localhost//",
        "broker_transport_options": {
            "data_folder_in": str(queue),
            "data_folder_out": str(queue),
            "control_folder": str(control),
        },
        "result_backend": f"file://{results}",
    }
    order = {
        "celery": celery,
        "settings": {
            "DATABASES": {"default": database_settings()},
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": str(tmp_path / "mails"),
            "GOOGLE_LINK": settings.GOOGLE_LINK,
        },
        "task": block_with("howto/tasks", "shared_task"),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.documentation.celery_site", "worker"]
    process = subprocess.Popen(
        [*command, "--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"],
        cwd=ROOT,
        env={**os.environ, "CELERY_SITE": json.dumps(order), "C_FORCE_ROOT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    app = Celery("test", set_as_current=False)
    app.conf.update(celery)
    try:
        yield app
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def count_events(app: Celery, user: Any) -> AsyncResult[Any]:
    """Send the task."""
    return app.send_task("tasks.count_events", [user.pk])


def test_many_tasks_ask_google_once(
    worker: Celery, google: FakeGoogle, account: GoogleAccount
) -> None:
    """They all get the token that one of them has asked for."""
    google.delay = 0.1

    results = [count_events(worker, account.user) for _ in range(6)]

    assert [result.get(timeout=30) for result in results] == [2] * 6
    assert len(google.requests_to("token")) == 1


def test_task_comes_back_when_google_is_down(
    worker: Celery, google: FakeGoogle, account: GoogleAccount
) -> None:
    """The worker puts it off, and the link stays."""
    google.fail_next(status=503)

    result = count_events(worker, account.user)

    until(lambda: result.state == "RETRY", seconds=60)
    account.refresh_from_db()
    assert account.status == Status.ACTIVE


def test_task_writes_to_the_user_when_the_grant_is_gone(
    worker: Celery, google: FakeGoogle, alice: FakeUser, account: GoogleAccount, tmp_path: Path
) -> None:
    """It does not fail for ever, and says why it did nothing."""
    google.revoke(alice)

    assert count_events(worker, account.user).get(timeout=30) == "revoked"

    [mail] = (tmp_path / "mails").iterdir()
    assert "Please link your Google account again." in mail.read_text()
