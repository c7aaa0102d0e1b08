"""Unavailable providers of each kind: what pages, commands and operators see."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from benchmarks.outage import make_accounts
from django_google_link.accounts import process_breaker
from django_google_link.exceptions import RefreshUnavailableError, TokenEndpointError
from django_google_link.models import CircuitBreaker, GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked
from tests.support.bad_googles import ANSWERS, HANGING, KINDS, SHORT_TIMEOUT, bad_google
from tests.support.databases import new_user
from tests.support.times import in_seconds

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

WHOLE = os.environ.get("LONG") == "whole"

UNKNOWN_CERTIFICATE = "SSLCertVerificationError: certificate verify failed: self-signed certificate"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a bad Google leads to.

    Attributes:
        said: to the caller whose request it was, in the error's text.
        problem: in the account's row.
        error: beside it.
        requests: of eight accounts, seven of which need a token at once.
        is_everybodys: whether other workers leave Google alone as well.
    """

    said: str
    problem: str
    error: str
    requests: int
    is_everybodys: bool


EXPECTED = {
    "status 503": Expected(
        said="no_answer (HTTP 503)",
        problem="unavailable",
        error="HTTP 503",
        requests=5,
        is_everybodys=True,
    ),
    "HTML, status 200": Expected(
        said="no_access_token (HTTP 200)",
        problem="unavailable",
        error="no_access_token, HTTP 200",
        requests=5,
        is_everybodys=True,
    ),
    # It may mean the one account.
    "HTML, status 403": Expected(
        said="no_answer (HTTP 403)",
        problem="throttled",
        error="HTTP 403",
        requests=8,
        is_everybodys=False,
    ),
    "half an answer": Expected(
        said="answer_cut_short: IncompleteRead (HTTP 200)",
        problem="unavailable",
        error="answer_cut_short, HTTP 200",
        requests=5,
        is_everybodys=True,
    ),
    "hangs": Expected(
        said="timeout", problem="unavailable", error="timeout", requests=5, is_everybodys=True
    ),
    "a byte at a time": Expected(
        said="timeout", problem="unavailable", error="timeout", requests=5, is_everybodys=True
    ),
    # What one worker cannot connect to, another may.
    "unknown certificate": Expected(
        said=f"unreachable: {UNKNOWN_CERTIFICATE}",
        problem="unreachable",
        error=f"unreachable, {UNKNOWN_CERTIFICATE}",
        requests=0,
        is_everybodys=False,
    ),
    "refuses connections": Expected(
        said="unreachable: ConnectionRefusedError: Connection refused",
        problem="unreachable",
        error="unreachable, ConnectionRefusedError: Connection refused",
        requests=0,
        is_everybodys=False,
    ),
}


@pytest.fixture
def impatient(google: FakeGoogle, settings: Settings, request: pytest.FixtureRequest) -> None:
    """Use a short time limit for providers that do not respond."""
    if request.node.callspec.params.get("kind") in HANGING:
        set_timeout(settings, SHORT_TIMEOUT)
    google.refresh_sends_id_token = False


