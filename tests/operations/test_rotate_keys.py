"""Rotating the encryption key while the site is running."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.encryption.format import key_id_of
from django_google_link.encryption.keyring import key_ids, make_key
from django_google_link.models import GoogleAccount, HistoryEntry, PendingRevocation
from django_google_link.operations import rotate_keys
from django_google_link.operations.rotate_keys import RotationOutcome, rotate
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save
from tests.support.chunks import use_small_chunks
from tests.support.databases import at_once, new_user
from tests.support.tables import table
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

OLD, NEW = make_key(), make_key()


@pytest.fixture
def use(settings: Settings) -> Callable[..., None]:
    """Configure these keys; the first one seals."""

    def use(*keys: str) -> None:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": list(keys)}

    use(OLD)
    return use


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_rotate_keys", stdout=out, **options)
    return out.getvalue()


def failed(match: str, **options: Any) -> str:
    """Run the command, and check that it fails with this error; return its output."""
    out = io.StringIO()
    with pytest.raises(CommandError, match=match):
        call_command("google_link_rotate_keys", stdout=out, **options)
    return out.getvalue()


def tokens() -> set[tuple[str, str]]:
    """Return all bare tokens of all tables."""
    rows = [*GoogleAccount.objects.all(), *PendingRevocation.objects.all()]
    found = [(row.unseal_token("refresh_token"), row.unseal_token("access_token")) for row in rows]
    return {(one.reveal() if one else "", two.reveal() if two else "") for one, two in found}


def make_many(count: int) -> None:
    """Create linked accounts of one user, some without an access token."""
    user = new_user()
    for n in range(count):
        make_google_account(
            user, refresh_token=f"1//{n}", access_token=f"ya29.{n}" if n % 3 else ""
        )


def test_generated_key_is_a_key(use: Callable[..., None]) -> None:
    """Only the key is printed, for use in a shell; each one is different."""
    out = io.StringIO()
    call_command("google_link_generate_key", stdout=out)

    use(out.getvalue().strip())

    assert len(key_ids()) == 1
    assert make_key() != make_key()


def test_whole_rotation(use: Callable[..., None], google: FakeGoogle) -> None:
    """OLD → OLD, NEW everywhere → NEW, OLD → rotate → NEW, without losing a token."""
    use(OLD)
    make_many(7)
    GoogleAccount.objects.filter(sealed_access_token="").delete()
    before = tokens()
    assert PendingRevocation.objects.exists()

    use(OLD, NEW)
    assert run() == "       0 left\n"
    use(NEW, OLD)
    assert "7 left" in failed("until 0 are left", dry_run=True)
    assert run() == "       7 re-encrypted\n       0 left\n"
    use(NEW)

    assert tokens() == before
    for row in [*GoogleAccount.objects.all(), *PendingRevocation.objects.all()]:
        assert key_id_of(row.sealed_refresh_token) == key_ids()[0]


def test_rotation_in_chunks(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are rotated, whatever the size of a chunk."""
    use_small_chunks(monkeypatch, rotate_keys, 3)
    make_many(10)
    before = tokens()

    use(NEW, OLD)

    assert run() == "      10 re-encrypted\n       0 left\n"
    assert tokens() == before


def test_dry_run_changes_nothing(use: Callable[..., None]) -> None:
    """It only counts."""
    make_many(2)
    use(NEW, OLD)
    before = table()

    assert failed("until 0 are left", dry_run=True) == "       2 left\n"
    assert table() == before


