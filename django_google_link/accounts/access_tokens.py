"""Access tokens that are always fresh."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import uniform
from threading import Lock
from typing import NoReturn, cast
from weakref import WeakValueDictionary

from django.db import connections, router
from django.views.decorators.debug import sensitive_variables

from ..conf import clock
from ..conf.clients import get_issuing_client
from ..conf.settings import conf
from ..exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenUndecryptableError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet
from ..oauth import endpoints
from ..secret import Secret
from . import lease
from .grants import mark_lost, save_refresh
from .revocations import end_grant

logger = logging.getLogger("django_google_link")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.03, 0.5  # seconds

_registry = Lock()
_queues: WeakValueDictionary[uuid.UUID, Lock] = WeakValueDictionary()


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """An access token, and when it expires (aware; ``None``: nobody said).

    ``is_new`` says that it has just come from Google, at this call.
    """

    value: Secret
    expires_at: datetime | None
    is_new: bool = False


def stored_access_token(
    account: GoogleAccount, *, leeway: timedelta, rejected: Secret | None = None
) -> AccessToken | None:
    """Return the access token in this row, if it is of use. Never asks the database or Google.

    Args:
        leeway: the life that it must have left.
        rejected: a token that an API refused, or that is about to expire.

    Raises:
        EncryptionKeyUnavailableError: when its key is not configured.
    """
    if not account.has_unexpired_access_token(leeway=leeway):
        return None
    try:
        token = account.unseal_token("access_token")
    except TokenUndecryptableError:
        return None  # The refresh token can still give another one.
    if token is None or token == rejected:
        return None
    return AccessToken(value=token, expires_at=account.access_token_expires_at)


def refresh_leeway() -> timedelta:
    """Return the life below which an access token is refreshed first."""
    return timedelta(seconds=conf.refresh_leeway)


@sensitive_variables()
def fresh_access_token(
    account: GoogleAccount,
    *,
    rejected: Secret | None = None,
    leeway: timedelta | None = None,
    wait: bool = True,
) -> AccessToken:
    """Return an access token that is good for now, from the database or from Google.

    However many callers ask at the same time, in however many processes, one of them asks Google
    and the others use what it brings. No transaction is open meanwhile, unless it is the caller's.

    Inside the caller's own transaction nobody else would see a lease, so it is heeded there and
    not taken; a roll-back loses the new token, and the news of a lost grant, until the next call.
    ``REFRESH_USING`` names a second connection to the same database, which avoids both.

    Args:
        account: whose row is read again first.
        rejected: a token that an API refused, or that is about to expire.
        leeway: the life that a stored token must have left; ``REFRESH_LEEWAY`` if not given.
        wait: for another worker that is asking Google at this moment.

    Raises:
        NotLinkedError: when the row is gone.
        GrantLostError: when Google no longer honours the grant.
        TokenUndecryptableError: when the stored refresh token was tampered with.
        EncryptionKeyUnavailableError: when the key of the stored token is not configured.
        ClientMisconfiguredError: when Google refuses our client.
        RefreshUnavailableError: when Google cannot be reached and no stored token lives.
    """
    rows = _rows(account)
    leeway = refresh_leeway() if leeway is None else leeway
    state = _look(rows, account)
    token = _stored(state, leeway, rejected)
    if token is None and (not wait or _alive(state, rejected)):
        token = _from_google(rows, state, rejected)
    if token is None and wait:
        token = _wait(partial(_attempt, rows, account, leeway, rejected), account)
    if token is None:
        raise RefreshUnavailableError("refresh_under_way")
    return token


@sensitive_variables()
def check_grant(account: GoogleAccount) -> None:
    """Ask Google at once whether it honours a grant, whatever is known of it.

    What it says is noted as at any refresh: a grant that was lost and works again is recovered.

    Args:
        account: whose row is read again first.

    Raises:
        NotLinkedError: when the row is gone.
        GrantLostError: when Google does not honour the grant, or no refresh token is stored.
        RefreshUnavailableError: when Google cannot be reached, or another worker asks it now.

    And as :func:`fresh_access_token`.
    """
    rows = _rows(account)
    state = _look(rows, account)
    row = state.account
    if not row.sealed_refresh_token:
        raise GrantLostError(reason="no_refresh_token", account=row)
    if state.is_leased:
        raise RefreshUnavailableError("refresh_under_way")
    owner = None
    if not connections[rows.db].in_atomic_block:
        owner = lease.take(rows, row)
        if owner is None:
            raise RefreshUnavailableError("refresh_under_way")
    if _ask(rows, row, owner, forced=True):
        return
    if owner:  # It was lost before, so that nothing was written.
        lease.give_back(rows, row, owner)
    row = _look(rows, account).account
    if not row.is_active:
        raise GrantLostError(reason=row.status_reason, account=row)


@sensitive_variables()
def _attempt(
    rows: GoogleAccountQuerySet,
    account: GoogleAccount,
    leeway: timedelta,
    rejected: Secret | None,
) -> AccessToken | None:
    """Take the token that is stored, or ask Google; return nothing if another caller does so."""
    state = _look(rows, account)
    return _stored(state, leeway, rejected) or _from_google(rows, state, rejected)


def _look(rows: GoogleAccountQuerySet, account: GoogleAccount) -> lease.RefreshState:
    state = lease.read_state(rows, account.pk)
    if state is None:
        raise NotLinkedError
    return state


def _wait(attempt: Callable[[], AccessToken | None], account: GoogleAccount) -> AccessToken | None:
    """Try again and again. Of the threads of this process one does so, and the others wait."""
    started, longest = time.monotonic(), lease.longest_wait()
    with _registry:
        queue = _queues.setdefault(account.pk, Lock())
    if not queue.acquire(timeout=longest):
        return None
    try:
        while not (token := attempt()):
            waited = time.monotonic() - started
            if waited > longest:
                return None
            time.sleep(_pause(waited))
        return token
    finally:
        queue.release()


def _pause(waited: float) -> float:
    """Return the seconds until the next look: nobody waits an eighth longer than needed."""
    pause = min(max(waited / 8, _SHORTEST_PAUSE), _LONGEST_PAUSE)
    return pause * uniform(0.5, 1)  # noqa: S311  no secret


def _rows(account: GoogleAccount) -> GoogleAccountQuerySet:
    """Return all accounts, through the connection on which a refresh is not undone."""
    default = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    if conf.refresh_using is None or not connections[default.db].in_atomic_block:
        return default
    apart = GoogleAccount.objects.using(conf.refresh_using)
    # A row that the caller's transaction has just made is not there for anybody else.
    return apart if apart.filter(pk=account.pk).exists() else default


@sensitive_variables()
def _stored(
    state: lease.RefreshState, leeway: timedelta, rejected: Secret | None
) -> AccessToken | None:
    row = state.account
    if not row.is_active:
        raise GrantLostError(reason=row.status_reason or "no_refresh_token", account=row)
    if state.was_forced:
        # It is new, and an API that says no to it as well will say so to the next one.
        return stored_access_token(row, leeway=leeway)
    return stored_access_token(row, leeway=leeway, rejected=rejected)


@sensitive_variables()
def _alive(state: lease.RefreshState, rejected: Secret | None) -> AccessToken | None:
    """Return the stored token for as long as it lives at all."""
    return stored_access_token(state.account, leeway=timedelta(), rejected=rejected)


@sensitive_variables()
def _from_google(
    rows: GoogleAccountQuerySet, state: lease.RefreshState, rejected: Secret | None
) -> AccessToken | None:
    """Ask Google, if it is our turn. Until it is, a stored token serves as long as it lives."""
    row = state.account
    alive = _alive(state, rejected)
    if state.retry_at:
        return alive or _refuse_until(state.retry_at)
    if state.is_leased:
        return alive
    owner = None
    if not connections[rows.db].in_atomic_block:
        owner = lease.take(rows, row)
        if owner is None:
            return alive
    try:
        return _ask(rows, row, owner, forced=_is_forced(row, rejected))
    except (RefreshUnavailableError, ClientMisconfiguredError):
        if not alive:
            raise
    return alive


@sensitive_variables()
def _ask(
    rows: GoogleAccountQuerySet, row: GoogleAccount, owner: uuid.UUID | None, *, forced: bool
) -> AccessToken | None:
    """Ask Google, and give the lease back however that ends."""
    try:
        return _refresh(rows, row, owner, forced=forced)
    except RefreshUnavailableError as error:
        if owner:
            delay = lease.back_off(rows, row, owner)
            error.retry_at = clock.now() + delay
            logger.warning(
                "Google gave the account %s no token, and is left alone for %d s: %s",
                row.pk,
                delay.total_seconds(),
                error,
            )
        raise
    except BaseException as error:  # A worker that is told to stop gives it back as well.
        if owner:
            is_failing = isinstance(error, ClientMisconfiguredError) and not error.is_policy
            lease.give_back(rows, row, owner, is_failing=is_failing)
        raise


def _refuse_until(retry_at: datetime) -> NoReturn:
    raise RefreshUnavailableError(
        "backing_off", "Google could not be reached a moment ago.", retry_at=retry_at
    )


def _is_forced(row: GoogleAccount, rejected: Secret | None) -> bool:
    """Say whether this token is to be replaced before its time."""
    return rejected is not None and row.has_unexpired_access_token(leeway=refresh_leeway())


@sensitive_variables()
def _refresh(
    rows: GoogleAccountQuerySet, row: GoogleAccount, owner: uuid.UUID | None, *, forced: bool
) -> AccessToken | None:
    """Ask Google and store the answer; return nothing if the row has changed hands meanwhile."""
    guard = lease.rows_still_ours(rows, row, owner)
    try:
        client = get_issuing_client(row.client, row.client_id)
        # An active row has one.
        refresh_token = cast("Secret", row.unseal_token("refresh_token"))
        response = endpoints.refresh(client, refresh_token=refresh_token)
    except (GrantLostError, TokenUndecryptableError) as error:
        if not mark_lost(row, error.reason, guard=guard):
            return None
        error.account = row
        raise
    except ClientMisconfiguredError as error:
        logger.error("Google refuses the client %r: %s", row.client, error)
        raise
    if not save_refresh(row, response, guard=guard, forced=forced):
        if response.refresh_token:  # Nothing that is stored would end it any more.
            end_grant(client, row.sub, response.refresh_token, owner=row.owner)
        return None
    return AccessToken(
        value=response.access_token, expires_at=response.access_token_expires_at, is_new=True
    )
