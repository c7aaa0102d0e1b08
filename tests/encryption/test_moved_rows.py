"""Rows changed by SQL: no token reaches another user or another endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, models
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.database import database_now
from django_google_link.accounts.grants import save_grant
from django_google_link.accounts.outbox import read_outbox
from django_google_link.accounts.revocations import RevocationOutcome
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    TokenUndecryptableError,
)
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.operations.revoke_pending import process_now
from django_google_link.secret import Secret
from django_google_link.services import access_token, authorized_session
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.accounts import identity, linked, stale, token_response
from tests.support.hostile_provider import HostileProvider, hostile_provider
from tests.support.tables import links

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

TRIPLE = ("client", "issuer", "client_id")
SEALED = ("sealed_refresh_token", "sealed_access_token")
OFFICE_TOKENS = ("office-refresh", "office-access")
REJECTED = Secret("ya29.rejected")
SPARE = {"id": uuid.uuid4(), "sub": "spare"}


@pytest.fixture
def office(google: FakeGoogle, settings: Settings) -> Iterator[HostileProvider]:
    """A provider that the attacker controls, and that receives requests meant for Google's APIs."""
    with hostile_provider() as provider:
        # Client ids mean nothing without their issuer: this one is the same as at Google.
        client_id = google.client.client_id
        office = provider.client_settings(CLIENT_ID=client_id, API_ENDPOINT=provider.url)
        known = {**settings.GOOGLE_LINK["CLIENTS"], "office": office}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": known}
        yield provider


@pytest.fixture
def victim(google: FakeGoogle, alice: FakeUser, user: Any) -> GoogleAccount:
    """Anna's link to Alice's Google account."""

    @google.route("/whoami")
    def whoami(request: Any, user: FakeUser) -> dict[str, str]:
        return {"email": user.email}

    return linked(user, google, alice)


@pytest.fixture
def own(google: FakeGoogle, other_user: Any) -> GoogleAccount:
    """The attacker's link to a Google account."""
    return linked(other_user, google, google.add_user("mallory@gmail.com"))


@pytest.fixture
def decoy(office: HostileProvider, other_user: Any) -> GoogleAccount:
    """The attacker's link to an account at their own provider."""
    refresh, access = OFFICE_TOKENS
    return make_google_account(
        other_user, client="office", refresh_token=refresh, access_token=access
    )