def set_timeout(settings: Settings, seconds: float) -> None:
    """Set ``HTTP_TIMEOUT`` to this number of seconds."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": seconds}


def link_many(google: FakeGoogle, alice: FakeUser, count: int) -> list[GoogleAccount]:
    """Link accounts, the first of which has a token that is valid for two minutes."""
    user = new_user()
    return [
        linked(
            user,
            google,
            alice,
            sub=str(n),
            access_token_expires_at=in_seconds(-60 if n else 120),
        )
        for n in range(count)
    ]


def visit(account: GoogleAccount) -> TokenEndpointError | str:
    """Return the response of a page that needs a token."""
    try:
        return access_token(GoogleAccount.objects.get(pk=account.pk))
    except TokenEndpointError as error:
        return error


def run(command: str, **options: Any) -> tuple[str, int]:
    """Run a command; return its output and exit code."""
    out = io.StringIO()
    try:
        call_command(command, stdout=out, **options)
    except CommandError as error:
        return f"{out.getvalue()}{error}\n", 1
    return out.getvalue(), 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_google_for_all(
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    tmp_path: Path,
    admin_client: Client,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """Pages with a valid token are not affected; the others learn when to try again."""
    expected = EXPECTED[kind]
    living, *ended = link_many(google, alice, 8)

    with bad_google(kind, google, configure, tmp_path) as count_requests:
        token = visit(living)
        errors: list[Any] = [visit(account) for account in ended]
        requests = count_requests()
        refresh, code = run("google_link_refresh", expiring_within=15, workers=1)
        again = count_requests()
    status, _ = run("google_link_status")
    failed = GoogleAccount.objects.exclude(refresh_problem="").order_by("sub")
    page = admin_client.get(f"/admin/google_link/googleaccount/{living.pk}/change/")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("django_g")]

    assert str(token).startswith("ya29.")
    assert requests == again == expected.requests
    assert str(errors[0]) == f"No usable response at present ({expected.said})"
    for error in errors:
        assert 0 < (error.retry_at - timezone.now()).total_seconds() <= 36
    assert {row.refresh_problem for row in failed} == {expected.problem}
    assert {row.refresh_error for row in failed} == {expected.error}
    assert code == 1
    assert refresh.endswith("8 of the accounts were not refreshed: see the log.\n")
    assert f"{failed.count()} {expected.problem}" in status
    assert expected.error in page.content.decode()
    assert [line for line in lines if expected.said in line]
    is_open = CircuitBreaker.objects.exclude(opened_at=None).exists()
    assert is_open is expected.is_everybodys
    assert (f"No response from {google.url} since" in status) is is_open
    assert len([line for line in lines if "is unavailable" in line]) == (
        expected.problem != "throttled"
    )
    show(kind, errors, requests, refresh, status, failed[0], lines)


def show(
    kind: str,
    errors: list[Any],
    requests: int,
    refresh: str,
    status: str,
    row: GoogleAccount,
    lines: list[str],
) -> None:
    """Print what each of them sees; ``make long`` keeps the output."""
    waits = [round((error.retry_at - timezone.now()).total_seconds()) for error in errors]
    texts = dict.fromkeys(str(error) for error in errors)
    looked_on = {
        "page, token lives": "served",
        "page, token has ended": f"{' / '.join(texts)}; again in {min(waits)} to {max(waits)} s",
        "requests": f"{requests} of 8 accounts",
        "google_link_refresh": f"{' '.join(refresh.split())} (exit code 1)",
        "google_link_status": " ".join(status.partition("\n\n")[2].split()),
        "admin": f"{row.get_refresh_problem_display()}: {row.refresh_error}",
        "log": " / ".join(re.sub(r"[0-9a-f]{8}-[-0-9a-f]+", "…", line) for line in lines[-2:]),
    }
    print(f"\nGoogle: {kind}")
    for who, what in looked_on.items():
        print(f"  {who}: {what}")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_google_is_back(
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    tmp_path: Path,
    kind: str,
    settings: Settings,
) -> None:
    """Half a minute later all accounts work, except for those with a backoff of their own."""
    accounts = link_many(google, alice, 8)
    with bad_google(kind, google, configure, tmp_path):
        for account in accounts:
            visit(account)

    set_timeout(settings, 10)
    with travel(seconds=40):
        assert [str(visit(account))[:5] for account in accounts] == ["ya29."] * 8
        assert run("google_link_refresh", expiring_within=15) == ("Nothing is due.\n", 0)
    with travel(seconds=40):
        status, _ = run("google_link_status")
    assert "Failing refreshes: 0\n" in status
    assert "No response" not in status


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_google_for_one_worker(
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    settings: Settings,
    tmp_path: Path,
    kind: str,
) -> None:
    """A problem of one worker's network does not affect the others."""
    hurried = settings.GOOGLE_LINK
    accounts = link_many(google, alice, 22)[1:]
    said = []
    for ours, other in zip(accounts[:10], accounts[10:20], strict=True):
        with bad_google(kind, google, configure, tmp_path):
            assert isinstance(visit(ours), RefreshUnavailableError)
        set_timeout(settings, 10)
        said.append(str(visit(other))[:5])
        settings.GOOGLE_LINK = hurried

    assert said == ["ya29."] * 10
    assert not CircuitBreaker.objects.exclude(opened_at=None).exists()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["unknown certificate", "refuses connections"])
def test_worker_without_a_network_stops_nobody(
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    tmp_path: Path,
    kind: str,
) -> None:
    """Its failures do not open the circuit for others, however many there are."""
    accounts = link_many(google, alice, 22)[1:]
    with bad_google(kind, google, configure, tmp_path):
        for account in accounts[:12]:
            visit(account)
        for half_minutes in range(1, 5):
            with travel(seconds=31 * half_minutes):
                visit(accounts[half_minutes])

    assert process_breaker.is_open(google.url)
    process_breaker.forget_failures()  # Another process.
    assert [str(visit(account))[:5] for account in accounts[12:]] == ["ya29."] * 9


