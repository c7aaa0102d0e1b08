"""Measures many links on PostgreSQL: their size, times, and which tables can be partitioned.

``python -m benchmarks.scale --links 1000000`` fills a separate database, measures, and writes
``scale_results.md``, which the documentation includes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import django
from django.conf import settings

RESULTS = Path(__file__).parent / "scale_results.md"

#: The lengths of Google's tokens, in characters.
REFRESH_TOKEN_LENGTH = 103
ACCESS_TOKEN_LENGTH = 218
#: The number of links that the fake Google knows.
REAL = 500

#: The default of ``google_link_refresh --unused-for``.
UNUSED_DAYS = 90

_USERS = """
INSERT INTO auth_user (username, password, first_name, last_name, email, is_superuser, is_staff,
    is_active, date_joined)
SELECT 'user' || n, '', '', '', '', false, false, true, now() FROM generate_series(1, %s) n
"""
# These are never decrypted. They are as long as encrypted tokens, and as hard to compress.
_LINKS = """
INSERT INTO google_link_googleaccount (id, user_id, client, issuer, client_id, sub, email,
    email_verified, name, picture, hosted_domain, label, is_default, is_chosen_default,
    granted_scopes, refresh_token_scopes, status, status_reason, status_changed_at,
    sealed_refresh_token, sealed_access_token, access_token_expires_at, refreshed_at,
    grant_version, refresh_failures, refresh_problem, refresh_error, linked_at, granted_at,
    refresh_token_prefix_digest, refresh_token_hash_digest, without_refresh_token)
SELECT gen_random_uuid(), u.id, 'default', 'https://accounts.google.com', repeat('i', 72),
    lpad(u.id::text, 21, '1'), u.username || '@example.com', true, 'Name of ' || u.username,
    'https://lh3.googleusercontent.com/a/' || repeat(md5(u.id::text), 2), '', '', true, false,
    %(scopes)s, %(scopes)s,
    CASE WHEN u.id %% 10 = 0 THEN 'needs_reauthorization' ELSE 'active' END,
    CASE WHEN u.id %% 10 = 0 THEN 'revoked' ELSE '' END, now(),
    left(%(seal)s || noise.text, %(refresh)s), left(%(seal)s || noise.text, %(access)s),
    now() + interval '50 minutes', now() - interval '10 minutes', 1, 0, '', '',
    now() - random() * 1000 * interval '1 day', now(), md5('p' || u.id), md5('h' || u.id), false
FROM auth_user u, LATERAL (
    SELECT string_agg(encode(sha512(convert_to(u.id || '/' || n, 'UTF8')), 'hex'), '') AS text
    FROM generate_series(1, 4) n
) noise
"""
_HISTORY = """
INSERT INTO google_link_historyentry (account_id, owner, client, issuer, sub, event, details,
    actor_kind, actor, created_at)
SELECT id, user_id::text, client, issuer, sub, 'linked',
    jsonb_build_object('asked', granted_scopes, 'granted', granted_scopes, 'created', true),
    'user', user_id::text, linked_at
FROM google_link_googleaccount
"""
#: The tables to partition, and by which column.
_PARTITIONS = {
    "`google_link_googleaccount`, by user": ("google_link_googleaccount", "HASH (user_id)"),
    "`google_link_googleaccount`, by id": ("google_link_googleaccount", "HASH (id)"),
    "`google_link_historyentry`, by id": ("google_link_historyentry", "RANGE (id)"),
    "`google_link_historyentry`, by time": ("google_link_historyentry", "RANGE (created_at)"),
}


def main() -> None:
    """Fill a database, measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--links", type=int, default=1_000_000, help="1000000 by default")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ |= {
        "BENCH_DATABASE": "postgresql",
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }
    django.setup()
    from django.db import connection

    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        with _google():
            text = "\n".join(_measure(options.links)) + "\n"
    finally:
        connection.creation.destroy_test_db("", verbosity=0)
    options.output.write_text(text, encoding="utf-8")
    print(text, end="")


