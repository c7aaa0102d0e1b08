"""The interceptors of the guide, with a real server of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from django_google_link.exceptions import GrantLostError, RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.services import credentials_for
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import block_with
from tests.support.accounts import linked
from tests.support.databases import new_user, thread_of_its_own
from tests.support.times import in_seconds, until

grpc = pytest.importorskip("grpc")
pytestmark = [pytest.mark.clients, pytest.mark.usefixtures("shared_database")]

Server = tuple[str, list[str]]


def run_page(*texts: str) -> dict[str, Any]:
    """Run these blocks of the page, one after the other."""
    names: dict[str, Any] = {"__name__": "mysite"}
    for text in texts:
        exec(block_with("howto/grpc", text), names)
    return names


@pytest.fixture
def server(google: FakeGoogle) -> Iterator[Server]:
    """A server that honours Google's tokens."""
    from tests.clients.support import grpc_server

    with grpc_server(google) as server:
        yield server


@pytest.fixture
def account(google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """An account whose token lives."""
    return linked(new_user(), google, alice)


@pytest.fixture
def channel(server: Server, account: GoogleAccount) -> Iterator[Any]:
    """A channel that sends the account's token."""
    send_token = run_page("class SendToken(")["SendToken"]
    with grpc.insecure_channel(server[0]) as plain:
        yield grpc.intercept_channel(plain, send_token(credentials_for(account)))


def call(channel: Any) -> bytes:
    """Call the method with one answer."""
    from tests.clients.support import UNARY

    answer: bytes = channel.unary_unary(UNARY)(b"x", timeout=20, metadata=[("a", "b")])
    return answer


def stream(channel: Any) -> list[bytes]:
    """Call the method with three."""
    from tests.clients.support import STREAM

    return list(channel.unary_stream(STREAM)(b"x", timeout=20))


@pytest.mark.parametrize(("ask", "answer"), [(call, b"x"), (stream, [b"x"] * 3)])
def test_token_is_sent(channel: Any, google: FakeGoogle, ask: Any, answer: Any) -> None:
    """And replaced when its time has come."""
    assert ask(channel) == answer
    assert google.requests_to("token") == []


def test_refused_token_is_replaced(channel: Any, google: FakeGoogle, server: Server) -> None:
    """By one refresh, and the call is made again."""
    google.expire_access_tokens()

    assert [call(channel) for _ in range(3)] == [b"x"] * 3

    assert len(google.requests_to("token")) == 1
    assert len(server[1]) == 4


def test_refused_stream_fails_and_the_next_does_not(channel: Any, google: FakeGoogle) -> None:
    """It may have begun."""
    google.expire_access_tokens()

    with pytest.raises(grpc.RpcError) as caught:
        stream(channel)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    until(lambda: google.requests_to("token"))
    assert stream(channel) == [b"x"] * 3
    assert len(google.requests_to("token")) == 1


@pytest.mark.parametrize("ask", [call, stream])
def test_error_reaches_the_caller(
    google: FakeGoogle, alice: FakeUser, server: Server, ask: Any
) -> None:
    """At once: nothing is sent, and nothing is repeated."""
    account = linked(new_user("ben"), google, alice)
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60), sealed_access_token="")
    account.refresh_from_db()
    send_token = run_page("class SendToken(")["SendToken"]
    with grpc.insecure_channel(server[0]) as plain:
        channel = grpc.intercept_channel(plain, send_token(credentials_for(account)))
        google.fail_next()
        with pytest.raises(RefreshUnavailableError):
            ask(channel)
        GoogleAccount.objects.update(refresh_retry_at=None)
        google.revoke(alice)
        with pytest.raises(GrantLostError):
            ask(channel)

    assert server[1] == []


def test_server_that_refuses_everything(channel: Any, google: FakeGoogle, server: Server) -> None:
    """One refresh a minute, and the refusal is the answer."""
    google.fail_next(10, endpoint="/check", status=401)

    for _ in range(3):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    assert len(google.requests_to("token")) == 1
    assert len(server[1]) == 4


def test_client_of_google_s(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page makes it."""
    storage = pytest.importorskip("google.cloud.storage_control_v2")
    from tests.clients.support import grpc_server

    folder = storage.Folder
    methods = {
        "/google.storage.control.v2.StorageControl/GetFolder": (
            folder.serialize,
            lambda request: folder(name="found"),
        )
    }
    google.expire_access_tokens()
    with grpc_server(google, methods=methods) as (address, seen):
        plain = grpc.insecure_channel(address)
        monkeypatch.setattr(grpc, "secure_channel", lambda *args: plain)
        names = run_page("class SendToken(", "def make_client(")
        account.granted_scopes = [*account.granted_scopes, names["STORAGE"]]
        account.save()
        client = names["make_client"](account.user)

        assert client.get_folder(name="projects/_/buckets/b/folders/f", timeout=20).name == "found"
        plain.close()

    assert len(seen) == 2
    assert len(google.requests_to("token")) == 1


def test_refused_token_is_replaced_in_an_event_loop(
    google: FakeGoogle, account: GoogleAccount, server: Server
) -> None:
    """By the other interceptor of the page."""
    from tests.clients.support import UNARY

    send_token = run_page("class SendTokenAsync(")["SendTokenAsync"]
    google.expire_access_tokens()

    async def ask() -> list[Any]:
        interceptors = [send_token(account)]
        async with (
            thread_of_its_own(),
            grpc.aio.insecure_channel(server[0], interceptors=interceptors) as channel,
        ):
            method = channel.unary_unary(UNARY)
            return [await method(b"x", timeout=20) for _ in range(2)]

    assert asyncio.run(ask()) == [b"x"] * 2
    assert len(google.requests_to("token")) == 1
    assert len(server[1]) == 4