OF_ONE = {
    **ANSWERS,
    "status 429": {"status": 429},
    "access_denied": {"status": 400, "body": {"error": "access_denied"}},
}


@pytest.mark.parametrize("kind", OF_ONE)
def test_bad_google_for_one_account(google: FakeGoogle, kind: str, settings: Settings) -> None:
    """Only that account backs off, in views and in the command."""
    count = 1000 if WHOLE else 40
    google.refresh_sends_id_token = False
    set_timeout(settings, 3 * SHORT_TIMEOUT if kind == "hangs" else 10)
    tokens = google.grant(google.add_user("alice@gmail.com"), ["openid"])
    keys = make_accounts(tokens.refresh_token, tokens.access_token, [-60] * count)
    ben = google.add_user("ben@gmail.com")
    ended = in_seconds(-60)
    bad = linked(new_user("ben"), google, ben, access_token_expires_at=ended)

    with google.failing(user=ben, **OF_ONE[kind]):
        for number, key in enumerate(keys[: count // 2]):
            if number % (count // 10) == 0:
                for _ in range(2):  # Often enough in a row, if it were not always the same one.
                    GoogleAccount.objects.filter(pk=bad.pk).update(refresh_retry_at=None)
                    assert isinstance(visit(bad), TokenEndpointError)
            assert str(visit(GoogleAccount(pk=key))).startswith("ya29.")
        GoogleAccount.objects.filter(pk=bad.pk).update(refresh_retry_at=None)
        refresh, code = run("google_link_refresh", expiring_within=0, workers=4)

    assert not CircuitBreaker.objects.exclude(opened_at=None).exists()
    assert not GoogleAccount.objects.exclude(pk=bad.pk).exclude(refresh_problem="").exists()
    assert code == 1
    assert f"{count // 2:,} refreshed\n" in refresh
    assert "1 postponed: " in refresh


def test_bad_account_alone_is_never_everybodys(google: FakeGoogle) -> None:
    """Its failures do not open the circuit, however many there are."""
    google.refresh_sends_id_token = False
    tokens = google.grant(google.add_user("alice@gmail.com"), ["openid"])
    [key] = make_accounts(tokens.refresh_token, tokens.access_token, [-60])
    ben = google.add_user("ben@gmail.com")
    bad = linked(new_user("ben"), google, ben, access_token_expires_at=in_seconds(-60))

    with google.failing(user=ben):
        # Left alone for an hour and a bit, at most.
        for hours in range(0, 40, 2):
            with travel(hours=hours):
                assert isinstance(visit(bad), TokenEndpointError)
        assert len(google.requests_to("token")) == 20
        assert str(visit(GoogleAccount(pk=key))).startswith("ya29.")


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
def test_google_that_flaps(google: FakeGoogle, fault: dict[str, Any]) -> None:
    """An issuer that alternates every ten seconds refuses requests for at most a minute."""
    google.refresh_sends_id_token = False
    seconds = 600 if WHOLE else 80
    tokens = google.grant(google.add_user("alice@gmail.com"), ["openid"])
    keys = make_accounts(tokens.refresh_token, tokens.access_token, [-60] * seconds)
    came: dict[Any, int] = {}
    waited = [0]

    for second, key in enumerate(keys):
        came[key] = second
        away = google.failing(**fault) if second % 20 < 10 else nullcontext()
        with travel(seconds=second), away:
            for caller in list(came):
                if not isinstance(visit(GoogleAccount(pk=caller)), TokenEndpointError):
                    waited.append(second - came.pop(caller))

    requests = len(google.requests_to("token"))
    still = seconds - min(came.values(), default=seconds)
    print(
        f"\nAway for 10 s, back for 10 s, for {seconds} s ({fault}): a caller a second, who"
        f" comes again each second: {requests} requests, {len(waited) - 1} served, refused for"
        f" at most {max(waited)} s, at the end still {len(came)} for at most {still} s"
    )
    # A probe each 30 s: if it meets Google away, the next one meets it back. Where the machine is
    # slow as well, it may take another one.
    assert len(waited) - 1 >= seconds / 4
    assert requests - len(waited) <= 5 * seconds / 20
