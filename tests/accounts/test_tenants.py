"""Tenants that share a database: work in other threads is done for the caller's tenant."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.db.backends.signals import connection_created
from pytest_django import Settings

from django_google_link import services
from django_google_link.accounts import usage
from django_google_link.accounts.authorization_requests import PendingAuthorization
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.accounts.tickets import issue_ticket, open_ticket
from django_google_link.accounts.transactions import run_durably, run_in_transaction
from django_google_link.exceptions import MissingScopesError, NotLinkedError, StateError
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import run
from tests.support.accounts import stale
from tests.support.constants import CALENDAR, TASKS
from tests.support.databases import new_user, second_connection
from tests.support.schemas import (
    django_tenants,
    execute,
    role,
    row_level_security,
    schemas,
)
from tests.support.times import in_seconds

pytestmark = pytest.mark.usefixtures("shared_database")


def refresh_all() -> str:
    """Run the command; return its output."""
    output = io.StringIO()
    call_command("google_link_refresh", "--expiring-within=10", stdout=output)
    return output.getvalue()


def in_thread(work: Any) -> Any:
    """Run a function in another thread, and close its connections."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


if os.environ.get("TEST_DATABASE") == "postgresql":

    @pytest.fixture
    def tenants() -> Iterator[None]:
        """Two tenants with their own schemas."""
        with schemas("blue", "red"):
            yield

    @pytest.fixture
    def connection(tenants: None) -> Iterator[Any]:
        """This thread's connection under django-tenants."""
        with django_tenants() as connection:
            yield connection

    def add_stale_accounts(google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
        """Link three accounts; return one of them."""
        user = new_user()
        for name in ("work", "home"):
            stale(user, google, google.add_user(f"{name}.{alice.email}"))
        return stale(user, google, alice)

    def count_fresh() -> int:
        """Return the number of accounts with a valid access token."""
        return GoogleAccount.objects.filter(access_token_expires_at__gt=in_seconds(0)).count()

    def test_search_path_of_the_caller(tenants: None, google: FakeGoogle, alice: FakeUser) -> None:
        """Work is done in the caller's schema."""
        execute("SET search_path TO blue")
        add_stale_accounts(google, alice)

        assert "3 refreshed" in refresh_all()

        assert count_fresh() == 3

    def test_connections_that_are_told_the_tenant(
        tenants: None, google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Connections prepared as in the guide see the same rows in every thread."""
        guide = run("howto/tenants", "set_config")
        try:
            guide["set_tenant"]("blue")
            add_stale_accounts(google, alice)
            connections["default"].close()
            caplog.set_level("INFO")

            assert "3 refreshed" in refresh_all()

            assert "Only one thread" not in caplog.text
        finally:
            connection_created.disconnect(guide["prepare"])

    def test_rows_of_the_caller(google: FakeGoogle, alice: FakeUser) -> None:
        """Row-level security may depend on session settings."""
        account = add_stale_accounts(google, alice)

        with row_level_security():
            assert "Nothing is due." in refresh_all()
            execute(f"SET app.tenant TO '{account.user_id}'")
            assert "3 refreshed" in refresh_all()

    def test_schema_of_django_tenants(
        connection: Any, google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The command's threads use the caller's tenant."""
        connection.set_schema("blue")
        add_stale_accounts(google, alice)
        connection.set_schema("red")
        caplog.set_level("INFO")
        add_stale_accounts(google, google.add_user("red@gmail.com"))

        assert "3 refreshed" in refresh_all()

        assert count_fresh() == 3
        assert "Only one thread" not in caplog.text
        connection.set_schema("blue")
        assert count_fresh() == 0

    @pytest.mark.parametrize("is_async", [False, True])
    def test_credentials_stay_with_their_tenant(
        connection: Any, google: FakeGoogle, alice: FakeUser, is_async: bool
    ) -> None:
        """They refresh in threads without a tenant, and while another tenant is selected."""
        connection.set_schema("blue")
        account = add_stale_accounts(google, alice)
        credentials = services.credentials_for(account)
        copy = credentials.with_quota_project("another")
        connection.set_schema("red")

        async def refresh_in_loop() -> None:
            credentials.refresh(None)

        if is_async:
            in_thread(lambda: asyncio.run(refresh_in_loop()))
        else:
            in_thread(lambda: credentials.refresh(None))
            copy.refresh(None)

        assert connection.schema_name == "red"
        connection.set_schema("blue")
        assert count_fresh() == 1
        credentials.refresh(None)
        assert connection.schema_name == "blue"

    def test_httpx_asks_for_the_user_of_the_tenant(
        connection: Any, google: FakeGoogle, alice: FakeUser
    ) -> None:
        """Users of two tenants may have the same primary key."""
        connection.set_schema("red")
        stale(new_user(), google, google.add_user("red@gmail.com"))
        connection.set_schema("blue")
        user = stale(new_user(), google, alice).user
        auth = services.httpx_auth(user)
        connection.set_schema("red")

        flow = auth.sync_auth_flow(httpx.Request("GET", "https://www.googleapis.com/"))
        asked = next(flow)

        connection.set_schema("blue")
        token = services.access_token(user)
        assert asked.headers["Authorization"] == f"Bearer {token}"

    def test_scope_that_is_missing_is_the_tenants(
        connection: Any, google: FakeGoogle, alice: FakeUser, configure: Any
    ) -> None:
        """The account is looked up where it was linked, in whatever thread."""
        configure(API_ENDPOINT=google.url)
        connection.set_schema("blue")
        account = stale(new_user(), google, alice, scopes=[CALENDAR, TASKS])
        session = services.authorized_session(account, scopes=[TASKS])
        GoogleAccount.objects.update(granted_scopes=[CALENDAR])
        connection.set_schema("red")
        body = {"error": {"code": 403, "errors": [{"reason": "insufficientPermissions"}]}}
        google.fail_next(endpoint="/tasks/v1/lists", status=403, body=body)

        with pytest.raises(MissingScopesError):
            in_thread(lambda: session.get("https://tasks.googleapis.com/tasks/v1/lists"))

        assert connection.schema_name == "red"

    def test_use_is_noted_where_it_was(
        connection: Any, google: FakeGoogle, alice: FakeUser
    ) -> None:
        """The end of another tenant's request in another thread does not write it."""
        connection.set_schema("blue")
        account = add_stale_accounts(google, alice)

        def serve_red() -> None:
            connections["default"].set_schema("red")
            usage.begin_request()
            usage.finish_request()

        GoogleAccount.objects.update(last_used_at=None)
        account.refresh_from_db()

        usage.begin_request()
        services.access_token(account, scopes=[CALENDAR])
        in_thread(serve_red)
        usage.finish_request()

        account.refresh_from_db()
        assert account.last_used_at is not None

    def test_search_path_outlives_a_race_that_was_lost(tenants: None) -> None:
        """The retry uses the same schema."""
        execute("SET search_path TO blue")
        attempts: list[Any] = []

        def add() -> None:
            attempts.append(new_user(f"user{len(attempts)}"))
            if len(attempts) == 1:
                raise IntegrityError

        run_in_transaction(add, using="default")

        execute("SET search_path TO blue")
        assert list(type(attempts[1]).objects.values_list("username", flat=True)) == ["user1"]

    def test_role_outlives_a_race_that_was_lost(shared_database: None) -> None:
        """The retry uses the same role."""
        seen: list[str] = []

        def look() -> None:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT current_user")
                seen.append(cursor.fetchone()[0])
            if len(seen) == 1:
                raise IntegrityError

        with role() as name:
            execute(f"SET ROLE {name}")
            run_in_transaction(look, using="default")

        assert seen == [name, name]

    def assert_is_kept(account: GoogleAccount) -> None:
        """Check that a token outlives the transaction in which it was requested."""
        with transaction.atomic():
            token = services.access_token(account)
            transaction.set_rollback(True)

        account.refresh_from_db()
        assert account.unseal_token("access_token").reveal() == token

    def test_second_connection_has_the_role(
        google: FakeGoogle, alice: FakeUser, settings: Settings
    ) -> None:
        """Policies show it the caller's rows."""
        user = new_user()
        with role() as name, second_connection(settings):
            execute(f"SET ROLE {name}")
            account = stale(user, google, alice)
            assert_is_kept(account)
            execute("RESET ROLE")
            account.access_token_expires_at = in_seconds(-60)
            with transaction.atomic(), pytest.raises(NotLinkedError):
                services.access_token(account)

    def test_second_connection_has_the_search_path(
        tenants: None, google: FakeGoogle, alice: FakeUser, settings: Settings
    ) -> None:
        """It finds the account in the caller's schema."""
        execute("SET search_path TO blue")
        account = add_stale_accounts(google, alice)

        with second_connection(settings):
            assert_is_kept(account)

    def test_second_connection_has_the_tenant(
        connection: Any, google: FakeGoogle, alice: FakeUser, settings: Settings
    ) -> None:
        """django-tenants' middleware sets the tenant on the first connection only."""
        connection.set_schema("blue")
        account = add_stale_accounts(google, alice)

        with second_connection(settings):
            assert_is_kept(account)
            assert connections["apart"].schema_name == "blue"

    def test_ticket_of_another_tenant(connection: Any, google: FakeGoogle) -> None:
        """It is refused, although the users have the same primary key."""
        connection.set_schema("blue")
        pending = PendingAuthorization(
            user="1", client="default", scopes=[], required=[], return_url="/", redirect_uri="/"
        )
        ticket, _ = issue_ticket(pending, mode="redirect")
        assert open_ticket(ticket, user="1").pending == pending

        connection.set_schema("red")
        with pytest.raises(StateError):
            open_ticket(ticket, user="1")

    @pytest.mark.parametrize("is_async", [False, True])
    def test_link_of_another_tenant(connection: Any, is_async: bool) -> None:
        """If tenants share a host, the schema tells their users apart.

        An event loop has no connection from which the tenant could be read.
        """
        request = AuthorizeRequest(
            user="1", host="site", client="default", scopes=(), required=(), return_url="/"
        )
        connection.set_schema("blue")

        async def sign_in_loop() -> str:
            return request.sign()

        signed = asyncio.run(sign_in_loop()) if is_async else request.sign()

        assert AuthorizeRequest.unsign(signed, user="1", host="site").user == "1"
        connection.set_schema("red")
        if is_async:
            assert AuthorizeRequest.unsign(signed, user="1", host="site").user == "1"
        else:
            with pytest.raises(StateError, match="another tenant"):
                AuthorizeRequest.unsign(signed, user="1", host="site")

    def test_connection_that_was_lost_is_opened_anew(shared_database: None) -> None:
        """The next attempt uses a new connection."""
        attempts: list[int] = []

        def work() -> int:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                attempts.append(cursor.fetchone()[0])
                if len(attempts) == 1:
                    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return len(attempts)

        assert run_durably(work, using="default") == 2

        assert attempts[0] != attempts[1]