def _measure(links: int) -> Iterator[str]:
    from django.db import connection

    say("Filling the database")
    rotated = _time_rotation()
    _fill(links)
    real = _make_real_links()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    yield from _describe_run(links)
    say("Sizes")
    yield from _describe_sizes(links)
    say("Times")
    yield from _describe_times(real)
    say("Work in bulk")
    yield from _describe_bulk(links, real, rotated)
    yield from _describe_growth(links, rotated)
    say("Partitions")
    yield from _describe_partitions()


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _describe_run(links: int) -> Iterator[str]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        [(server,)] = cursor.fetchall()
        cursor.execute("SHOW shared_buffers")
        [(buffers,)] = cursor.fetchall()
    yield (
        f"Measured with {links:,} links by `python -m benchmarks.scale` on "
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} CPUs, PostgreSQL {server.split()[0]} "
        f"(`shared_buffers` {buffers}) on the same machine, Python {platform.python_version()}, "
        f"Django {django.__version__}; load average {os.getloadavg()[0]:.0f}."
    )
    yield ""


def _describe_sizes(links: int) -> Iterator[str]:
    from django.db import connection

    tables = {
        "google_link_googleaccount": "link, with both tokens",
        "google_link_historyentry": "history entry",
    }
    yield "| bytes per row | table | indexes | total |"
    yield "|---|---|---|---|"
    for table, title in tables.items():
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT pg_table_size('{table}'), pg_indexes_size('{table}'), count(*) "
                f"FROM {table}"
            )
            [(rows, indexes, count)] = cursor.fetchall()
        yield (
            f"| {title} | {rows / count:,.0f} | {indexes / count:,.0f} "
            f"| {(rows + indexes) / count:,.0f} |"
        )
    yield ""


def _describe_times(real: list[Any]) -> Iterator[str]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from django_google_link.models import GoogleAccount, HistoryEntry
    from django_google_link.services import access_token

    random, users = Random(1), get_user_model().objects
    olga = users.create_superuser("olga")
    client = Client()
    client.force_login(olga)
    some = GoogleAccount.objects.order_by("pk")[random.randrange(100)]
    seconds_used = _expire(real)
    works: dict[str, Callable[[], Any]] = {
        "`access_token(user)`, with a fresh stored token": lambda: access_token(
            random.choice(real)
        ),
        "`access_token(user)`, with an expired token, Google answering immediately": lambda: (
            access_token(next(seconds_used))
        ),
        "finding the link for a security event that names its token": lambda: list(
            GoogleAccount.objects.filter(
                refresh_token_prefix_digest=some.refresh_token_prefix_digest
            )
        ),
        "admin: list of links": lambda: _look(client, "googleaccount/"),
        "admin: accounts that have to be linked again": lambda: _look(
            client, "googleaccount/?status__exact=needs_reauthorization"
        ),
        "admin: search for an e-mail address": lambda: _look(client, "googleaccount/?q=user77@"),
        "admin: one link with its history": lambda: _look(
            client, f"googleaccount/{some.pk}/change/"
        ),
        "admin: list of history entries": lambda: _look(client, "historyentry/"),
        "admin: the history of one link": lambda: _look(
            client, f"historyentry/?account_id={some.pk}"
        ),
        "admin: the history of a client with all of the links": lambda: _look(
            client, "historyentry/?client=default"
        ),
        "admin: the history of clients that are not configured": lambda: _look(
            client, "historyentry/?client=other"
        ),
    }
    assert HistoryEntry.objects.exists()
    yield "| operation | milliseconds, best of 9 |"
    yield "|---|---|"
    for title, work in works.items():
        yield f"| {title} | {_best(work) * 1000:,.1f} |"
    yield ""


