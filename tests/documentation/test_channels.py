"""The consumer of the guide to Channels, spoken to as a server does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser
from django.urls import path

from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import run
from tests.support.apis import link_account
from tests.support.constants import CALENDAR, EVENTS

# Channels closes old connections, and with them a transaction of the test.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.urls")]


@pytest.fixture
def consumer(google: FakeGoogle) -> Any:
    """The consumer of the page, whose API is the fake's."""
    return run("howto/channels", "class AgendaConsumer", apis=google.url)["AgendaConsumer"]


def talk(consumer: Any, user: Any, *messages: Any) -> list[dict[str, Any]]:
    """Open a connection as this user, send the messages, and return what comes back."""
    application = URLRouter([path("ws/agenda/", consumer.as_asgi())])
    scope = {"type": "websocket", "path": "/ws/agenda/", "headers": [], "user": user}

    async def run_conversation() -> list[dict[str, Any]]:
        socket = ApplicationCommunicator(application, scope)
        await socket.send_input({"type": "websocket.connect"})
        came = [await socket.receive_output()]
        for message in messages:
            await socket.send_input({"type": "websocket.receive", "text": json.dumps(message)})
            came.append(await socket.receive_output(10))
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait()
        return came

    return async_to_sync(run_conversation)()


def test_strangers_are_sent_away(consumer: Any) -> None:
    """Before anything is asked."""
    assert talk(consumer, AnonymousUser()) == [{"type": "websocket.close", "code": 4401}]


def test_linked_account_is_used(
    consumer: Any, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Also where the API refuses the token that is stored."""
    link_account(google, user, alice, CALENDAR)
    google.expire_access_tokens()

    _, first, second = talk(consumer, user, {}, {})

    assert [json.loads(came["text"]) for came in (first, second)] == [{"events": EVENTS}] * 2


def test_page_is_told_where_to_link(consumer: Any, user: Any) -> None:
    """By an address that is this user's."""
    _, answer = talk(consumer, user, {})

    told = json.loads(answer["text"])
    assert told["reason"] == "not_linked"
    assert told["url"].startswith("https://example.com/google/authorize/?")


def test_outage_is_told(consumer: Any, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """And the connection stays open."""
    link_account(google, user, alice, CALENDAR)
    user.google_accounts.update(sealed_access_token="")
    google.fail_next(status=503)

    _, answer = talk(consumer, user, {})

    assert json.loads(answer["text"]) == {"error": "google_unavailable"}
