"""Tenants in one PostgreSQL database, each with its own schema or its own rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection, connections

from django_google_link.models import GoogleAccount


def execute(*statements: str) -> None:
    """Run these statements on this thread's connection."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def schemas(*names: str) -> Iterator[None]:
    """Create such schemas, each with tables for users and their links."""
    models = [get_user_model(), *apps.get_app_config(GoogleAccount._meta.app_label).get_models()]
    tables = [model._meta.db_table for model in models]
    execute("SET search_path TO public")
    for name in names:
        execute(f"CREATE SCHEMA {name}")
        execute(*(f"CREATE TABLE {name}.{one} (LIKE public.{one} INCLUDING ALL)" for one in tables))
    try:
        yield
    finally:
        execute("SET search_path TO public", *(f"DROP SCHEMA {name} CASCADE" for name in names))
        connection.close()


@contextmanager
def row_level_security() -> Iterator[None]:
    """Restrict sessions to the links of the user in ``app.tenant``."""
    table = GoogleAccount._meta.db_table
    execute(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON {table} USING (user_id::text = current_setting('app.tenant', true))",
    )
    try:
        yield
    finally:
        execute(
            f"DROP POLICY own ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        )
        connection.close()


@contextmanager
def role() -> Iterator[str]:
    """Let there be a role that sees all links, which its users see in no other role."""
    table, name = GoogleAccount._meta.db_table, f"google_link_role_{os.getpid()}"
    execute(
        f"CREATE ROLE {name}",
        f"GRANT {name} TO CURRENT_USER",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON {table} USING (current_user = '{name}')",
    )
    try:
        yield name
    finally:
        execute(
            "RESET ROLE",
            f"DROP POLICY own ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"DROP OWNED BY {name}",
            f"DROP ROLE {name}",
        )
        connection.close()


@contextmanager
def django_tenants() -> Iterator[Any]:
    """Connect as django-tenants does, and return this thread's connection."""
    before, settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = {**settings, "ENGINE": "django_tenants.postgresql_backend"}
    connections["default"] = connections.create_connection("default")
    try:
        yield connections["default"]
    finally:
        connections["default"].close()
        connections.settings["default"], connections["default"] = settings, before
