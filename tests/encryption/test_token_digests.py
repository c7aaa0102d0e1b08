"""Finding a refresh token by its first characters or its hash, without storing either."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.grants import save_grant
from django_google_link.accounts.retirement import retire_grant
from django_google_link.conf.clients import get_client
from django_google_link.encryption.keyring import make_key
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import identity, linked, save, stale, token_of, token_response
from tests.support.constants import CALENDAR, OPENID
from tests.support.databases import at_once, new_user
from tests.support.digests import double_hash, found_by, is_found_by_its_token
from tests.support.flow import link
from tests.support.tables import table
from tests.support.terminal import allowing, run_authorize
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = pytest.mark.django_db

TOKEN = "1//0gRefreshTokenOfAlice-AndMore"


@pytest.fixture
def use(settings: Settings) -> Callable[..., None]:
    """Configure these keys; the first one makes the digests."""

    def use(*keys: str) -> None:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": list(keys)}

    return use


def test_token_is_found_by_either_name(user: Any) -> None:
    """Each name finds the token's row and no other."""
    account = make_google_account(user, refresh_token=TOKEN)
    make_google_account(user, refresh_token="1//0gAnotherTokenOfAlice")

    assert found_by(TOKEN) == [[account.pk], [account.pk]]
    assert found_by(TOKEN[:16] + "other") == [[account.pk], []]
    assert found_by("1//0gNobodys-Token") == [[], []]


def test_token_that_is_shorter_than_a_prefix(user: Any) -> None:
    """A short token is its own prefix."""
    account = make_google_account(user, refresh_token="1//short")

    assert found_by("1//short") == [[account.pk], [account.pk]]


def test_database_has_neither_prefix_nor_hash(user: Any) -> None:
    """No column contains them, or anything that can be computed without the key."""
    make_google_account(user, refresh_token=TOKEN)
    stored = repr(table())

    for name in (TOKEN[:16], double_hash(TOKEN)):
        assert name not in stored
        for bare in (hashlib.sha256, hashlib.sha512, hashlib.md5):
            assert bare(name.encode()).hexdigest()[:16] not in stored


def test_digests_are_other_ones_under_another_key(user: Any, use: Callable[..., None]) -> None:
    """Digests differ between keys, and between purposes."""
    short = "1//short"
    rows = []
    for _ in range(2):
        use(make_key())
        rows.append(make_google_account(user, refresh_token=short))

    digests = {
        digest
        for row in rows
        for digest in (row.refresh_token_prefix_digest, row.refresh_token_hash_digest)
    }
    assert len(digests) == 4


def test_digests_are_looked_up_under_every_key(user: Any, use: Callable[..., None]) -> None:
    """Digests under every configured key are searched for."""
    old, new = make_key(), make_key()
    use(old)
    first = make_google_account(user, refresh_token=TOKEN)
    use(new, old)
    second = make_google_account(user, refresh_token=TOKEN)

    assert found_by(TOKEN) == [sorted([first.pk, second.pk])] * 2
    use(new)
    assert found_by(TOKEN) == [[second.pk]] * 2


