"""While a key service is unavailable, links stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.encryption.keyring import key_ids
from django_google_link.exceptions import KeyServiceError
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.operations.refresh import RefreshOutcome, refresh_account
from django_google_link.operations.rotate_keys import RotationOutcome, rotate
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked, stale, token_of
from tests.support.databases import new_user
from tests.support.flow import arrive, link
from tests.support.key_services import HUSH, Safe, use_keys, wrap
from tests.support.times import in_seconds

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("key_service")]


def is_as_it_was(account: GoogleAccount) -> bool:
    """Return whether a row is unchanged."""
    row = GoogleAccount.objects.get(pk=account.pk)
    return all(
        getattr(row, field.attname) == getattr(account, field.attname)
        for field in GoogleAccount._meta.concrete_fields
    )


# A refresh


def test_refresh_without_the_key_of_its_tokens_asks_nobody(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """If the key cannot be unwrapped, nothing is requested or changed; later it works."""
    key = wrap()
    use_keys(settings, key)
    account = stale(user, google, alice)
    account.refresh_from_db()
    use_keys(settings, *[wrap(), key], ENCRYPTION_SITE="there")

    for _ in range(3):
        for use in (fresh_access_token, check_grant):
            with pytest.raises(KeyServiceError) as caught:
                use(account)
            assert HUSH not in str(caught.value)
    outcome = refresh_account(account, leeway=in_seconds(60) - in_seconds(0))

    assert outcome == RefreshOutcome.UNREADABLE
    assert google.requests == []
    assert is_as_it_was(account)
    use_keys(settings, key, ENCRYPTION_SITE="here")
    assert fresh_access_token(account).is_new


def test_refresh_that_could_not_be_stored_asks_nobody(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """If the newest key is unavailable, no refresh is made that could not be stored."""
    key = wrap()
    use_keys(settings, key)
    account = stale(user, google, alice)
    account.refresh_from_db()
    use_keys(settings, wrap(), key)
    Safe.failure = ConnectionError(HUSH)

    with pytest.raises(KeyServiceError):
        fresh_access_token(account)

    assert google.requests == []
    assert is_as_it_was(account)
    Safe.failure = None
    with travel(seconds=6):
        assert fresh_access_token(account).is_new


def test_token_that_lives_serves_while_it_cannot_be_replaced(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """While the newest key is unavailable, a stored token is returned until it expires."""
    key = wrap()
    use_keys(settings, key)
    account = linked(user, google, alice, access_token_expires_at=in_seconds(60))
    stored = token_of(account, "access_token")
    use_keys(settings, wrap(), key)
    Safe.failure = ConnectionError()

    token = fresh_access_token(account)

    assert token.value.reveal() == stored
    assert isinstance(token.problem, KeyServiceError)
    assert google.requests == []


def test_warm_process_asks_for_no_key(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """A process that has unwrapped its key needs no key service to use or refresh tokens."""
    use_keys(settings, wrap())
    account = linked(user, google, alice)
    assert len(Safe.asked) == 1
    Safe.failure = ConnectionError()

    for _ in range(3):
        fresh_access_token(account)
    assert fresh_access_token(
        account, rejected=Secret(str(token_of(account, "access_token")))
    ).is_new
    assert len(Safe.asked) == 1


# Linking


def test_nobody_is_sent_to_google_without_a_key(
    browser: Client, google: FakeGoogle, settings: Settings
) -> None:
    """If the key is unavailable, the user gets a page with status 503 instead of Google."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError(HUSH)

    response: Any = browser.get("/google/authorize/")

    assert response.status_code == 503
    assert "cannot encrypt" in response.content.decode()
    assert HUSH not in response.content.decode()


def test_code_is_not_used_without_a_key(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """If the key is unavailable in the callback, the authorization code is not exchanged."""
    use_keys(settings, wrap())
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    use_keys(settings, wrap())
    Safe.failure = ConnectionError()

    response = arrive(browser, back)

    assert response.status_code == 503
    assert "cannot encrypt" in response.content.decode()
    assert google.requests_to("token") == []
    Safe.failure = None
    with travel(seconds=6):
        assert link(browser, google, alice).status_code == 302


@pytest.mark.usefixtures("shared_database")
def test_unlinking_needs_no_key(google: FakeGoogle, alice: FakeUser, settings: Settings) -> None:
    """Unlinking works without the key, and the grant is revoked when it is available again."""
    key = wrap()
    use_keys(settings, key)
    account = linked(new_user(), google, alice)
    use_keys(settings, key, ENCRYPTION_SITE="there")

    account.unlink()

    assert not GoogleAccount.objects.exists()
    use_keys(settings, key, ENCRYPTION_SITE="here")
    PendingRevocation.objects.update(retry_at=in_seconds(-60))
    call_command("google_link_revoke_pending", verbosity=0)
    assert not PendingRevocation.objects.exists()
    assert google.requests_to("revoke")


# Rotation


@pytest.mark.usefixtures("shared_database")
def test_rotation_from_a_plain_key_to_a_wrapped_one_and_back(
    google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """google_link_rotate_keys re-encrypts from a plain key to a wrapped one, and back."""
    [plain] = settings.GOOGLE_LINK["ENCRYPTION_KEYS"]
    account = linked(new_user(), google, alice)
    token = token_of(account, "refresh_token")
    wrapped = wrap()
    for newest, other in ((wrapped, plain), (plain, wrapped)):
        use_keys(settings, newest, other)
        call_command("google_link_rotate_keys", verbosity=0)
        use_keys(settings, newest)

        assert GoogleAccount.objects.get().sealed_by == f"gl1.{key_ids()[0]}"
        assert token_of(account, "refresh_token") == token


@pytest.mark.usefixtures("shared_database")
def test_rotation_leaves_what_cannot_be_unwrapped(
    google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Rotation skips rows whose key cannot be unwrapped, and says to keep all keys."""
    key = wrap()
    use_keys(settings, key)
    linked(new_user(), google, alice)
    moved = key.replace(":one:", ":two:")
    use_keys(settings, wrap(), moved)

    assert list(rotate(workers=1)) == [RotationOutcome.UNREADABLE]
    with pytest.raises(CommandError, match="Keep all keys"):
        call_command("google_link_rotate_keys", verbosity=0)


# Admin


def test_admin_says_why_a_token_cannot_be_read(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings, client: Client
) -> None:
    """The admin says that the key could not be unwrapped, not that it is missing."""
    key = wrap()
    use_keys(settings, key)
    account = linked(user, google, alice)
    use_keys(settings, key, ENCRYPTION_SITE="there")
    client.force_login(get_user_model().objects.create_superuser("olga", "o@example.com", "pw"))

    page = client.get(reverse("admin:google_link_googleaccount_change", args=[account.pk]))

    assert "could not be unwrapped by safe" in page.content.decode()