def _describe_bulk(links: int, real: list[Any], rotated: float) -> Iterator[str]:
    from django_google_link.operations.refresh import list_due_accounts

    fresh, refreshed = _count_queries(real[0])
    wal, per_refresh = _count_wal(real)
    due = list_due_accounts(
        expiring_within=timedelta(minutes=15), unused_for=timedelta(days=UNUSED_DAYS)
    )
    yield "| bulk operation | |"
    yield "|---|---|"
    yield f"| `google_link_status`, in a new process | {_time_status():.1f} s |"
    scan = _timed(lambda: list(due.order_by("pk").values_list("pk")))
    yield f"| `google_link_refresh`: finding the due ones among {links:,} | {scan:.1f} s |"
    yield (
        "| sequential refreshes in one process, Google answering immediately "
        f"| {1 / per_refresh:,.0f} per second |"
    )
    for processes in (1, 2, 4):
        rate = _time_refresh_command(real, processes)
        yield (
            f"| {processes} × `google_link_refresh` with 16 workers, Google answering after "
            f"100 ms | {rate:,.0f} refreshes per second |"
        )
    yield f"| queries for a fresh token, for a refresh | {fresh}, {refreshed} |"
    yield f"| write-ahead log of one refresh | {wal / 1024:,.1f} KiB |"
    yield f"| `google_link_rotate_keys` | {rotated:,.0f} links per second |"
    yield ""


def _describe_growth(links: int, rotated: float) -> Iterator[str]:
    """Extrapolate to more links, in proportion."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_total_relation_size('google_link_googleaccount'), "
            "pg_total_relation_size('google_link_historyentry')"
        )
        [(accounts, entries)] = cursor.fetchall()
    yield (
        "| links | table of links | history, ten entries per link "
        "| refreshes per second to keep unused tokens valid | key rotation, one process |"
    )
    yield "|---|---|---|---|---|"
    for factor in (1, 10, 100):
        count = factor * links
        table, history = factor * accounts / 1e9, 10 * factor * entries / 1e9
        kept_alive, rotation = count / (UNUSED_DAYS * 86_400), count / rotated / 3600
        yield (
            f"| {count:,} | {table:,.1f} GB | {history:,.1f} GB | {kept_alive:,.1f} "
            f"| {rotation:,.1f} hours |"
        )
    yield ""


def _describe_partitions() -> Iterator[str]:
    from django.db import DatabaseError, connection, transaction

    yield "| partitioned table | PostgreSQL's answer |"
    yield "|---|---|"
    for title, (table, by) in _PARTITIONS.items():
        said = "possible"
        with connection.cursor() as cursor:
            try:
                with transaction.atomic():
                    cursor.execute(
                        f"CREATE TABLE partitioned (LIKE {table} INCLUDING ALL) PARTITION BY {by}"
                    )
                    transaction.set_rollback(True)
            except DatabaseError as error:
                lines = str(error).splitlines()
                said = " ".join(line.removeprefix("DETAIL:").strip() for line in lines)
        yield f"| {title} | {said} |"


def _fill(links: int) -> None:
    from django.db import connection

    from django_google_link.encryption.format import sealed_prefix
    from django_google_link.encryption.keyring import key_ids
    from django_google_link.models import GoogleAccount
    from django_google_link.secret import Secret

    sample = GoogleAccount(user_id=1, client="default", sub="1")
    sample.seal_token("refresh_token", Secret("r" * REFRESH_TOKEN_LENGTH))
    sample.seal_token("access_token", Secret("a" * ACCESS_TOKEN_LENGTH))
    values: dict[str, Any] = {
        "scopes": json.dumps(["email", "openid", "profile", _DRIVE]),
        "seal": sealed_prefix(key_ids()[0]),
        "refresh": len(sample.sealed_refresh_token),
        "access": len(sample.sealed_access_token),
    }
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE auth_user CASCADE")
        cursor.execute(_USERS, [links])
        cursor.execute(_LINKS, values)
        cursor.execute(_HISTORY)


_DRIVE = "https://www.googleapis.com/auth/drive.file"


def _make_real_links() -> list[Any]:
    """Create links whose tokens the fake Google knows, and return their users."""
    from django.contrib.auth import get_user_model

    from django_google_link.testing import make_google_account

    users = []
    for number, grant in enumerate(_google_apart[0].grant(REAL)):
        user = get_user_model().objects.create(username=f"real{number}")
        make_google_account(user, scopes=[_DRIVE], **grant)
        users.append(user)
    return users


_google_apart: list[Any] = []


@contextmanager
def _google() -> Iterator[None]:
    """Run Google in another process."""
    from .google import google_apart

    with google_apart() as google:
        settings.GOOGLE.update(google.settings)
        google_link: dict[str, Any] = settings.GOOGLE_LINK
        google_link["CLIENTS"]["default"].update(google.settings)
        _google_apart.append(google)
        yield


def _expire(real: list[Any]) -> Iterator[Any]:
    """Yield users whose access tokens have expired."""
    from django.utils import timezone

    from django_google_link.models import GoogleAccount

    while True:
        for user in real:
            past = timezone.now() - timedelta(hours=1)
            GoogleAccount.objects.filter(user=user).update(access_token_expires_at=past)
            yield user


def _count_queries(user: Any) -> tuple[int, int]:
    """Return the number of queries for a fresh token, and for an expired one."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_google_link.services import access_token

    access_token(user)
    with CaptureQueriesContext(connection) as fresh:
        access_token(user)
    expired = next(_expire([user]))
    with CaptureQueriesContext(connection) as refreshed:
        access_token(expired)
    return len(fresh), len(refreshed)


