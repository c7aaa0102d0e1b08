"""Measures operations: key rotation, pages with a million accounts, and deletion of users."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from threading import Event, Thread
from typing import Any

from django.conf import settings

Figures = dict[str, Any]

_BATCH = 5000

# It would take minutes to encrypt two million tokens, and none is decrypted here.
_MANY_USERS = """
INSERT INTO auth_user (username, password, first_name, last_name, email, is_superuser, is_staff,
    is_active, date_joined)
SELECT 'user' || n, '', '', '', '', false, false, true, now() FROM generate_series(%s, %s) n
"""
_MANY_ACCOUNTS = """
INSERT INTO google_link_googleaccount (id, user_id, client, issuer, client_id, sub, email,
    email_verified, name, picture, hosted_domain, label, is_default, is_chosen_default,
    granted_scopes, refresh_token_scopes, status, status_reason, status_changed_at,
    sealed_refresh_token, sealed_access_token, grant_version, refresh_failures, refresh_problem,
    refresh_error, linked_at, granted_at, refresh_token_prefix_digest, refresh_token_hash_digest,
    without_refresh_token)
SELECT gen_random_uuid(), u.id, 'default', 'https://accounts.google.com', 'id', '1' || u.id,
    u.username || '@example.com', true, u.username, '', '', '', true, false,
    '["email", "openid", "profile"]', '["email", "openid", "profile"]',
    CASE WHEN u.id %% 10 = 0 THEN 'needs_reauthorization' ELSE 'active' END,
    CASE WHEN u.id %% 10 = 0 THEN 'revoked' ELSE '' END, now(),
    %s || repeat(md5(u.id::text), 5), %s || repeat(md5(u.id::text), 9), 1, 0, '', '',
    now() - (random() * 1000) * interval '1 day', now(), md5('p' || u.id), md5('h' || u.id),
    false
FROM auth_user u WHERE NOT EXISTS (SELECT FROM google_link_googleaccount a WHERE a.user_id = u.id)
"""


def key_rotation() -> Figures:
    """Row 4: 20,000 accounts re-encrypted, and how many concurrent refreshes are lost."""
    from django_google_link.operations.rotate_keys import rotate

    ways: dict[str, Callable[[], Any]] = {"ours": lambda: list(rotate()), "save": _save_each}
    figures: Figures = {}
    for name, way in ways.items():
        _make_accounts(20_000)
        with _new_key():
            figures[name] = _timed(way)
        _make_accounts(2_000)
        with _new_key(), _refreshing() as refreshed:
            way()
        figures[f"lost_by_{name}"] = _count_lost(refreshed)
        figures[f"refreshed_by_{name}"] = len(refreshed)
    return figures


def key_rotation_rate(count: int) -> float:
    """Return how many links per second are encrypted with a new key."""
    from django_google_link.models import GoogleAccount
    from django_google_link.operations.rotate_keys import rotate

    _make_accounts(count)
    with _new_key():
        seconds = _timed(lambda: list(rotate()))
    google_link: dict[str, Any] = settings.GOOGLE_LINK
    del google_link["ENCRYPTION_KEYS"][0]  # Nothing is left that it would open.
    GoogleAccount.objects.all()._raw_delete("default")
    return count / seconds


def million_accounts() -> Figures:
    """Row 6: the pages of the admin and the status command, with 1,000 accounts and 1,000,000."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("olga"))
    figures: Figures = {}
    for count in (1_000, 1_000_000):
        _grow_to(count)
        works = {
            "list": lambda: _look(client, ""),
            "lost": lambda: _look(client, "?status__exact=needs_reauthorization"),
            "search": lambda: _look(client, "?q=user77@"),
            "status": _status_command,
        }
        for name, work in works.items():
            figures.setdefault(name, []).append(_median(work))
    return {name: after / before for name, (before, after) in figures.items()}


def deleted_users() -> Figures:
    """Row 12: 50,000 users deleted by a queryset, each with a link if the app is installed."""
    from django.contrib.auth import get_user_model
    from django.db import connection

    users = get_user_model().objects
    with connection.cursor() as cursor:
        cursor.execute(_MANY_USERS, [0, 49_999])
        cursor.execute("VACUUM ANALYZE")
    if "django_google_link" in settings.INSTALLED_APPS:
        _grow_to(50_000)
    queries = 0

    def count(execute: Any, *arguments: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*arguments)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connection.execute_wrapper(count):
        seconds = _timed(lambda: users.all().delete())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "queries": queries, "megabytes": (after - before) / 1024}


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _median(work: Callable[[], Any]) -> float:
    work()
    return median(_timed(work) for _ in range(9))


