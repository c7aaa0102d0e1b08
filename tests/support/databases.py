"""Databases with real commits, visible to other threads and processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections
from pytest_django import Settings


@contextmanager
def file_database(path: Path, **options: Any) -> Iterator[None]:
    """Use an SQLite file: commits are real, and threads may share it.

    Transactions begin as without any options: a transaction that reads first cannot write later.
    Threads have to close their connections when they end.

    Args:
        path: the path of the file.
        options: the ``OPTIONS`` of the database.
    """
    path.write_bytes(_tables())
    with _connected_to(path, **options):
        yield


@cache
def _tables() -> bytes:
    """Return a file with empty tables, made once because that takes longer than a test."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "db.sqlite3"
        with _connected_to(path), connection.schema_editor() as editor:
            for model in apps.get_models():
                if not model._meta.proxy:
                    editor.create_model(model)
        return path.read_bytes()


@contextmanager
def _connected_to(path: Path, **options: Any) -> Iterator[None]:
    before, settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = {
        **settings,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": options,
    }
    connections["default"] = connections.create_connection("default")
    try:
        ContentType.objects.clear_cache()
        yield
    finally:
        ContentType.objects.clear_cache()
        connection.close()
        connections.settings["default"], connections["default"] = settings, before


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make these calls at the same moment, each in its own thread; return their results."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@asynccontextmanager
async def thread_of_its_own() -> AsyncIterator[None]:
    """Have ``sync_to_async`` use a new thread, as for a request, and close its connections.

    The thread shared by all event loops has connections to an earlier test's database.
    """
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await sync_to_async(connections.close_all)()


def new_user(name: str = "clara") -> Any:
    """Create a user in the current database."""
    return get_user_model().objects.create_user(name, f"{name}@example.com", "pw")


_READ_ONLY = {
    "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
    "postgresql": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE"),
}


@contextmanager
def read_only() -> Iterator[None]:
    """Make this thread's connection read-only."""
    on, off = _READ_ONLY[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(on)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(off)


@contextmanager
def second_connection(settings: Settings) -> Iterator[None]:
    """Let ``REFRESH_USING`` name another connection to the same database."""
    default = connections.settings["default"]
    connections.settings["apart"] = default
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_USING": "apart"}
    connections["apart"] = connections.create_connection("default")
    # On SQLite it is refused, though it would do as long as the transaction has only read.
    connections.settings["apart"] = {**default, "ENGINE": "another"}
    try:
        yield
    finally:
        connections["apart"].close()
        del connections["apart"]
        del connections.settings["apart"]
