"""Character sets that cannot store every name, and databases that ignore case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DataError, OperationalError, connection

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.grants import save_grant
from django_google_link.conf.clients import get_client
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import identity, save, stale, token_response
from tests.support.databases import new_user
from tests.support.workers import just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

NAMES = {"utf8mb3": ("Zoë 😀 日本", "Zoë  日本"), "latin1": ("Zoë 😀 日本", "Zoë")}
REFUSALS = [
    DataError(1366, "Incorrect string value"),
    OperationalError(1366, "Incorrect string value"),  # mysqlclient
    DataError("character with byte sequence 0xf0 has no equivalent in encoding"),
    UnicodeEncodeError("latin-1", "😀", 0, 1, "ordinal not in range"),
]

needs_mysql = pytest.mark.skipif(connection.vendor != "mysql", reason="needs MySQL or MariaDB")


@pytest.fixture(params=NAMES)
def charset(request: pytest.FixtureRequest, shared_database: None) -> Iterator[str]:
    """Store names in an older character set during the test."""
    table = GoogleAccount._meta.db_table
    change = f"ALTER TABLE {table} MODIFY name varchar(200) CHARACTER SET {{}} NOT NULL"
    with connection.cursor() as cursor:
        cursor.execute(change.format(request.param))
        yield request.param
        cursor.execute(change.format("utf8mb4"))


@needs_mysql
def test_name_in_an_older_character_set(charset: str) -> None:
    """Linking, the first time and again, drops the characters that cannot be stored."""
    name, kept = NAMES[charset]
    user = new_user()

    for _ in range(2):
        save_grant(user, get_client(), identity(name=name), token_response(), requested_scopes=())

        account = GoogleAccount.objects.get()
        assert account.name == kept
        assert account.email == "alice@gmail.com"


@needs_mysql
def test_name_of_a_refresh_in_an_older_character_set(
    google: FakeGoogle, alice: FakeUser, charset: str
) -> None:
    """The token is refreshed, and the new name stored without those characters."""
    account = stale(new_user(), google, alice)
    alice.name = NAMES[charset][0]

    assert fresh_access_token(account)

    account.refresh_from_db()
    assert account.name == NAMES[charset][1]


@pytest.mark.matrix
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_refused_text_is_left_out(error: Exception) -> None:
    """If the database refuses a text, the account is linked without those characters."""

    def refuse() -> None:
        raise error

    with just_before('"name" =', act=refuse):
        account = save_grant(
            new_user(),
            get_client(),
            identity(name="Zoë 😀", picture="https://example.com/😀.png"),
            token_response(),
            requested_scopes=(),
        )

    account.refresh_from_db()
    assert (account.name, account.picture) == ("Zoë", "")


def test_subjects_that_differ_in_case_are_two() -> None:
    """OpenID Connect Core section 2: subjects are case-sensitive."""
    user = new_user()

    first, second = save(user, "abC"), save(user, "aBC")

    assert first != second
    assert save(user, "abC") == first
    assert GoogleAccount.objects.filter(user=user, sub="ABC").count() == 0
    assert GoogleAccount.objects.count() == 2


@pytest.mark.matrix
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_refused_name_does_not_hurt_a_refresh(
    google: FakeGoogle, alice: FakeUser, error: Exception
) -> None:
    """The token is returned, and the name stored without the refused characters."""
    account = stale(new_user(), google, alice)
    alice.name = "Zoë 😀"

    def refuse() -> None:
        raise error

    with just_before('"name" =', act=refuse):
        assert fresh_access_token(account)

    account.refresh_from_db()
    assert account.name == "Zoë"


def test_identity_that_cannot_be_saved_does_not_hurt_a_refresh(
    google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged, the token returned, and the stored address kept."""
    account = stale(new_user(), google, alice)
    alice.email = "renamed@gmail.com"

    def refuse() -> None:
        raise OperationalError("the database went away")

    with just_before('"email" =', act=refuse):
        assert fresh_access_token(account)

    assert "could not be saved: OperationalError" in caplog.text
    account.refresh_from_db()
    assert account.email == "alice@gmail.com"


@pytest.mark.parametrize("certs", [200, 503])
def test_identity_follows_each_refresh(
    google: FakeGoogle, alice: FakeUser, certs: int, unknown_provider: None
) -> None:
    """Without Google's keys the address is not updated, but the token is returned."""
    account = stale(new_user(), google, alice)
    alice.email, alice.name = "renamed@gmail.com", "Alice Renamed"
    if certs != 200:
        google.fail_next(endpoint="certs", status=certs)

    assert fresh_access_token(account)

    account.refresh_from_db()
    assert account.email == ("renamed@gmail.com" if certs == 200 else "alice@gmail.com")


def test_identity_of_another_is_not_followed(
    google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """An ID token with another subject is ignored (OpenID Connect Core section 12.2)."""
    account = stale(new_user(), google, alice)
    google.tamper_next_id_token(claims={"sub": "999", "email": "eve@gmail.com"})

    assert fresh_access_token(account)

    account.refresh_from_db()
    assert (account.sub, account.email) == (alice.sub, "alice@gmail.com")
    assert "belongs to another account" in caplog.text
