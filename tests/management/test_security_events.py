"""``google_link_security_events``: registering at Google, and showing the registration."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from django_google_link.models import SecurityEvent
from django_google_link.testing import FakeGoogle, FakeServiceAccount
from tests.support.times import skip_pauses

pytestmark = pytest.mark.django_db

URL = "https://www.example.com/google/security-events/"
EVENTS = 7


@pytest.fixture
def configure_events(google: FakeGoogle, settings: Settings) -> Callable[..., None]:
    """Change keys of the settings."""

    def configure_events(**keys: Any) -> None:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **keys}

    return configure_events


@pytest.fixture(autouse=True)
def robot(
    google: FakeGoogle, configure_events: Callable[..., None], request: pytest.FixtureRequest
) -> FakeServiceAccount:
    """A service account that may register."""
    # The cache of a process outlives a test, and so would its token.
    account = google.add_service_account(f"robot-{id(request)}")
    configure_events(
        SECURITY_EVENTS_URL=URL,
        SERVICE_ACCOUNTS={
            "risc": {"INFO": google.service_account_info(account), "API_ENDPOINT": google.url}
        },
    )
    return account


def run(action: str, **options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_security_events", action, stdout=out, **options)
    return out.getvalue()


def refused(action: str, match: str, **options: Any) -> None:
    """Run the command, and check that it fails with this error."""
    with pytest.raises(CommandError, match=match):
        run(action, **options)


def test_register(google: FakeGoogle) -> None:
    """All supported events are requested for the URL in the settings."""
    assert run("register") == f"Google sends security events to {URL}. Run verify next.\n"

    stream = google.event_stream
    assert (stream["url"], stream["status"]) == (URL, "enabled")
    assert len(stream["events_requested"]) == EVENTS
    [request] = google.requests_to("stream_update")
    assert request.json["delivery"]["delivery_method"].endswith("/delivery-method/push")


def test_register_again_after_unregistering(google: FakeGoogle) -> None:
    """Registering again enables a disabled stream."""
    run("register")
    assert run("unregister") == "Google no longer sends security events.\n"
    assert google.event_stream["status"] == "disabled"

    run("register")

    assert google.event_stream["status"] == "enabled"


def test_status(google: FakeGoogle, configure_events: Callable[..., None]) -> None:
    """The status shows the registration, the events received, and a differing URL."""
    assert run("status").startswith(
        "No receiver is registered at Google.\n       0 events received\n"
    )
    run("register")
    google.send_security_event(Client(), "verification")

    said = run("status")
    assert f"Google sends security events to {URL}\n" in said
    assert "       1 events received, the last at 20" in said
    assert "       0 links to be checked\n" in said
    assert "another" not in said

    run("unregister")
    configure_events(SECURITY_EVENTS_URL="https://new.example.com/")
    said = run("status")
    assert "Google would send (it is disabled) security events to" in said
    assert "SECURITY_EVENTS_URL differs: https://new.example.com/" in said


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_verify(
    google: FakeGoogle, live_server: LiveServer, configure_events: Callable[..., None]
) -> None:
    """Google sends an event with the given state, and the site receives it."""
    configure_events(SECURITY_EVENTS_URL=f"{live_server.url}/google/security-events/")
    run("register")

    assert run("verify") == f"The event arrived at {live_server.url}/google/security-events/.\n"

    [request] = google.requests_to("stream_verify")
    assert SecurityEvent.objects.get().state == request.json["state"]


def test_verify_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command fails if the URL cannot be reached."""
    run("register")
    skip_pauses(monkeypatch)

    refused("verify", f"No event arrived at {URL} within 30 s")
    refused("verify", "--timeout must be at least 1", timeout=0)


@pytest.mark.parametrize("action", ["register", "verify"])
def test_address_is_needed(configure_events: Callable[..., None], action: str) -> None:
    """The error says which setting is missing."""
    configure_events(SECURITY_EVENTS_URL=None)

    refused(action, r'Set GOOGLE_LINK\["SECURITY_EVENTS_URL"\] to the public URL')


def test_service_account_is_the_only_one(
    google: FakeGoogle, settings: Settings, configure_events: Callable[..., None]
) -> None:
    """The only service account is the default; among several, one must be named."""
    [account] = settings.GOOGLE_LINK["SERVICE_ACCOUNTS"].values()
    configure_events(SERVICE_ACCOUNTS={"one": account, "two": account})
    refused("register", "Pass --service-account: SERVICE_ACCOUNTS has one, two.")
    run("register", service_account="two")

    configure_events(SERVICE_ACCOUNTS={})
    refused("register", "SERVICE_ACCOUNTS has none")
    refused("register", "There is no service account 'x'", service_account="x")


def test_google_refuses_the_service_account(
    google: FakeGoogle, configure_events: Callable[..., None], settings: Settings
) -> None:
    """The error is reported if the account's key was deleted."""
    google.error_next("invalid_grant", description="Invalid JWT Signature.")

    refused("register", "Google refuses the service account: invalid_grant: Invalid JWT Signature")


def test_role_is_missing(google: FakeGoogle) -> None:
    """The error lists the possible causes."""
    error = {"code": 403, "status": "PERMISSION_DENIED", "message": "No."}
    google.fail_next(endpoint="stream_update", status=403, body={"error": error})

    refused("register", "PERMISSION_DENIED: No.*roles/riscconfigs.admin")


def test_google_is_away(google: FakeGoogle) -> None:
    """The error says to try again."""
    google.fail_next(endpoint="stream_update", status=503)

    refused("register", "No usable response at present.*Try again")


def test_answer_makes_no_sense(google: FakeGoogle) -> None:
    """An unexpected value of ``delivery`` causes no traceback."""
    run("register")
    google.tamper_next_response("stream", fields={"delivery": 7})

    assert run("status").startswith("No receiver is registered at Google.")


def test_fake_refuses_what_google_would(google: FakeGoogle) -> None:
    """The fake refuses to verify a stream that is not registered or is disabled."""
    refused("verify", "The stream is not enabled")
    run("register")
    run("unregister")
    refused("verify", "The stream is not enabled")