def test_link_in_a_browser_writes_them(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The first link and the next consent store digests."""
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    former = token_of(account, "refresh_token")
    assert former
    assert is_found_by_its_token(account)

    google.revoke(alice)
    GoogleAccount.objects.update(status="needs_reauthorization")
    link(browser, google, alice)

    assert token_of(account, "refresh_token") != former
    assert is_found_by_its_token(account)
    assert found_by(former)[1] == []


def test_link_on_a_terminal_writes_them(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tmp_path: Path,
    configure: Callable[..., None],
) -> None:
    """Linking from a terminal stores digests."""
    google.client.type = "installed"
    google.client.redirect_uris[:] = ["http://localhost"]
    file = tmp_path / "client_secret.json"
    file.write_text(json.dumps(google.client_secrets()))
    configure(CLIENT_SECRETS_FILE=file)

    run_authorize(user.get_username(), allowing(google, alice))

    assert is_found_by_its_token(GoogleAccount.objects.get())


@pytest.mark.usefixtures("shared_database")
def test_import_writes_them(google: FakeGoogle, alice: FakeUser, tmp_path: Path) -> None:
    """Importing a token stores digests."""
    user = new_user()
    tokens = google.grant(alice, [*OPENID, CALENDAR])
    file = tmp_path / "token.json"
    credentials = {
        "refresh_token": tokens.refresh_token,
        "client_id": google.client.client_id,
        "client_secret": google.client.client_secret,
        "token_uri": f"{google.url}/token",
    }
    file.write_text(json.dumps(credentials))

    call_command(
        "google_link_import", "files", str(file), user=user.get_username(), stdout=io.StringIO()
    )

    assert found_by(tokens.refresh_token)[1] == [GoogleAccount.objects.get().pk]


def test_refresh_with_a_replaced_token_writes_them(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A rotated refresh token gets new digests; otherwise they are unchanged."""
    account = stale(user, google, alice)
    former = token_of(account, "refresh_token")
    assert former
    before = found_by(former)
    fresh_access_token(account)
    assert found_by(former) == before

    google.rotates_refresh_tokens = True
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
    fresh_access_token(account)

    assert is_found_by_its_token(account)
    assert found_by(former)[1] == []


def test_reassigned_link_has_them_under_the_newest_key(
    user: Any, other_user: Any, use: Callable[..., None]
) -> None:
    """Reassigning a link renews the digests along with the sealed tokens."""
    old, new = make_key(), make_key()
    use(old)
    account = make_google_account(user, refresh_token=TOKEN)
    use(new, old)

    account.reassign(other_user)

    use(new)
    assert found_by(TOKEN) == [[account.pk], [account.pk]]


def test_retired_link_has_none(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Retirement deletes digests and tokens."""
    account = linked(user, google, alice)
    retire_grant(account, CALENDAR, needed=[])

    account = GoogleAccount.objects.get()
    assert account.sealed_refresh_token == ""
    assert (account.refresh_token_prefix_digest, account.refresh_token_hash_digest) == ("", "")


def test_token_of_another_client_goes_with_its_digests(
    user: Any, configure: Callable[..., None], google: FakeGoogle
) -> None:
    """A token of a new client replaces the digests."""
    account = save(user)
    other = google.add_client()
    configure(CLIENT_ID=other.client_id, CLIENT_SECRET=other.client_secret)

    save(user)

    assert GoogleAccount.objects.get().client_id == other.client_id
    assert is_found_by_its_token(account)


@pytest.mark.usefixtures("shared_database")
def test_rotation_carries_them_over(use: Callable[..., None]) -> None:
    """Key rotation renews digests, so that the old key can be removed."""
    user = new_user()
    old, new = make_key(), make_key()
    use(old)
    account = make_google_account(user, refresh_token=TOKEN)
    use(new, old)

    call_command("google_link_rotate_keys", stdout=io.StringIO())
    use(new)

    assert found_by(TOKEN) == [[account.pk], [account.pk]]


@pytest.mark.usefixtures("shared_database")
def test_rotation_leaves_the_digests_of_the_newest_key(use: Callable[..., None]) -> None:
    """Digests are unchanged if only the access token is resealed."""
    user = new_user()
    old, new = make_key(), make_key()
    use(old)
    account = make_google_account(user, refresh_token=TOKEN)
    sealed = account.sealed_access_token
    use(new, old)
    call_command("google_link_rotate_keys", stdout=io.StringIO())
    GoogleAccount.objects.update(sealed_access_token=sealed)

    call_command("google_link_rotate_keys", stdout=io.StringIO())

    assert found_by(TOKEN) == [[account.pk], [account.pk]]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_database")
def test_replaced_tokens_and_rotation_at_once(
    google: FakeGoogle, alice: FakeUser, use: Callable[..., None]
) -> None:
    """Under concurrency, each row is found by its current token, and no refresh is lost."""
    old, new = make_key(), make_key()
    use(old)
    google.rotates_refresh_tokens = True
    anna = new_user()
    accounts = [stale(anna, google, alice, sub=str(n)) for n in range(10)]
    former = [token_of(account, "refresh_token") for account in accounts]
    use(new, old)

    def refresh() -> None:
        for account in accounts:
            fresh_access_token(account)

    def rotate() -> None:
        call_command("google_link_rotate_keys", stdout=io.StringIO())

    at_once(refresh, rotate)
    rotate()
    use(new)

    for account, token in zip(accounts, former, strict=True):
        assert token_of(account, "refresh_token") != token
        assert is_found_by_its_token(account)


@pytest.mark.usefixtures("shared_database")
def test_rotation_during_a_refresh_keeps_them(
    google: FakeGoogle, alice: FakeUser, use: Callable[..., None]
) -> None:
    """The response to a refresh does not overwrite digests renewed meanwhile."""
    old, new = make_key(), make_key()
    use(old)
    account = stale(new_user(), google, alice)
    use(new, old)

    with during_refresh(
        google, lambda: call_command("google_link_rotate_keys", stdout=io.StringIO())
    ):
        fresh_access_token(account)

    use(new)
    assert is_found_by_its_token(account)


def test_link_that_gets_a_token_no_more_has_none(user: Any) -> None:
    """A link that is renewed without a refresh token has no digests."""
    lost = {"status": "needs_reauthorization", "status_reason": "revoked"}
    make_google_account(user, sub="42", refresh_token=TOKEN, **lost)
    client = replace(get_client(), gives_refresh_tokens=False, is_google=False)
    answer = token_response(refresh_token=None)

    save_grant(user, client, identity("42"), answer, requested_scopes=())

    account = GoogleAccount.objects.get()
    assert account.sealed_refresh_token == ""
    assert (account.refresh_token_prefix_digest, account.refresh_token_hash_digest) == ("", "")
