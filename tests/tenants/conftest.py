"""Two tenants, blue and red, each at a host of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import setup_databases, teardown_databases

from django_google_link.testing import FakeGoogle
from tests.documentation.pages import ROOT
from tests.support.tenants import NAMES, site_environment

IS_HERE = os.environ.get("DJANGO_SETTINGS_MODULE") == "tests.tenants.settings"

# Other settings have no tenants.
collect_ignore_glob = [] if IS_HERE else ["test_*.py"]


if IS_HERE:

    @pytest.fixture(scope="session")
    def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
        """A database with the schemas of both, which take longer to make than to empty."""
        from tests.tenants.customers.models import Customer, Domain

        with django_db_blocker.unblock():
            databases = setup_databases(verbosity=0, interactive=False)
            for name in NAMES:
                customer = Customer.objects.create(schema_name=name, name=name)
                Domain.objects.create(domain=f"{name}.example", tenant=customer)
        yield
        with django_db_blocker.unblock():
            teardown_databases(databases, verbosity=0)


@pytest.fixture
def tenants(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Two tenants, in which all is committed, and nothing left afterwards."""
    with django_db_blocker.unblock():
        try:
            yield
        finally:
            for name in ["public", *NAMES]:
                connection.set_schema(name, include_public=False)
                _empty_tables()
            connection.set_schema_to_public()


def _empty_tables() -> None:
    kept = {"django_migrations", "django_content_type", "auth_permission"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        names = {name for (name,) in cursor.fetchall()} - kept
        names = {name for name in names if not name.startswith("customers_")}
        if names:
            cursor.execute(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")


@pytest.fixture
def tenants_google(tenants: None, google: FakeGoogle) -> FakeGoogle:
    """A Google that sends users back to both hosts."""
    google.client.redirect_uris += [f"https://{name}.example/google/callback/" for name in NAMES]
    return google


@pytest.fixture
def visit() -> Callable[[str], Client]:
    """Return a function that makes a user of a tenant, and the browser in which they log in."""

    def visit(name: str) -> Client:
        connection.set_schema(name)
        username = name if settings.LAYOUT == "shared" else "anna"
        user, _ = get_user_model().objects.get_or_create(username=username)
        browser = Client(headers={"host": f"{name}.example", "x-forwarded-proto": "https"})
        browser.force_login(user)
        return browser

    return visit


@pytest.fixture
def manage() -> Callable[..., tuple[int, str]]:
    """Return a function that calls ``manage.py`` as a shell does: exit code and output."""

    def manage(*words: str) -> tuple[int, str]:
        process = subprocess.run(
            [sys.executable, "-m", "django", *words],
            check=False,
            cwd=ROOT,
            env=site_environment(),
            capture_output=True,
            text=True,
        )
        return process.returncode, process.stdout + process.stderr

    return manage
