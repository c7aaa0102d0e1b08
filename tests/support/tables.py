"""The contents of the database, and the queries sent to it."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_google_link.models import GoogleAccount


def table() -> list[tuple[Any, ...]]:
    """Return the whole table of accounts, as stored."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {GoogleAccount._meta.db_table} ORDER BY id")
        return cursor.fetchall()


def delete_rows() -> None:
    """Delete all accounts without Django's signals: nothing is sent or revoked."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {GoogleAccount._meta.db_table}")


def links() -> list[dict[str, Any]]:
    """Return the accounts, without the state of failing refreshes."""
    rows = list(GoogleAccount.objects.order_by("pk").values())
    return [{**row, "refresh_failing_since": None} for row in rows]


def queries_of_ours(captured: CaptureQueriesContext) -> list[str]:
    """Return the queries for linked accounts."""
    table = GoogleAccount._meta.db_table
    return [query["sql"] for query in captured.captured_queries if table in query["sql"]]
