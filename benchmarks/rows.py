"""The measurements. Each row runs in a separate process, and prints its figures as JSON."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import django
from django.conf import settings

from .calls import calls_from_views, many_accounts_far_away, shared_service
from .linking import links_completed
from .operating import deleted_users, key_rotation, million_accounts
from .outage import outage_of_an_hour
from .page_beside import page_beside
from .starting import start_of_a_process

Figures = dict[str, Any]

DELAY = 0.1  # seconds that the token endpoint takes


def view_with_a_fresh_token() -> Figures:
    """Row 1: the time of a view's authorized Drive client, interleaved, the median of many."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from . import peers

    with _google() as google:
        [user] = _users(1, expires_in=3000, google=google)
    works = {work.__name__: work for work in (peers.floor, peers.ours, peers.allauth)}
    works["social_auth"] = peers.social_auth
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(320):
        for name, work in works.items():
            seconds = _timed(lambda work=work: work(_fresh(user)))
            if turn >= 20:
                times[name].append(seconds)
    with CaptureQueriesContext(connection) as queries:
        peers.ours(_fresh(user))
    return {name: median(values) for name, values in times.items()} | {"queries": len(queries)}


def callers_at_expiry() -> Figures:
    """Row 2: 24 callers in 6 processes, when the token has just expired."""
    figures = {}
    for name in ("our_token", "allauth_token", "social_auth_token"):
        with _google() as google:
            [user, *others] = _users(7, expires_in=-60, google=google)
            google.slow_down(DELAY)
            seconds = _callers(
                name, user.pk, others=[other.pk for other in others], threads=4, google=google
            )
            figures[name] = {"requests": google.token_requests(), "slowest": max(seconds) / DELAY}
    return figures


def many_accounts() -> Figures:
    """Row 3: ``google_link_refresh`` with 16 workers on 2,000 accounts."""
    from django.core.management import call_command

    count, workers = 2000, 16
    with _google() as google:
        _users(count, expires_in=60, google=google)
        google.slow_down(DELAY)
        google.token_requests()
        options = {"expiring_within": 10, "workers": workers, "stdout": StringIO()}
        seconds = _timed(lambda: call_command("google_link_refresh", **options))
        requests = google.token_requests()
    return {"requests": requests, "ratio": seconds / (count * DELAY / workers)}


def memory_of_services() -> Figures:
    """Row 7: the memory of 1,000 service objects, in bytes per object."""
    from . import peers

    with _google() as google:
        [user] = _users(1, expires_in=3000, google=google)
    return {work.__name__: _bytes_of(work, user) for work in (peers.ours, peers.allauth)}


def _bytes_of(work: Callable[[Any], Any], user: Any, count: int = 1000) -> float:
    held = [work(_fresh(user))]
    gc.collect()
    tracemalloc.start()
    held += [work(_fresh(user)) for _ in range(count)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / count


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _fresh(user: Any) -> Any:
    """Return the user as the next request would load it, without cached attributes."""
    return type(user)(pk=user.pk, username=user.username)


def _users(count: int, *, expires_in: float, google: Any) -> list[Any]:
    """Create users with the same grants in all three packages."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from . import peers

    model = get_user_model()
    start = model.objects.count()
    expires_at = timezone.now() + timedelta(seconds=expires_in)
    users = []
    for n, grant in enumerate(google.grant(count), start):
        user = model.objects.create(username=f"user-{n}")
        peers.link(user, grant, expires_at)
        users.append(user)
    return users


def _callers(name: str, user: int, *, others: list[int], threads: int, google: Any) -> list[float]:
    """Start callers at the same moment, and return how long each of them took, in seconds.

    There is a process for each of the other users: it refreshes the token of that one beforehand.
    """
    environment = {
        **os.environ,
        "BENCH_NAME": str(settings.DATABASES["default"]["NAME"]),
        "BENCH_GOOGLE": json.dumps(settings.GOOGLE),
    }
    command = [sys.executable, "-m", "benchmarks.caller", name]
    workers = [
        subprocess.Popen(
            [*command, str(other), str(user), str(threads)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for other in others
    ]
    pipes: list[Any] = [(worker.stdin, worker.stdout) for worker in workers]
    for _, stdout in pipes:
        stdout.readline()
    google.token_requests()
    for stdin, _ in pipes:
        stdin.write("\n")
        stdin.flush()
    return [seconds for worker in workers for seconds in json.loads(worker.communicate()[0])]


@contextmanager
def _google() -> Any:
    """Run Google in another process, and point the settings of all three packages to it."""
    from . import peers
    from .google import google_apart

    with google_apart() as google:
        settings.GOOGLE.update(google.settings)
        google_link: dict[str, Any] = settings.GOOGLE_LINK
        google_link["CLIENTS"]["default"].update(google.settings)
        peers.LoopbackGoogle.ACCESS_TOKEN_URL = google.settings["TOKEN_ENDPOINT"]
        yield google


ROWS = {
    row.__name__: row
    for row in (
        view_with_a_fresh_token,
        callers_at_expiry,
        many_accounts,
        key_rotation,
        start_of_a_process,
        million_accounts,
        memory_of_services,
        deleted_users,
        links_completed,
        outage_of_an_hour,
        page_beside,
        calls_from_views,
        many_accounts_far_away,
        shared_service,
    )
}


def main() -> None:
    """Run the row that the first argument names, in a separate database."""
    with TemporaryDirectory() as folder:
        os.environ.setdefault("BENCH_SQLITE", str(Path(folder) / "bench.sqlite3"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        django.setup()
        from django.db import connection

        if connection.vendor == "sqlite":
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            print(json.dumps(ROWS[sys.argv[1]]()))
            return
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            print(json.dumps(ROWS[sys.argv[1]]()))
        finally:
            connection.creation.destroy_test_db("", verbosity=0)


if __name__ == "__main__":
    main()