def test_key_that_is_gone_leaves_the_rows(
    use: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """They are rotated once the key is configured again."""
    make_many(2)
    use(NEW)
    before = table()

    assert "2 left unchanged: their key is not configured" in failed("until 0 are left")
    assert table() == before
    assert "Add that key back" in caplog.text

    use(NEW, OLD)
    assert run() == "       2 re-encrypted\n       0 left\n"


def test_damaged_tokens_are_told_apart(
    use: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The other rows of the chunk are rotated."""
    make_many(3)
    damaged = GoogleAccount.objects.order_by("pk")[1]
    GoogleAccount.objects.filter(pk=damaged.pk).update(sealed_refresh_token="gl1.x.y")
    use(NEW, OLD)

    said = failed("until 0 are left")

    assert "2 re-encrypted" in said
    assert "1 left unchanged: no key can decrypt them" in said
    assert str(damaged.pk) in caplog.text


def test_no_key_at_all(use: Callable[..., None]) -> None:
    """The error is that of every other command."""
    use()
    with pytest.raises(ImproperlyConfigured, match="ENCRYPTION_KEYS"):
        run()


def test_row_that_changes_in_the_same_moment_wins(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consent between reading and writing takes precedence."""
    user = new_user()
    save(user, "42")
    save(user, "43")
    use(NEW, OLD)
    first = GoogleAccount.objects.filter(sub="42")
    use_small_chunks(
        monkeypatch,
        rotate_keys,
        2,
        after_reading=lambda: first.update(sealed_access_token=""),
    )

    assert sorted(rotate()) == sorted([RotationOutcome.ROTATED, RotationOutcome.CHANGED])
    assert HistoryEntry.objects.get(event="reencrypted").sub == "43"
    assert GoogleAccount.objects.get(sub="42").sealed_access_token == ""
    assert key_id_of(GoogleAccount.objects.get(sub="43").sealed_refresh_token) == key_ids()[0]


@pytest.mark.slow
def test_rotation_under_refreshes_and_links_loses_nothing(
    use: Callable[..., None], google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two rotations, refreshes of all tokens, and new consents at the same time."""
    use_small_chunks(monkeypatch, rotate_keys, 5)
    user = new_user()
    accounts = [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
        for n in range(20)
    ]
    use(NEW, OLD)

    def refresh() -> None:
        for account in accounts:
            fresh_access_token(account)

    def renew() -> None:
        for account in accounts[::2]:
            save(user, account.sub)

    def rotate_all() -> None:
        list(rotate())

    at_once(refresh, renew, rotate_all, rotate_all)
    run()
    use(NEW)

    for account in GoogleAccount.objects.all():
        refresh_token = account.unseal_token("refresh_token")
        assert refresh_token is not None
        renewed = int(account.sub) % 2 == 0
        assert (refresh_token.reveal() == "1//new") is renewed


def test_command_that_is_interrupted(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, the next run completes the rotation."""
    use_small_chunks(monkeypatch, rotate_keys, 1)
    make_many(3)
    use(NEW, OLD)

    def interrupted(outcomes: Any, total: int) -> Any:
        yield next(outcomes)
        raise KeyboardInterrupt

    module = "django_google_link.management.outcomes"
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.show_progress", interrupted)
        with pytest.raises(CommandError, match="Stopped") as caught:
            run()

    assert caught.value.returncode == 130
    assert run().endswith("       0 left\n")


def test_access_tokens_that_have_expired_are_dropped(use: Callable[..., None]) -> None:
    """Expired access tokens are deleted rather than resealed."""
    user = new_user()
    expired = make_google_account(user, access_token_expires_at=in_seconds(-1))
    lives = make_google_account(user, access_token_expires_at=in_seconds(60))
    use(NEW, OLD)

    run()

    use(NEW)
    assert GoogleAccount.objects.get(pk=expired.pk).sealed_access_token == ""
    assert GoogleAccount.objects.get(pk=expired.pk).unseal_token("refresh_token")
    assert GoogleAccount.objects.get(pk=lives.pk).unseal_token("access_token")


def test_reseal_of_one_row(use: Callable[..., None]) -> None:
    """A row that was changed meanwhile is skipped."""
    make_many(1)
    stale, before = GoogleAccount.objects.get(), tokens()
    use(NEW, OLD)

    assert rotate_keys.reseal_row(GoogleAccount.objects.get()) == RotationOutcome.ROTATED
    assert rotate_keys.reseal_row(stale) == RotationOutcome.CHANGED

    use(NEW)
    assert tokens() == before


def test_rotation_during_a_refresh_stays(
    use: Callable[..., None], google: FakeGoogle, alice: FakeUser
) -> None:
    """The response to a refresh does not undo a concurrent resealing."""
    account = linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))
    use(NEW, OLD)

    with during_refresh(google, run):
        fresh_access_token(account)

    use(NEW)
    assert run() == "       0 left\n"
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
    assert fresh_access_token(account)


if os.environ.get("TEST_DATABASE"):

    def test_rotation_waits_for_nobody(use: Callable[..., None]) -> None:
        """A locked row is left for the next run."""
        make_many(5)
        use(NEW, OLD)
        locked, done = Event(), Event()

        def hold() -> None:
            with transaction.atomic():
                GoogleAccount.objects.filter(pk=held.pk).update(refresh_failures=0)
                locked.set()
                done.wait(20)

        def rotate_meanwhile() -> Counter[RotationOutcome]:
            locked.wait(20)
            try:
                return Counter(rotate())
            finally:
                done.set()

        held = GoogleAccount.objects.order_by("pk")[2]
        _, outcomes = at_once(hold, rotate_meanwhile)

        assert outcomes == {RotationOutcome.ROTATED: 4, RotationOutcome.CHANGED: 1}
        assert run() == "       1 re-encrypted\n       0 left\n"
