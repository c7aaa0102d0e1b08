"""A worker that is killed while it links: no grant at Google is orphaned."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import pytest
from django.conf import settings
from django.core.management import call_command

from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, travel
from tests.concurrency.workers import database_settings
from tests.support.databases import new_user

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("shared_database")]

#: ``make long`` kills it at each statement; CI at some of them.
WHOLE = os.environ.get("LONG") == "whole"


class Linker:
    """The process of ``linker.py``."""

    def __init__(self) -> None:
        order = {
            "databases": {"default": database_settings()},
            "google_link": settings.GOOGLE_LINK,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.long.linker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def attempt(self, **order: Any) -> dict[str, Any]:
        """Make one attempt, and return how it went."""
        stdin, stdout = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        outcome: dict[str, Any] = json.loads(stdout.readline())
        return outcome

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def linking() -> Iterator[Linker]:
    """Run a linker, and kill it at the end."""
    linker = Linker()
    try:
        yield linker
    finally:
        linker.close()


def revoke_pending() -> None:
    """Run the command at a time when all pending revocations are due."""
    with travel(days=2):
        call_command("google_link_revoke_pending", stdout=io.StringIO())


def test_worker_that_is_killed_while_it_links_orphans_nothing(
    google: FakeGoogle, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is killed before or after each statement of the callback view."""
    with linking() as linker:
        someone = google.add_user("first@gmail.com")
        whole = linker.attempt(user=new_user("first").pk, sub=someone.sub, die_at=0, after=False)
        assert whole["outcome"] == "linked"
        deaths = [(n, after) for n in range(1, whole["statements"] + 1) for after in (False, True)]
        if not WHOLE:
            deaths = random.Random(17).sample(deaths, 16)
        exchanged, linked, lost = [someone], 0, []
        for number, (die_at, after) in enumerate(deaths):
            user, someone = new_user(f"user{number}"), google.add_user(f"user{number}@gmail.com")
            asked = len(google.requests_to("token"))
            outcome = linker.attempt(user=user.pk, sub=someone.sub, die_at=die_at, after=after)
            assert outcome["outcome"] == "killed"
            was_exchanged = len(google.requests_to("token")) > asked
            known = GoogleAccount.objects.filter(user=user).first()
            if known:
                linked += 1
                assert access_token(user)
            if was_exchanged:
                exchanged.append(someone)
            waits = PendingRevocation.objects.filter(sub=someone.sub).exists()
            if was_exchanged and not known and not waits:
                lost.append((die_at, after))

    revoke_pending()
    alive = {
        someone.email
        for someone in exchanged
        if google.granted_scopes(someone) is not None
        and not GoogleAccount.objects.filter(sub=someone.sub).exists()
    }
    with capsys.disabled():
        print(
            f"\n{len(deaths)} deaths over {whole['statements']} statements of the callback:"
            f" {linked} linked, {len(alive)} grants alive at Google and unknown here,"
            f" lost between the answer and the first write: {lost}"
        )
    # Between Google's response and the first write, a kill leaves nothing to recover from.
    assert len(lost) <= 2
    assert len(alive) == len(lost)
