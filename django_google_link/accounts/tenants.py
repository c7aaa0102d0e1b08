"""Database tenants: which rows a connection sees when tenants share a database.

Each tenant may have its own schema, role or rows, and the tenant is selected on the connection.
Connections belong to threads, so work in another thread has to select the tenant there, or detect
that it sees different rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import DatabaseError, InterfaceError, connections, router

from ..models import GoogleAccount


@dataclass(frozen=True, kw_only=True)
class _Tenant:
    """What django-tenants stores on a connection.

    Args:
        tenant: the tenant's row, or a stand-in for it.
        include_public: whether the shared tables are visible as well.
    """

    tenant: Any
    include_public: bool


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows a connection sees.

    Args:
        tenant: what django-tenants stores on the connection, if it is used.
        role_and_path: the role and the search path; only on PostgreSQL.
    """

    tenant: _Tenant | None
    role_and_path: tuple[str, str] | None


#: By the alias of the database.
Tenants = Mapping[str, _Tenant]

# Which tables a connection sees depends on these. The schema of temporary tables, which each
# connection gets when it first needs one, is left out.
_VIEWS = {
    "postgresql": (
        "SELECT current_user, session_user, ARRAY(SELECT name FROM unnest(current_schemas(true)) "
        "WITH ORDINALITY AS path(name, n) WHERE name NOT LIKE 'pg\\_temp%' ORDER BY n)::text"
    ),
    "mysql": "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE()",
    "sqlite": "SELECT name, file FROM pragma_database_list WHERE name <> 'temp'",
}
# Tables with these names that this session sees differently from others: temporary ones, and those
# with row-level security, which may depend on any session setting.
_OWN_TABLES = {
    "postgresql": (
        "SELECT 1 FROM pg_class WHERE relname IN %s AND pg_table_is_visible(oid) "
        "AND (relpersistence = 't' OR row_security_active(oid))"
    ),
    "sqlite": "SELECT 1 FROM sqlite_temp_master WHERE name IN %s",
}


def name_tenant(using: str) -> str:
    """Return the name of the tenant whose schema is used; empty if connections have none.

    Args:
        using: the database alias.
    """
    return str(getattr(connections[using], "schema_name", None) or "")


def read_tenants() -> Tenants:
    """Return the tenants of this thread's connections; empty if they have none."""
    return {
        one.alias: _read_tenant(one)
        for one in connections.all(initialized_only=True)
        if getattr(one, "set_tenant", None) and getattr(one, "tenant", None)
    }


@contextmanager
def acting_for(tenants: Tenants) -> Iterator[None]:
    """Select these tenants on this thread's connections for the duration of the block.

    Args:
        tenants: as returned by :func:`read_tenants`, in this or another thread.
    """
    before = [(connections[alias], _read_tenant(connections[alias])) for alias in tenants]
    for alias, tenant in tenants.items():
        _set_tenant(connections[alias], tenant)
    try:
        yield
    finally:
        for connection, tenant in before:
            _set_tenant(connection, tenant)


def read_selection(*, using: str) -> Selection:
    """Return the tenant of a connection, and on PostgreSQL its role and search path.

    Other session settings, on which policies may depend, have names that are not known here.

    Args:
        using: the database alias.
    """
    connection = connections[using]
    tenant = _read_tenant(connection) if hasattr(connection, "set_tenant") else None
    if connection.vendor != "postgresql":
        return Selection(tenant=tenant, role_and_path=None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('role'), current_setting('search_path')")
        return Selection(tenant=tenant, role_and_path=cursor.fetchone())


def apply_selection(selection: Selection, *, using: str) -> None:
    """Apply a tenant, role and search path to another connection to the same database.

    Args:
        selection: as read from the first connection, however it was made there.
        using: the database alias of the other connection.
    """
    connection = connections[using]
    if selection.tenant and hasattr(connection, "set_tenant"):
        _set_tenant(connection, selection.tenant)
    if selection.role_and_path is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('role', %s, false), set_config('search_path', %s, false)",
            selection.role_and_path,
        )


def is_seen_alike(run: Callable[[Callable[[], bool]], bool]) -> bool:
    """Return whether another thread, with its own connections, sees the same rows as this one.

    The result is false where that cannot be known: inside a transaction, under row-level security,
    and if a table is really a view.

    Args:
        run: calls a function in another thread, and returns its result.
    """
    using = router.db_for_write(GoogleAccount)
    if connections[using].in_atomic_block or _is_filtered(using):
        return False
    here = _read_view(using)

    def sees_the_same() -> bool:
        # A router may depend on the thread.
        return router.db_for_write(GoogleAccount) == using and _read_view(using) == here

    try:
        return run(sees_the_same)
    except (DatabaseError, InterfaceError):
        return False


def _read_tenant(connection: Any) -> _Tenant:
    return _Tenant(tenant=connection.tenant, include_public=connection.include_public_schema)


def _set_tenant(connection: Any, tenant: _Tenant) -> None:
    # Only if needed: set_tenant also clears the cache of content types.
    if (connection.schema_name, connection.include_public_schema) != (
        tenant.tenant.schema_name,
        tenant.include_public,
    ):
        connection.set_tenant(tenant.tenant, tenant.include_public)


def _read_view(using: str) -> Any:
    """Return what determines to which tables names resolve on this thread's connection."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(_VIEWS.get(connection.vendor, "SELECT 1"))
        return cursor.fetchall()


def _is_filtered(using: str) -> bool:
    """Return whether this connection may see other rows of the accounts than another one."""
    connection = connections[using]
    app = apps.get_app_config(GoogleAccount._meta.app_label)
    tables = [model._meta.db_table for model in app.get_models()]
    with connection.cursor() as cursor:
        known = connection.introspection.get_table_list(cursor)
        if any(table.type == "v" and table.name in tables for table in known):
            return True
        if connection.vendor not in _OWN_TABLES:
            return False
        names = f"({', '.join(['%s'] * len(tables))})"
        cursor.execute(_OWN_TABLES[connection.vendor].replace("IN %s", f"IN {names}"), tables)
        return cursor.fetchone() is not None