def _make_accounts(count: int) -> None:
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from django_google_link.models import GoogleAccount
    from django_google_link.secret import Secret

    now = timezone.now()
    GoogleAccount.objects.all()._raw_delete("default")
    user, _ = get_user_model().objects.get_or_create(username="owner")
    rows = []
    for n in range(count):
        row = GoogleAccount(user=user, client="default", sub=str(n))
        row.seal_token("refresh_token", Secret(f"1//{n}" * 20))
        row.seal_token("access_token", Secret(f"ya29.{n}" * 25))
        in_use = n % 10 == 0  # Access tokens live an hour.
        row.access_token_expires_at = now + timedelta(hours=1 if in_use else -1)
        rows.append(row)
    GoogleAccount.objects.bulk_create(rows, batch_size=_BATCH)


@contextmanager
def _new_key() -> Iterator[None]:
    """Add a new key before the others."""
    from django_google_link.encryption.keyring import make_key

    google_link: dict[str, Any] = settings.GOOGLE_LINK
    google_link["ENCRYPTION_KEYS"].insert(0, make_key())
    yield


def _save_each() -> None:
    """Re-encrypt everything in the obvious way."""
    from django_google_link.models import GoogleAccount, TokenName

    names: tuple[TokenName, ...] = ("refresh_token", "access_token")
    for row in GoogleAccount.objects.iterator():
        for name in names:
            if token := row.unseal_token(name):
                row.seal_token(name, token)
        row.save()


@contextmanager
def _refreshing() -> Iterator[dict[Any, str]]:
    """Store token responses for random accounts, and record the last token of each."""
    stopped, tokens = Event(), {}

    def work() -> None:
        from django.db import connection

        while not stopped.is_set():
            row, token = _refresh_one()
            tokens[row] = token
        connection.close()

    thread = Thread(target=work)
    thread.start()
    try:
        yield tokens
    finally:
        stopped.set()
        thread.join()


def _refresh_one() -> tuple[Any, str]:
    from django.utils import timezone

    from django_google_link.accounts import lease
    from django_google_link.accounts.refreshed_tokens import save_refresh
    from django_google_link.models import GoogleAccount
    from django_google_link.oauth.endpoints import TokenResponse
    from django_google_link.secret import Secret

    rows = GoogleAccount.objects.using("default")
    row = rows.get(sub=str(random.randrange(2_000)))
    token = f"ya29.new.{random.random()}"
    response = TokenResponse(
        access_token=Secret(token),
        access_token_expires_at=timezone.now() + timedelta(hours=1),
        refresh_token=None,
        refresh_token_expires_at=None,
        scopes=(),
        id_token=None,
    )
    save_refresh(row, response, guard=lease.rows_still_ours(rows, row, None), is_forced=False)
    return row.pk, token


def _count_lost(refreshed: dict[Any, str]) -> int:
    """Return how many tokens are not those of the last refresh."""
    from django_google_link.models import GoogleAccount
    from django_google_link.secret import Secret

    rows = GoogleAccount.objects.in_bulk(list(refreshed))
    return sum(
        rows[pk].unseal_token("access_token") != Secret(token) for pk, token in refreshed.items()
    )


def _grow_to(count: int) -> None:
    from django.db import connection

    from django_google_link.encryption.format import sealed_prefix
    from django_google_link.encryption.keyring import key_ids

    seal = sealed_prefix(key_ids()[0])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM auth_user")
        [(there,)] = cursor.fetchall()
        cursor.execute(_MANY_USERS, [there, count - 1])
        cursor.execute(_MANY_ACCOUNTS, [seal, seal])
        cursor.execute("VACUUM ANALYZE")


def _look(client: Any, query: str) -> None:
    response = client.get(f"/admin/google_link/googleaccount/{query}")
    assert response.status_code == 200


def _status_command() -> None:
    """Run the command in a separate process, as an operator does."""
    name = str(settings.DATABASES["default"]["NAME"])
    client = {"CLIENT_ID": "id", "CLIENT_SECRET": "secret"}
    subprocess.run(
        [sys.executable, "-m", "django", "google_link_status", "--json"],
        env={**os.environ, "BENCH_NAME": name, "BENCH_GOOGLE": json.dumps(client)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
