"""Sealed tokens: which keys and bindings unseal them."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from django_google_link.encryption.format import Binding, key_id_of
from django_google_link.encryption.keyring import key_ids, seal, unseal
from django_google_link.exceptions import (
    EncryptionKeyUnavailableError,
    TokenDecryptionError,
    TokenUndecryptableError,
)
from django_google_link.models import GoogleAccount
from django_google_link.secret import Secret
from django_google_link.testing import make_google_account

KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="
BINDING = Binding(
    purpose="account.refresh_token",
    row_id="row",
    owner="1",
    sub="42",
    issuer="https://accounts.google.com",
    client_id="id",
)

#: Made once. It has to open for ever: whatever changes, users' tokens stay readable.
FROZEN = "gl1.QGErXm8m.AAECAwQFBgcICQoLLvVuXbsEBrVQdYEdqpS3f0rvrMR5ocC_dfzlqds0s0t9dWA1EH-l"


def make_key() -> str:
    """Return a random key."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@pytest.fixture
def keys(settings: Settings) -> Callable[..., None]:
    """Configure these keys."""

    def keys(*values: str) -> None:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": list(values)}

    return keys


def test_sealed_token_opens(keys: Callable[..., None]) -> None:
    """Any text can be sealed and unsealed."""
    for text in ("1//0g-refresh", "", "é" * 2000, "\x00\n"):
        assert unseal(seal(Secret(text), BINDING), BINDING).reveal() == text


def test_sealed_token_of_the_past_opens() -> None:
    """Tokens sealed by earlier versions can be unsealed."""
    assert unseal(FROZEN, BINDING).reveal() == "1//frozen-refresh-token"


def test_sealed_token_never_looks_the_same() -> None:
    """Each sealing uses a new nonce, and shows only the format and the key id."""
    one, other = (seal(Secret("1//token"), BINDING) for _ in range(2))

    assert one != other
    assert one.startswith(f"gl1.{key_ids()[0]}.")
    assert key_id_of(one) == key_ids()[0]
    assert "token" not in one


def test_first_key_seals_and_all_open(keys: Callable[..., None]) -> None:
    """Keys are rotated by putting a new one first."""
    old, new = make_key(), make_key()
    keys(old)
    sealed = seal(Secret("token"), BINDING)
    keys(new, old)

    assert unseal(sealed, BINDING).reveal() == "token"
    assert key_id_of(seal(Secret("token"), BINDING)) != key_id_of(sealed)


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "account.access_token"},
        {"row_id": "another"},
        {"owner": "2"},
        {"sub": "43"},
        {"row_id": "ro", "owner": "w1"},
        {"owner": "", "sub": "142"},
        {"client_id": "other"},
        {"sub": "42i", "client_id": "d"},
    ],
)
def test_sealed_token_opens_nowhere_else(change: dict[str, str]) -> None:
    """Every part of the binding matters, and none can be exchanged with another."""
    sealed = seal(Secret("token"), BINDING)

    with pytest.raises(TokenUndecryptableError):
        unseal(sealed, replace(BINDING, **change))


def test_sealed_token_without_its_key_is_the_operators_fault(keys: Callable[..., None]) -> None:
    """The error differs from that of a damaged row, and names the missing key."""
    sealed = seal(Secret("token"), BINDING)
    keys(make_key())

    with pytest.raises(EncryptionKeyUnavailableError, match=key_id_of(sealed)) as caught:
        unseal(sealed, BINDING)

    assert isinstance(caught.value, TokenDecryptionError)
    assert not isinstance(caught.value, TokenUndecryptableError)


def test_sealed_token_under_a_wrong_key_of_the_same_id_fails(keys: Callable[..., None]) -> None:
    """A ciphertext cannot be attributed to another key."""
    _, _, data = seal(Secret("token"), BINDING).split(".")
    keys(make_key())

    with pytest.raises(TokenUndecryptableError):
        unseal(f"gl1.{key_ids()[0]}.{data}", BINDING)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "value",
    [
        "1//0g-a-plain-refresh-token",
        "ya29.a.plain",
        "gl1",
        "gl1..AAAA",
        "gl2.QGErXm8m.AAAA",
        "gl1.QGErXm8m.",
        "gl1.QGErXm8m.AAAA",
        "gl1.QGErXm8m.é",
        "gl1.QGErXm8m.***",
        "gl1.QGErXm8m.A",
        "gl1.QGErXm8m." + "A" * 1_000_000,
        FROZEN[:-1],
        FROZEN + "A",
        FROZEN + ".A",
        FROZEN.replace("gl1", "GL1"),
        "gAAAAABk-a-fernet-token",
        "\x00",
        " ",
    ],
)
def test_value_that_was_not_sealed_is_refused(value: str) -> None:
    """Plain, foreign and truncated values are refused."""
    with pytest.raises(TokenUndecryptableError):
        unseal(value, BINDING)