def _count_wal(real: list[Any]) -> tuple[float, float]:
    """Return the write-ahead log of one refresh in bytes, and its duration in seconds."""
    from django.db import connection
    from django.utils import timezone

    from django_google_link.models import GoogleAccount
    from django_google_link.services import access_token

    def position() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
            [(found,)] = cursor.fetchall()
        return int(found)

    past = timezone.now() - timedelta(hours=1)
    GoogleAccount.objects.filter(user__in=real).update(access_token_expires_at=past)
    before = position()
    seconds = _timed(lambda: [access_token(user) for user in real])
    return (position() - before) / len(real), seconds / len(real)


def _time_refresh_command(real: list[Any], processes: int) -> float:
    """Return how many of the real links these processes refresh per second."""
    from django.utils import timezone

    from django_google_link.models import GoogleAccount

    past = timezone.now() - timedelta(hours=1)
    GoogleAccount.objects.filter(user__in=real).update(access_token_expires_at=past)
    google = _google_apart[0]
    google.slow_down(0.1)
    google.token_requests()
    command = ["google_link_refresh", "--expiring-within", "15", "--workers", "16"]
    seconds = _timed(lambda: _run_commands(command, processes))
    google.slow_down(0)
    return int(google.token_requests()) / seconds


def _time_status() -> float:
    return _timed(lambda: _run_commands(["google_link_status", "--json"], 1))


def _run_commands(command: list[str], processes: int) -> None:
    environment = {
        **os.environ,
        "BENCH_NAME": str(settings.DATABASES["default"]["NAME"]),
        "BENCH_GOOGLE": json.dumps(settings.GOOGLE),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "django", *command, "--skip-checks"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(processes)
    ]
    for process in started:
        if process.wait():
            raise SystemExit(f"{' '.join(command)} failed.")


def _time_rotation() -> float:
    """Return how many links are re-encrypted per second."""
    from .operating import key_rotation_rate

    return key_rotation_rate(10_000)


def _look(client: Any, path: str) -> None:
    response = client.get(f"/admin/google_link/{path}")
    assert response.status_code == 200, path


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _best(work: Callable[[], Any]) -> float:
    """Return the shortest time of several runs, to exclude the effect of other processes."""
    return min(_timed(work) for _ in range(9))


if __name__ == "__main__":
    main()
