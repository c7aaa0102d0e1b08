"""The page for whoever is on call says what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal
from django.test import RequestFactory
from django.utils import timezone
from django.views.debug import ExceptionReporter
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY

import django_google_link
from django_google_link import signals
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle
from django_google_link.testing.accounts import make_google_account
from tests.documentation.pages import names_in, run, tables, text_of

PACKAGE = Path(django_google_link.__file__).parent
SENT = [signal for signal in vars(signals).values() if isinstance(signal, Signal)]


@pytest.fixture
def receivers_of_this_test() -> Iterator[None]:
    """Disconnect what the page connects for good."""
    before = [list(signal.receivers) for signal in SENT]
    yield
    for signal, receivers in zip(SENT, before, strict=True):
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()


def logged() -> set[tuple[str, str]]:
    """Return what the package logs: the level, and the message with an ellipsis for each value."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level),
                    args=[ast.Constant(value=str(message)), *_],
                ):
                    found.add((level.upper(), re.sub(r"%[.\d]*[a-z]", "…", message)))
    return found


@pytest.mark.slow
def test_log_table_has_every_line() -> None:
    """Whoever greps for it finds it."""
    table = next(table for table in tables(text_of("howto/operating")) if table[0][0] == "INFO")
    rows = [(level, *names_in(message)) for level, message, _ in table]

    assert set(rows) == logged()
    assert len(rows) == len(set(rows))


def make_events(user: Any, google: FakeGoogle) -> None:
    """Let a grant be lost, another one be asked for in vain, and a third one end."""
    mark_lost(make_google_account(user), "revoked")
    with google.failing(status=503), pytest.raises(RefreshUnavailableError):
        access_token(make_google_account(user, access_token=""))
    make_google_account(user, refresh_token="1//unknown").unlink()


REQUEST = {"kind": "refresh", "client": "default", "outcome": "unavailable"}
WAIT = {"client": "default", "outcome": "failed"}
REVOCATION = {"client": "default", "outcome": "revoked"}


@pytest.mark.usefixtures("receivers_of_this_test")
@pytest.mark.django_db(transaction=True)
def test_metrics_for_prometheus(user: Any, google: FakeGoogle) -> None:
    """The loss of a grant is counted, and so is what was asked for in vain."""
    names = run("howto/operating", "prometheus_client")
    try:
        make_events(user, google)
        labels = {"event": "authorization_lost", "client": "default", "reason": "revoked"}
        counted = REGISTRY.get_sample_value
        assert counted("google_link_events_total", labels) == 1
        assert counted("google_link_token_request_seconds_count", REQUEST) == 1
        assert counted("google_link_token_wait_seconds_count", WAIT) == 1
        assert counted("google_link_revocations_total", REVOCATION) == 1
    finally:
        for name in ("EVENTS", "REQUESTS", "WAITS", "REVOCATIONS"):
            REGISTRY.unregister(names[name])


@pytest.mark.usefixtures("receivers_of_this_test")
@pytest.mark.django_db(transaction=True)
def test_metrics_for_opentelemetry(user: Any, google: FakeGoogle) -> None:
    """The same for the other."""
    reader = InMemoryMetricReader()
    set_meter_provider(MeterProvider([reader]))
    run("howto/operating", "opentelemetry")

    make_events(user, google)

    data: Any = reader.get_metrics_data()
    found = {
        (metric.name, *sorted(point.attributes.values())): getattr(point, "count", None)
        or point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    for name, attributes in {
        "events": {"event": "authorization_lost", "client": "default", "reason": "revoked"},
        "token_request.duration": REQUEST,
        "token_wait.duration": WAIT,
        "revocations": REVOCATION,
    }.items():
        assert found[f"google_link.{name}", *sorted(attributes.values())] == 1


@pytest.mark.django_db
def test_everything_is_revoked_when_a_key_has_leaked(user: Any) -> None:
    """What the page says leaves nothing but the outbox."""
    make_google_account(user)

    run("howto/keys", "while keys")

    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.count() == 1


@pytest.mark.django_db
def test_whole_grants_are_revoked_when_some_have_leaked(user: Any, other_user: Any) -> None:
    """A link that was made later shares the grant, and would spare it."""
    leaked = make_google_account(user, sub="1")
    stopped_at = timezone.now() + timedelta(hours=1)
    sibling, later = (make_google_account(other_user, sub=sub) for sub in ("1", "2"))
    for row in (sibling, later):
        GoogleAccount.objects.filter(pk=row.pk).update(linked_at=stopped_at)

    run("howto/keys", "leaked =", GoogleAccount=GoogleAccount, stopped_at=stopped_at)

    assert list(GoogleAccount.objects.all()) == [later]
    gone = PendingRevocation.objects.values_list("account_id", flat=True)
    assert set(gone) == {leaked.pk, sibling.pk}


BACK = "https://site.example/google/callback/"


def test_sentry_is_sent_no_code() -> None:
    """An event as sentry-sdk makes it of a request."""
    before_send = run("howto/operating", "def without_code")["without_code"]
    request = {
        "url": f"{BACK}?code=4/live",
        "query_string": "state=x&code=4/live",
        "headers": {"Referer": f"{BACK}?code=4/live", "Host": "site.example"},
    }

    assert before_send({"request": request, "level": "error"}, {}) == {
        "request": {
            "url": BACK,
            "query_string": "",
            "headers": {"Referer": BACK, "Host": "site.example"},
        },
        "level": "error",
    }
    assert before_send({}, {}) == {}
    other = {"request": {"url": "https://site.example/?code=x", "query_string": "code=x"}}
    assert before_send(other, {}) is other
    assert other["request"]["query_string"] == "code=x"


@pytest.mark.parametrize("path", ["/google/callback/", "/google/callback/office/"])
def test_django_reports_no_code_of_what_fails_before_the_callback(path: str) -> None:
    """A middleware of the project's, with the request as it came in."""
    reporter = run("howto/operating", "class ReporterWithoutCode")["ReporterWithoutCode"]
    request = RequestFactory().get(path, {"code": "live-code"})
    assert "live-code" in report(ExceptionReporter, request)

    assert "live-code" not in report(reporter, request)
    assert report(reporter, None)


def report(reporter: Any, request: Any) -> str:
    """Return what is reported of a mistake."""
    made = reporter(request, RuntimeError, RuntimeError("A mistake."), None)
    return str(made.get_traceback_html() + made.get_traceback_text())