@pytest.mark.parametrize("position", range(len("gl1.QGErXm8m."), len(FROZEN), 7))
def test_tampered_token_is_refused(position: int) -> None:
    """Every byte is authenticated."""
    flipped = "A" if FROZEN[position] != "A" else "B"

    with pytest.raises(TokenUndecryptableError):
        unseal(FROZEN[:position] + flipped + FROZEN[position + 1 :], BINDING)


def test_sealing_without_a_key_is_a_configuration_error(keys: Callable[..., None]) -> None:
    """No key is generated automatically."""
    keys()

    with pytest.raises(ImproperlyConfigured, match="ENCRYPTION_KEYS"):
        seal(Secret("token"), BINDING)


# The four swaps, with raw SQL on two users' rows


@pytest.fixture
def accounts(user: Any, other_user: Any) -> tuple[GoogleAccount, GoogleAccount]:
    """One linked account per user, with different tokens."""
    return (
        make_google_account(user, sub="1", refresh_token="1//anna", access_token="ya29.anna"),
        make_google_account(other_user, sub="2", refresh_token="1//ben", access_token="ya29.ben"),
    )


def sql(statement: str, *values: Any) -> None:
    """Run a statement without the ORM."""
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("TABLE", "google_link_googleaccount"), values)


def key_of(account: GoogleAccount | Any) -> Any:
    """Return a primary key in the database's format."""
    field = account._meta.pk
    return field.get_db_prep_value(account.pk, connection)


def refuses_both_tokens(account: GoogleAccount) -> bool:
    """Return whether neither token of a row can be unsealed."""
    for name in ("refresh_token", "access_token"):
        with pytest.raises(TokenUndecryptableError):
            account.unseal_token(name)
    return True


Accounts = tuple[GoogleAccount, GoogleAccount]


def test_ciphertext_of_another_row_does_not_open(accounts: Accounts) -> None:
    """Swap one: the victim's ciphertext is copied to the attacker's row."""
    victim, thief = accounts
    sql(
        "UPDATE TABLE SET sealed_refresh_token = %s, sealed_access_token = %s WHERE id = %s",
        victim.sealed_refresh_token,
        victim.sealed_access_token,
        key_of(thief),
    )

    assert refuses_both_tokens(GoogleAccount.objects.get(pk=thief.pk))


def test_ciphertext_with_its_row_id_does_not_open(accounts: Accounts) -> None:
    """Swap two: the row ids are exchanged together with the ciphertexts."""
    victim, thief = accounts
    sql("UPDATE TABLE SET id = %s WHERE id = %s", uuid4().hex, key_of(victim))
    sql(
        "UPDATE TABLE SET id = %s, sealed_refresh_token = %s, sealed_access_token = %s "
        "WHERE id = %s",
        key_of(victim),
        victim.sealed_refresh_token,
        victim.sealed_access_token,
        key_of(thief),
    )

    assert refuses_both_tokens(GoogleAccount.objects.get(pk=victim.pk))


def test_row_of_another_owner_does_not_open(accounts: Accounts) -> None:
    """Swap three: the attacker becomes the owner of the victim's row."""
    victim, thief = accounts
    sql(
        "UPDATE TABLE SET user_id = %s, is_default = %s WHERE id = %s",
        key_of(thief.user),
        False,
        key_of(victim),
    )

    assert refuses_both_tokens(GoogleAccount.objects.get(pk=victim.pk))


def test_row_of_another_google_account_does_not_open(accounts: Accounts) -> None:
    """Swap four: the row's subject is changed to another Google account."""
    victim, _ = accounts
    sql("UPDATE TABLE SET sub = 'other' WHERE id = %s", key_of(victim))

    assert refuses_both_tokens(GoogleAccount.objects.get(pk=victim.pk))


def test_row_of_another_client_does_not_open(accounts: Accounts) -> None:
    """Swap five: the row's issuer and client are changed."""
    victim, _ = accounts
    sql("UPDATE TABLE SET client = 'office', client_id = 'of the office'")

    assert refuses_both_tokens(GoogleAccount.objects.get(pk=victim.pk))


def test_token_in_the_other_column_does_not_open(accounts: Accounts) -> None:
    """A refresh token cannot be used as an access token, which is sent to APIs."""
    victim, _ = accounts
    sql("UPDATE TABLE SET sealed_access_token = sealed_refresh_token")

    with pytest.raises(TokenUndecryptableError):
        GoogleAccount.objects.get(pk=victim.pk).unseal_token("access_token")


def test_rows_open_for_their_owners(accounts: Accounts) -> None:
    """Unchanged rows can be unsealed; the client's name is not part of the binding."""
    sql("UPDATE TABLE SET client = 'renamed'")

    opened = [account.unseal_token("refresh_token") for account in GoogleAccount.objects.all()]

    assert {token.reveal() for token in opened if token} == {"1//anna", "1//ben"}


def test_row_opens_however_its_owners_key_is_written(user: Any) -> None:
    """An owner's primary key given as text is the same key."""
    account = make_google_account(user, refresh_token="1//anna")
    account.user_id = str(user.pk)

    token = account.unseal_token("refresh_token")

    assert token == Secret("1//anna")
    assert get_user_model().objects.get(pk=account.user_id) == user
