"""Choosing which of a user's linked accounts to use, and checking that it is ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import connections, router
from django.db.models import DateTimeField

from ..conf.clients import get_client
from ..exceptions import (
    AccountChoiceRequiredError,
    ConsentRequiredError,
    GrantLostError,
    MissingScopesError,
    NotLinkedError,
)
from ..models import GoogleAccount
from ..scopes import parse_scopes

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    LinkOwner = AbstractBaseUser | AnonymousUser | GoogleAccount


def get_account(
    owner: LinkOwner, *, scopes: str | Iterable[str] = (), client: str = "default"
) -> GoogleAccount:
    """Return the linked account to use: active, with all required scopes.

    For a user this is the default account. Another account takes its place only if it alone has the
    scopes, the default was not chosen by the user, and the default account is active.

    Args:
        owner: a user, or one of their ``GoogleAccount`` rows.
        scopes: the required scopes.
        client: the OAuth client through which a user's account was linked.

    Raises:
        ConsentRequiredError: when there is no such account.
        SettingsError: (an ``ImproperlyConfigured``) when the client is not configured.
        TypeError: when the owner is of another type.
    """
    required = parse_scopes(scopes)
    if isinstance(owner, GoogleAccount):
        return require_ready(owner, required)
    if not hasattr(owner, "is_authenticated"):
        raise TypeError(
            f"The owner is {owner!r}: pass a user, a GoogleAccount or a ServiceAccount."
        )
    if not owner.is_authenticated:
        raise NotLinkedError(missing_scopes=required, client=client)
    try:
        return choose_account(linked_accounts(owner, client=client), required)
    except ConsentRequiredError as error:
        if isinstance(error, NotLinkedError):
            get_client(client)  # An unknown client is a mistake of the project's.
        error.client, error.user_id = client, owner.pk
        raise


def choose_account(accounts: Sequence[GoogleAccount], required: Sequence[str]) -> GoogleAccount:
    """Return which of a user's accounts to use, without guessing.

    This is the default account. If it lacks a scope, and was not made the default by the user, the
    only other account with all scopes is used instead.

    Args:
        accounts: the user's accounts, the default one first.
        required: the required scopes.

    Raises:
        NotLinkedError: when there are none.
        GrantLostError, MissingScopesError: when the account to use is not ready.
        AccountChoiceRequiredError: when there are several, and the user has to choose.
    """
    if not accounts:
        raise NotLinkedError(missing_scopes=required)
    first = accounts[0]
    if first.is_default and first.is_ready(*required):
        return first
    if first.is_default and (first.is_chosen_default or not first.is_active):
        return require_ready(first, required)
    # The default account, if any, is merely the first one linked; it is active but lacks scopes.
    ready = [account for account in accounts if account.is_ready(*required)]
    if len(ready) == 1:
        return ready[0]
    if ready or (len(accounts) > 1 and not first.is_default):
        raise AccountChoiceRequiredError
    return require_ready(first, required)


def require_ready(account: GoogleAccount, required: Sequence[str]) -> GoogleAccount:
    """Return this account if it can be used.

    Raises:
        GrantLostError: when it must be linked again.
        MissingScopesError: when it lacks a scope.
    """
    missing = account.missing_scopes(*required)
    if account.is_active and not missing:
        return account
    if account.is_active:
        raise MissingScopesError(missing_scopes=missing, account=account)
    raise GrantLostError(reason=account.lost_reason, missing_scopes=missing, account=account)


def linked_accounts(
    user: AbstractBaseUser | AnonymousUser, *, client: str
) -> Sequence[GoogleAccount]:
    """Return the accounts that a user has linked through a client, the default one first."""
    using = router.db_for_write(GoogleAccount)  # A replica may lack a link that was just made.
    connection = connections[using]
    owner = GoogleAccount._meta.get_field("user").get_db_prep_value(user.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(_write_accounts_query(using), [owner, client])
        rows = cursor.fetchall()
    names = [field.attname for field in GoogleAccount._meta.concrete_fields]
    accounts = [
        GoogleAccount.from_db(using, names, values) for values in _convert_rows(rows, using)
    ]
    return sorted(accounts, key=lambda row: (not row.is_default, row.linked_at, row.pk))


@cache
def _write_accounts_query(using: str) -> str:
    """Return the one query of a view, cached because composing it takes longer than running it."""
    quote = connections[using].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in GoogleAccount._meta.concrete_fields)
    table, user, client = quote(GoogleAccount._meta.db_table), quote("user_id"), quote("client")
    return f"SELECT {columns} FROM {table} WHERE {user} = %s AND {client} = %s"  # noqa: S608


def _convert_rows(rows: Sequence[Sequence[Any]], using: str) -> Iterator[Sequence[Any]]:
    """Convert the driver's values to those of the fields, as Django's compiler does."""
    connection = connections[using]
    # Converters belong to a connection, and thus to a thread: they cannot be cached.
    converters = [
        (position, convert, column)
        for position, column in (_list_converted_columns(using) if rows else ())
        for convert in _list_converters(column, using)
    ]
    for row in map(list, rows):
        for position, convert, column in converters:
            row[position] = convert(row[position], column, connection)
        yield row


@cache
def _list_converted_columns(using: str) -> list[tuple[int, Any]]:
    """Return the columns whose values the database backend converts; most are used as they are.

    Date-time columns are always among them, because their conversion depends on ``USE_TZ``.
    """
    fields: Sequence[Any] = GoogleAccount._meta.concrete_fields
    columns = [(field, field.get_col(GoogleAccount._meta.db_table)) for field in fields]
    return [
        (position, column)
        for position, (field, column) in enumerate(columns)
        if isinstance(field, DateTimeField) or _list_converters(column, using)
    ]


def _list_converters(column: Any, using: str) -> list[Any]:
    connection = connections[using]
    return [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
