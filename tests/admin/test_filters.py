"""The admin's filters use indexes, since there may be a million rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import RequestFactory

from django_google_link.admin import GoogleAccountAdmin, HistoryEntryAdmin
from django_google_link.models import GoogleAccount, HistoryEntry
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import new_user

pytestmark = pytest.mark.django_db

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="asks PostgreSQL how it would"
)
FILTERS = {
    "status__exact=needs_reauthorization": "status",
    "status_reason=revoked": "status",
    "status_reason=session_policy": "status",
    "refresh=failing": "refresh_failing_since",
    "client=default": "client",
    "client=other": "client",
    "key=other": "sealed_by",
}
HISTORY_FILTERS = {
    "event=linked": "event",
    "actor_kind=staff": "actor_kind",
    "client=default": "client",
    "client=other": "client",
}


def filtered(query: str) -> Any:
    """Return the rows of the admin's list of accounts."""
    return rows_of(GoogleAccountAdmin(GoogleAccount, admin.site), query)


def rows_of(page: Any, query: str) -> Any:
    """Return the rows of an admin list."""
    request = RequestFactory().get(f"/?{query}")
    request.user = get_user_model()(username="olga", is_superuser=True, is_active=True)
    return page.get_changelist_instance(request).get_queryset(request)


@on_postgresql
@pytest.mark.parametrize("query", FILTERS)
def test_filter_is_answered_by_an_index(query: str) -> None:
    """PostgreSQL does not scan the table for any filter."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = filtered(query).select_related(None).order_by().explain()

    # With the column that its index begins with: else it reads all of the index.
    assert re.search(rf"Index Cond: \(+{FILTERS[query]}\b", plan)


@on_postgresql
@pytest.mark.parametrize("query", HISTORY_FILTERS)
def test_filter_of_the_history_is_answered_by_an_index(query: str) -> None:
    """PostgreSQL does not scan the history, which is longer than the list of accounts."""
    rows = rows_of(HistoryEntryAdmin(HistoryEntry, admin.site), query)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = rows.order_by().explain()

    assert re.search(rf"Index Cond: \(+{HISTORY_FILTERS[query]}\b", plan)


@on_postgresql
def test_no_index_is_the_beginning_of_another() -> None:
    """No index is a prefix of another, since each costs time with every write."""
    with connection.cursor() as cursor:
        table = GoogleAccount._meta.db_table
        found = connection.introspection.get_constraints(cursor, table).values()
    indexes = [tuple(one["columns"]) for one in found if one["index"] or one["unique"]]
    partial = ("user_id", "client")  # Of the one default.

    indexes = [columns for columns in indexes if columns != partial]
    assert len(indexes) == len(set(indexes)) == 12
    for columns in indexes:
        assert not any(other[: len(columns)] == columns for other in indexes if other != columns)


@pytest.mark.matrix
@pytest.mark.parametrize("known", [(), ("b",), ("b", "d"), ("d", "b"), ("D", "b", "c")])
def test_clients_that_are_not_configured(known: tuple[str, ...], settings: Any) -> None:
    """All other clients are matched, wherever the collation sorts them."""
    names = ("A", "B", "C", "D", "E", "a", "b", "c", "d", "e")
    user = new_user()
    for name in names:
        make_google_account(user, client=name, sub=name)
    client = {"CLIENT_ID": "id", "CLIENT_SECRET": "secret"}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": dict.fromkeys(known, client)}

    found = filtered("client=other").values_list("client", flat=True)

    assert sorted(found) == sorted(set(names) - set(known))