def set_by_sql(row: models.Model, **values: Any) -> None:
    """Change columns of a row without the ORM."""
    fields = [row._meta.get_field(name) for name in values]
    changes = ", ".join(f"{connection.ops.quote_name(field.column)} = %s" for field in fields)
    prepared = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, values.values(), strict=True)
    ]
    key = row._meta.pk.get_db_prep_save(row.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {changes} WHERE id = %s", [*prepared, key])
        assert cursor.rowcount == 1


def values_of(row: models.Model, *names: str) -> dict[str, Any]:
    """Return columns of a row."""
    return {name: getattr(row, name) for name in names}


def swap(one: models.Model, other: models.Model, *names: str) -> None:
    """Exchange columns of two rows, by way of placeholders."""
    ours, theirs = values_of(one, *names), values_of(other, *names)
    spare = {name: value for name, value in SPARE.items() if name in names}
    if spare:
        set_by_sql(one, **spare)
        one.pk = spare.get("id", one.pk)
    set_by_sql(other, **ours)
    other.pk = ours.get("id", other.pk)
    set_by_sql(one, **theirs)


def use_everything(office: HostileProvider) -> dict[Any, set[str]]:
    """Use each row in every way; return which accounts each user gained access to."""
    seen: dict[Any, set[str]] = {}

    def whoami(row: GoogleAccount) -> None:
        with authorized_session(row) as session:
            answer = session.get("https://www.googleapis.com/whoami").json()
            seen.setdefault(row.user_id, set()).add(answer.get("email", ""))

    uses: list[Callable[[GoogleAccount], Any]] = [
        whoami,
        access_token,
        lambda row: fresh_access_token(row, rejected=REJECTED),
        whoami,
        lambda row: row.delete(),
    ]
    for use in uses:
        for row in GoogleAccount.objects.order_by("pk"):
            try:
                use(row)
            except GoogleLinkError:
                continue
    make_due()
    for row in read_outbox():
        process_now(row)
    return seen


def make_due() -> None:
    """Make the pending revocations due again."""
    read_outbox().update(retry_at=database_now(read_outbox()))


def has_leaked(google: FakeGoogle, office: HostileProvider, victim_tokens: set[str]) -> bool:
    """Return whether a provider received a token of another one."""
    at_office = repr(office.received)
    at_google = repr([dict(request.form) for request in google.requests])
    return any(token in at_office for token in victim_tokens) or any(
        token in at_google for token in OFFICE_TOKENS
    )


Change = Callable[[GoogleAccount, GoogleAccount, GoogleAccount], None]
CHANGES: dict[str, Change] = {
    # The victim's row, pointed to the attacker's.
    **{
        f"{name} of the attacker's": (
            lambda victim, own, decoy, name=name: set_by_sql(victim, **values_of(own, name))
        )
        for name in ("user_id", *SEALED)
    },
    **{
        f"{' and '.join(names)} of the other provider's": (
            lambda victim, own, decoy, names=names: set_by_sql(victim, **values_of(decoy, *names))
        )
        for names in (
            ("client",),
            ("issuer",),
            ("client_id",),
            ("sub",),
            ("client", "issuer"),
            ("client", "client_id"),
            ("issuer", "client_id"),
            TRIPLE,
            ("user_id", "client"),
            ("user_id", *TRIPLE),
            (*TRIPLE, *SEALED),
        )
    },
    "another id": lambda victim, own, decoy: set_by_sql(victim, id=uuid.uuid4()),
    "tokens in each other's columns": lambda victim, own, decoy: set_by_sql(
        victim,
        sealed_refresh_token=victim.sealed_access_token,
        sealed_access_token=victim.sealed_refresh_token,
    ),
    "the refresh token as the access token": lambda victim, own, decoy: set_by_sql(
        victim, sealed_access_token=victim.sealed_refresh_token
    ),
    # The attacker's rows, with what is the victim's.
    **{
        f"{' and '.join(names)} copied to the attacker's": (
            lambda victim, own, decoy, names=names: set_by_sql(own, **values_of(victim, *names))
        )
        for names in (SEALED, SEALED[:1], SEALED[1:])
    },
    **{
        f"{' and '.join(names)} copied to the other provider's": (
            lambda victim, own, decoy, names=names: set_by_sql(decoy, **values_of(victim, *names))
        )
        for names in (SEALED, ("sub", *SEALED), ("client_id", *SEALED), ("issuer", *SEALED))
    },
    # Both, exchanged.
    **{
        f"{' and '.join(names)} exchanged with the attacker's": (
            lambda victim, own, decoy, names=names: swap(victim, own, *names)
        )
        for names in (
            ("id",),
            ("sub",),
            ("user_id",),
            ("id", *SEALED),
            ("id", "sub"),
            ("id", "sub", *SEALED),
            ("sub", *SEALED),
        )
    },
    # What is no matter of the token.
    "scopes": lambda victim, own, decoy: set_by_sql(
        own, granted_scopes=["https://mail.google.com/"], refresh_token_scopes=[]
    ),
    "status": lambda victim, own, decoy: set_by_sql(own, status="active", status_reason=""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_row_gives_nothing_away(
    google: FakeGoogle,
    alice: FakeUser,
    office: HostileProvider,
    victim: GoogleAccount,
    own: GoogleAccount,
    decoy: GoogleAccount,
    change: str,
) -> None:
    """No changed row can be unsealed."""
    attacker = own.user_id
    GoogleAccount.objects.update(is_default=False)  # There is one for each user and client.
    tokens = {
        token.reveal()
        for name in ("refresh_token", "access_token")
        if (token := victim.unseal_token(name))
    }

    CHANGES[change](victim, own, decoy)
    seen = use_everything(office)

    assert alice.email not in seen.get(attacker, set())
    assert not has_leaked(google, office, tokens)


@pytest.mark.parametrize("column", ["id", "user_id", "sub", "issuer", "client_id"])
@pytest.mark.parametrize("name", ["refresh_token", "access_token"])
def test_each_column_is_sealed_in(
    victim: GoogleAccount, other_user: Any, column: str, name: Any
) -> None:
    """Each column alone is protected."""
    values = {"id": SPARE["id"], "user_id": other_user.pk}

    set_by_sql(victim, **{column: values.get(column, "another")})

    with pytest.raises(TokenUndecryptableError):
        GoogleAccount.objects.get().unseal_token(name)


def test_each_token_is_sealed_for_its_column(victim: GoogleAccount) -> None:
    """A refresh token cannot be moved to the access token's column, which is given to site code."""
    CHANGES["tokens in each other's columns"](victim, victim, victim)

    names: tuple[Any, ...] = ("refresh_token", "access_token")
    for name in names:
        with pytest.raises(TokenUndecryptableError):
            GoogleAccount.objects.get().unseal_token(name)


@pytest.mark.parametrize(
    "plain",
    [
        "1//plain-refresh-token",
        "gl1.",
        "gl1.1//plain",
        "gl1..MS8vcGxhaW4tcmVmcmVzaC10b2tlbi10aGF0LWlzLWxvbmctZW5vdWdo",
        "gl0.7Qm2xTcA.MS8vcGxhaW4tcmVmcmVzaC10b2tlbi10aGF0LWlzLWxvbmctZW5vdWdo",
        "MS8vcGxhaW4tcmVmcmVzaC10b2tlbg==",
        "gAAAAABplain",
        '{"refresh_token": "1//plain"}',
    ],
)
@pytest.mark.parametrize("name", ["refresh_token", "access_token"])
def test_plain_text_is_never_read(
    google: FakeGoogle, victim: GoogleAccount, plain: str, name: Any
) -> None:
    """Plain tokens written to the database are not used."""
    set_by_sql(victim, **{f"sealed_{name}": plain})
    row = GoogleAccount.objects.get()

    with pytest.raises(TokenUndecryptableError):
        row.unseal_token(name)

    if name == "access_token":
        assert access_token(row) != plain
    else:
        set_by_sql(victim, sealed_access_token="")
        with pytest.raises(TokenUndecryptableError):
            fresh_access_token(row)
    assert "plain" not in repr([dict(request.form) for request in google.requests])


def test_rows_that_nobody_has_changed(
    google: FakeGoogle,
    alice: FakeUser,
    office: HostileProvider,
    victim: GoogleAccount,
    own: GoogleAccount,
    decoy: GoogleAccount,
) -> None:
    """With unchanged rows, the checks of these tests find the tokens."""
    seen = use_everything(office)

    assert seen[victim.user_id] == {alice.email}
    assert {own.email} < seen[own.user_id]
    assert all(token in repr(office.received) for token in OFFICE_TOKENS)
    assert google.granted_scopes(alice) is None


OUTBOX_CHANGES: dict[str, Callable[[PendingRevocation, PendingRevocation], None]] = {
    **{
        f"{' and '.join(names)}": (
            lambda victim, decoy, names=names: set_by_sql(victim, **values_of(decoy, *names))
        )
        for names in (
            ("client",),
            ("issuer",),
            ("client_id",),
            ("owner",),
            ("account_id",),
            ("sub",),
            TRIPLE,
            ("owner", *TRIPLE),
            ("account_id", "owner", "sub", *TRIPLE),
        )
    },
    **{
        f"{' and '.join(names)} copied": (
            lambda victim, decoy, names=names: set_by_sql(decoy, **values_of(victim, *names))
        )
        for names in (
            SEALED,
            ("account_id", *SEALED),
            ("account_id", "owner", "sub", *SEALED),
            ("account_id", "owner", "sub", "client_id", *SEALED),
            ("account_id", "owner", "sub", "issuer", *SEALED),
        )
    },
    "tokens exchanged": lambda victim, decoy: swap(victim, decoy, *SEALED),
    "no subject": lambda victim, decoy: set_by_sql(victim, sub=""),
}


@pytest.mark.parametrize("change", OUTBOX_CHANGES)
def test_changed_revocation_gives_nothing_away(
    google: FakeGoogle,
    office: HostileProvider,
    victim: GoogleAccount,
    decoy: GoogleAccount,
    settings: Settings,
    change: str,
) -> None:
    """Pending revocations are protected like links."""
    tokens = {
        token.reveal()
        for name in ("refresh_token", "access_token")
        if (token := victim.unseal_token(name))
    }
    GoogleAccount.objects.all().delete()
    by_client = {row.client: row for row in PendingRevocation.objects.all()}

    OUTBOX_CHANGES[change](by_client["default"], by_client["office"])
    make_due()
    for row in read_outbox():
        process_now(row)

    assert not has_leaked(google, office, tokens)


# What an operator edits


@pytest.mark.parametrize(
    ("changes", "says", "was"),
    [
        ({"ISSUER": "http://127.0.0.1:9"}, "issuer_changed", "issuer"),
        ({"CLIENT_ID": "another.apps.googleusercontent.com"}, "client_id_changed", "client_id"),
        ({"ISSUER": "http://127.0.0.1:9", "CLIENT_ID": "another"}, "issuer_changed", "issuer"),
    ],
)
def test_operators_edit_is_told_as_one(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    configure: Callable[..., None],
    settings: Settings,
    changes: dict[str, str],
    says: str,
    was: str,
) -> None:
    """A changed setting is reported as such, and restoring it restores everything."""
    account = stale(user, google, alice)
    before, kept = links(), settings.GOOGLE_LINK

    configure(**changes)
    for use in (access_token, lambda row: fresh_access_token(row, rejected=REJECTED)):
        with pytest.raises(ClientMisconfiguredError, match=says) as caught:
            use(account)

    assert f"{getattr(account, was)}: restore it for 'default'" in str(caught.value)
    assert links() == before
    assert google.requests_to("token") == []

    settings.GOOGLE_LINK = kept
    assert access_token(account)
    assert GoogleAccount.objects.get().is_active


@pytest.mark.parametrize("instead", ["nothing", "Google", "another client there"])
def test_provider_that_is_taken_out_of_the_settings(
    google: FakeGoogle,
    office: HostileProvider,
    decoy: GoogleAccount,
    settings: Settings,
    instead: str,
) -> None:
    """Its tokens are sent to no other provider, and its grants not reported as revoked."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    successor: dict[str, dict[str, Any]] = {
        "nothing": {},
        "Google": {"office": clients["default"]},
        "another client there": {"office": office.client_settings(CLIENT_ID="other")},
    }
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"default": clients["default"], **successor[instead]},
    }
    decoy.delete()
    make_due()

    assert [process_now(row) for row in read_outbox()] == [RevocationOutcome.POSTPONED]

    assert google.requests_to("revoke") == office.received == []
    assert PendingRevocation.objects.get().last_error
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    make_due()
    assert [process_now(row) for row in read_outbox()] == [RevocationOutcome.REVOKED]
    assert "office-refresh" in repr(office.received)


def test_client_ids_of_another_provider_may_look_like_googles(
    google: FakeGoogle, alice: FakeUser, office: HostileProvider, settings: Settings, user: Any
) -> None:
    """A similar client id of another issuer does not share grants of a Google project."""
    project = google.client.client_id.partition("-")[0]
    lookalike = f"{project}-lookalike.apps.googleusercontent.com"
    clients = settings.GOOGLE_LINK["CLIENTS"]
    twin = office.client_settings(CLIENT_ID=lookalike)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "office": twin}}
    linked(user, google, alice).unlink()
    # The same subject, by chance or on purpose: linked, and unlinked but not told yet.
    make_google_account(user, sub=alice.sub, client="office")
    assert PendingRevocation.objects.count() == 1
    save_grant(
        user, get_client("office"), identity(alice.sub), token_response(), requested_scopes=()
    )
    assert PendingRevocation.objects.filter(issuer=google.url).count() == 1

    make_due()
    assert [process_now(row) for row in read_outbox().filter(issuer=google.url)] == [
        RevocationOutcome.REVOKED
    ]

    assert google.granted_scopes(alice) is None


def test_revocation_at_google_settles_nothing_elsewhere(
    google: FakeGoogle, alice: FakeUser, office: HostileProvider, settings: Settings, user: Any
) -> None:
    """Pending revocations at other providers stay pending."""
    project = google.client.client_id.partition("-")[0]
    clients = settings.GOOGLE_LINK["CLIENTS"]
    twin = office.client_settings(CLIENT_ID=f"{project}-twin.apps.googleusercontent.com")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "office": twin}}
    linked(user, google, alice)
    make_google_account(user, sub=alice.sub, client="office")
    GoogleAccount.objects.all().delete()
    make_due()

    assert [process_now(row) for row in read_outbox().filter(issuer=google.url)] == [
        RevocationOutcome.REVOKED
    ]

    assert PendingRevocation.objects.get().issuer == office.url
    assert office.received == []
