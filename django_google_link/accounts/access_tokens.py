"""Access tokens that are always fresh."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from threading import Lock
from typing import cast
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
from .grants import mark_lost
from .refreshed_tokens import follow_identity, store_refresh

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


def stored_access_token(account: GoogleAccount, *, leeway: timedelta) -> AccessToken | None:
    """Return the access token in this row, if it is of use. Never asks the database or Google.

    Args:
        leeway: the life that it must have left.

    Raises:
        EncryptionKeyUnavailableError: when its key is not configured.
    """
    if not account.has_unexpired_access_token(leeway=leeway):
        return None
    try:
        token = account.unseal_token("access_token")
    except TokenUndecryptableError:
        return None  # The refresh token can still give another one.
    if token is None:
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
    request = _AccessTokenRequest(
        account, leeway=refresh_leeway() if leeway is None else leeway, rejected=rejected
    )
    request.read_row()
    token = request.usable_token()
    # Whoever has a token that still lives, or will not wait, asks once. All others queue up first.
    if token is None and (not wait or request.unexpired_token()):
        token = request.refresh_in_turn()
    if token is None and wait:
        token = request.wait()
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
    _AccessTokenRequest(account, leeway=timedelta(), rejected=None).check_grant()


class _AccessTokenRequest:
    """One caller's need of an access token, and the row as that caller has read it last.

    Args:
        account: whose row it is.
        leeway: the life that a stored token must have left.
        rejected: a token that is of no use to the caller.
    """

    def __init__(
        self, account: GoogleAccount, *, leeway: timedelta, rejected: Secret | None
    ) -> None:
        self._account = account
        self._leeway = leeway
        self._rejected = rejected
        self._rows = _choose_rows(account)
        self._state: lease.RefreshState
        self._stored: AccessToken | None

    @sensitive_variables()
    def read_row(self) -> None:
        """Read the row anew, and unseal its token once.

        Raises:
            NotLinkedError: when the row is gone.
            GrantLostError: when the account has to be linked again.
        """
        self._read_state()
        row = self._state.account
        if not row.is_active:
            raise GrantLostError(reason=row.status_reason or "no_refresh_token", account=row)
        self._stored = stored_access_token(row, leeway=timedelta())

    def usable_token(self) -> AccessToken | None:
        """Return the stored token, if it lives long enough and was not rejected."""
        row = self._state.account
        if self._stored is None or not row.has_unexpired_access_token(leeway=self._leeway):
            return None
        if self._state.was_forced:
            # It is new, and an API that says no to it as well will say so to the next one.
            return self._stored
        return self.unexpired_token()

    def unexpired_token(self) -> AccessToken | None:
        """Return the stored token for as long as it lives at all, unless it was rejected."""
        if self._stored is None or self._stored.value == self._rejected:
            return None
        return self._stored

    def attempt(self) -> AccessToken | None:
        """Take the token that is stored, or ask Google; or nothing, while another caller does."""
        self.read_row()
        return self.usable_token() or self.refresh_in_turn()

    def wait(self) -> AccessToken | None:
        """Attempt it again and again, until there is a token or it has taken too long.

        Of the threads of this process one does so, and the others wait for their turn.
        """
        started, longest = time.monotonic(), lease.longest_wait()
        with _registry:
            queue = _queues.setdefault(self._account.pk, Lock())
        if not queue.acquire(timeout=longest):
            return None
        try:
            while not (token := self.attempt()):
                waited = time.monotonic() - started
                if waited > longest:
                    return None
                time.sleep(_choose_pause(waited))
            return token
        finally:
            queue.release()

    @sensitive_variables()
    def refresh_in_turn(self) -> AccessToken | None:
        """Ask Google, if it is our turn. Until it is, a stored token serves as long as it lives."""
        unexpired = self.unexpired_token()
        if self._state.retry_at:
            if unexpired is None:
                raise RefreshUnavailableError(
                    "backing_off",
                    "Google could not be reached a moment ago.",
                    retry_at=self._state.retry_at,
                )
            return unexpired
        if self._state.is_leased:
            return unexpired
        try:
            has_turn, owner = self._take_lease()
            return self._refresh_under_lease(owner) if has_turn else unexpired
        except (RefreshUnavailableError, ClientMisconfiguredError):
            if unexpired is None:
                raise
        return unexpired

    @sensitive_variables()
    def check_grant(self) -> None:
        """Ask Google whatever is known; see the function of this name."""
        self._read_state()
        row = self._state.account
        if not row.sealed_refresh_token:
            raise GrantLostError(reason="no_refresh_token", account=row)
        has_turn, owner = (False, None) if self._state.is_leased else self._take_lease()
        if not has_turn:
            raise RefreshUnavailableError("refresh_under_way")
        if self._refresh_under_lease(owner, is_forced=True):
            return
        if owner:  # It was lost before, so that nothing was written.
            lease.give_back(self._rows, row, owner)
        self._read_state()
        row = self._state.account
        if not row.is_active:
            raise GrantLostError(reason=row.status_reason, account=row)

    def _read_state(self) -> None:
        state = lease.read_state(self._rows, self._account.pk)
        if state is None:
            raise NotLinkedError
        self._state = state

    def _take_lease(self) -> tuple[bool, uuid.UUID | None]:
        """Return whether it is our turn, and the owner of the lease.

        Inside the caller's transaction nobody would see a lease: there it is our turn without one.
        """
        if connections[self._rows.db].in_atomic_block:
            return True, None
        owner = lease.take(self._rows, self._state.account)
        return owner is not None, owner

    @sensitive_variables()
    def _refresh_under_lease(
        self, owner: uuid.UUID | None, *, is_forced: bool | None = None
    ) -> AccessToken | None:
        """Ask Google, and give the lease back however that ends."""
        row = self._state.account
        if is_forced is None:
            # Whether this token is to be replaced before its time.
            is_forced = self._rejected is not None and row.has_unexpired_access_token(
                leeway=refresh_leeway()
            )
        try:
            return self._refresh_row(owner, is_forced=is_forced)
        except RefreshUnavailableError as error:
            if owner:
                delay = lease.back_off(self._rows, row, owner)
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
                lease.give_back(self._rows, row, owner, is_failing=is_failing)
            raise

    @sensitive_variables()
    def _refresh_row(self, owner: uuid.UUID | None, *, is_forced: bool) -> AccessToken | None:
        """Ask Google and store the answer; nothing if the row has changed hands meanwhile."""
        row = self._state.account
        # Whatever is written from here on, it is written only as long as the row is still ours:
        # a lease may have run out meanwhile, and a new grant may have taken the place of this one.
        guard = lease.rows_still_ours(self._rows, row, owner)
        try:
            client = get_issuing_client(row)
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
        if not store_refresh(client, row, response, guard=guard, is_forced=is_forced):
            return None
        if response.id_token:
            follow_identity(client, row, response.id_token)
        return AccessToken(
            value=response.access_token, expires_at=response.access_token_expires_at, is_new=True
        )


def _choose_rows(account: GoogleAccount) -> GoogleAccountQuerySet:
    """Return all accounts, through the connection on which a refresh is not undone."""
    default = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    if conf.refresh_using is None or not connections[default.db].in_atomic_block:
        return default
    apart = GoogleAccount.objects.using(conf.refresh_using)
    # A row that the caller's transaction has just made is not there for anybody else.
    return apart if apart.filter(pk=account.pk).exists() else default


def _choose_pause(waited: float) -> float:
    """Return the seconds until the next look: nobody waits an eighth longer than needed."""
    pause = min(max(waited / 8, _SHORTEST_PAUSE), _LONGEST_PAUSE)
    return pause * uniform(0.5, 1)  # noqa: S311  no secret
