"""Access tokens that are always fresh."""

from __future__ import annotations

import logging
import os
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import uniform
from threading import Lock
from typing import cast
from weakref import WeakValueDictionary

from django.db import router
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import get_issuing_client
from ..conf.settings import conf
from ..encryption import keyring
from ..exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    GrantNotStoredError,
    KeyServiceError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenEndpointError,
    TokenUndecryptableError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet, Reason, RefreshProblem, Status
from ..oauth import endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import lease
from .answers import DATABASE_FAILURES
from .circuit_breaker import Circuit, read_circuit
from .database import lease_duration
from .grants import mark_lost
from .refreshed_tokens import follow_identity, store_refresh
from .stored_tokens import AccessToken, choose_leeway, stored_access_token
from .transactions import is_in_callers_transaction, sees_other_commits

logger = logging.getLogger("django_google_link")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.03, 0.5  # seconds
#: Seconds: for what is asked besides, or late; and for the answer to be stored.
_LEAST_TIME, _TIME_TO_STORE = 1, 2

#: What keeps Google from being asked, or from giving a token, and says nothing of the grant.
_HINDRANCES = (TokenEndpointError, *DATABASE_FAILURES)


class _Queues:
    """The accounts of which threads of this process wait for a token, one behind the other."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: WeakValueDictionary[uuid.UUID, Lock] = WeakValueDictionary()

    def find(self, account_id: uuid.UUID) -> Lock:
        """Return what the one who is first in the queue holds."""
        with self._lock:
            return self._waiting.setdefault(account_id, Lock())


class _Process:
    queues = _Queues()


def _start_anew() -> None:
    """Begin with empty queues: nobody is left in this process who would leave the old ones."""
    _Process.queues = _Queues()


os.register_at_fork(after_in_child=_start_anew)


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
        leeway: the life that a stored token must have left; by default that of
            :func:`choose_leeway`.
        wait: for another worker that is asking Google at this moment.

    Raises:
        NotLinkedError: when the row is gone.
        GrantLostError: when Google no longer honours the grant.
        TokenUndecryptableError: when the stored refresh token was tampered with.
        EncryptionKeyUnavailableError: when the key of the stored token is not configured, or (a
            ``KeyServiceError``) no key service unwraps it at present.
        ClientMisconfiguredError: when Google refuses our client.
        RefreshUnavailableError: when no stored token lives, and Google cannot be reached, another
            worker has not brought one in ``REFRESH_WAIT`` seconds, or the database takes none.
        TokenEndpointError: when Google refuses this account for another reason.
    """
    request = _AccessTokenRequest(account, leeway=leeway, rejected=rejected)
    request.read_row()
    if request.is_without_refresh_token:
        return request.only_token()
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
    """Ask Google at once whether it honours a grant, whatever is known of that.

    What it says is noted as at any refresh: a grant that was lost and works again is recovered.

    Args:
        account: whose row is read again first.

    Raises:
        NotLinkedError: when the row is gone.
        GrantLostError: when Google does not honour the grant, or no refresh token is stored.
        RefreshUnavailableError: when Google cannot be reached, or another worker asks it now.

    And as :func:`fresh_access_token`.
    """
    _AccessTokenRequest(account, leeway=None, rejected=None).check_grant()


class _AccessTokenRequest:
    """One caller's need of an access token, and the row as that caller has read it last.

    Args:
        account: whose row it is.
        leeway: the life that a stored token must have left; ``None`` for what is usual.
        rejected: a token that is of no use to the caller.
    """

    def __init__(
        self, account: GoogleAccount, *, leeway: timedelta | None, rejected: Secret | None
    ) -> None:
        self._account = account
        self._leeway = leeway
        self._rejected = rejected
        self._rows = _choose_rows(account)
        self._state: lease.RefreshState
        # By ``time.monotonic()``.
        self._taken_at: float
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
            if row.status == Status.ACTIVE and row.without_refresh_token:
                self._note_loss(Reason.EXPIRED)
            raise GrantLostError(reason=row.lost_reason, account=row)
        self._stored = stored_access_token(row, leeway=timedelta())

    @property
    def is_without_refresh_token(self) -> bool:
        """Whether the row's access token is all that there is."""
        return bool(self._state.account.without_refresh_token)

    @sensitive_variables()
    def only_token(self) -> AccessToken:
        """Return the stored token, where there will be no other one.

        An API that refuses it says that the grant is lost, unless the token has just come: one that
        says no to everything must not send its user from consent to consent.

        Raises:
            GrantLostError: when it was refused, or cannot be read.
        """
        row = self._state.account
        is_refused = self._stored is not None and self._stored.value == self._rejected
        came_at = row.refreshed_at or row.linked_at
        is_new = clock.now() - came_at < lease.FORCED_REFRESH_INTERVAL
        if self._stored is not None and (is_new or not is_refused):
            return self._stored
        reason = Reason.REVOKED if is_refused else Reason.UNDECRYPTABLE
        self._note_loss(reason)
        raise GrantLostError(reason=reason, account=row)

    def _note_loss(self, reason: Reason) -> None:
        row = self._state.account
        _note_loss(row, reason, guard=lease.rows_still_ours(self._rows, row, owner=None))

    def usable_token(self) -> AccessToken | None:
        """Return the stored token, if it lives long enough and was not rejected."""
        row = self._state.account
        leeway = choose_leeway(row) if self._leeway is None else self._leeway
        if self._stored is None or not row.has_unexpired_access_token(leeway=leeway):
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
        """Wait for a token as :meth:`_wait` does, and tell monitoring for how long."""
        started, outcome = time.monotonic(), "failed"
        try:
            token = self._wait()
            outcome = "token" if token else "timeout"
            return token
        finally:
            signals.token_wait_finished.send_robust(
                None,
                client=self._state.account.client,
                outcome=outcome,
                seconds=time.monotonic() - started,
            )

    def _wait(self) -> AccessToken | None:
        """Attempt it again and again, for ``REFRESH_WAIT`` seconds, until there is a token.

        Of the threads of this process one does so, and the others wait for their turn.
        """
        started, longest = time.monotonic(), lease.longest_wait()
        queue = _Process.queues.find(self._account.pk)
        if not queue.acquire(timeout=longest):
            return None
        try:
            while not (token := self.attempt()):
                if self._state.is_leased and not sees_other_commits(self._rows.db):
                    raise RefreshUnavailableError(
                        "refresh_under_way",
                        "This transaction does not see what another worker fetches: try again "
                        "after it, or set REFRESH_USING.",
                    )
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
        if self._state.is_leased:
            return unexpired
        problem: Exception
        try:
            return self._refresh_if_allowed() or unexpired
        except KeyServiceError as error:
            problem = error
        except _HINDRANCES as error:
            problem = _explain_hindrance(error)
        if unexpired is None:
            raise problem
        return replace(unexpired, problem=problem)

    @sensitive_variables()
    def _refresh_if_allowed(self) -> AccessToken | None:
        row = self._state.account
        circuit = read_circuit(row.issuer, using=self._rows.db)
        if self._state.retry_at and circuit.heeds_wait(row):
            raise _make_waiting_error(row, self._state.retry_at)
        circuit.check()  # Before anything is written: in an outage there are many who ask.
        has_turn, owner = self._take_lease()
        return self._refresh_under_lease(owner, circuit) if has_turn else None

    @sensitive_variables()
    def check_grant(self) -> None:
        """Ask Google whatever is known; see the function of this name."""
        self._read_state()
        row = self._state.account
        if row.without_refresh_token and row.is_active:
            return  # The provider cannot be asked, but by an API.
        if not row.sealed_refresh_token:
            raise GrantLostError(reason=row.lost_reason, account=row)
        has_turn, owner = (False, None) if self._state.is_leased else self._take_lease()
        if not has_turn:
            raise RefreshUnavailableError("refresh_under_way")
        circuit = read_circuit(row.issuer, using=self._rows.db)
        if self._refresh_under_lease(owner, circuit, is_forced=True):
            return
        self._give_back_lease(owner)  # It was lost before, so that nothing was written.
        self._read_state()
        row = self._state.account
        if not row.is_active:
            raise GrantLostError(reason=row.status_reason, account=row)

    def _name_kind(self, is_forced: bool) -> str:
        """Return what kind of refresh this is, for monitoring."""
        if not is_forced:
            return "refresh"
        return "forced_refresh" if self._rejected else "check"

    def _read_state(self) -> None:
        state = lease.read_state(self._rows, self._account.pk)
        if state is None:
            raise NotLinkedError
        self._state = state

    def _take_lease(self) -> tuple[bool, uuid.UUID | None]:
        """Return whether it is our turn, and the owner of the lease.

        Inside the caller's transaction nobody would see a lease: there it is our turn without one.
        """
        self._taken_at = time.monotonic()
        if is_in_callers_transaction(self._rows.db):
            return True, None
        owner = lease.take(self._rows, self._state.account)
        return owner is not None, owner

    def _time_left(self, now: float) -> float:
        """Return the seconds that Google may take: another worker has the lease after its time."""
        until = self._taken_at + lease_duration().total_seconds() - _TIME_TO_STORE
        return min(conf.http_timeout, max(until - now, _LEAST_TIME))

    def _give_back_lease(self, owner: uuid.UUID | None, *, is_failing: bool = False) -> None:
        if owner is None:
            return
        with suppress(*DATABASE_FAILURES):  # It ends by itself.
            lease.give_back(self._rows, self._state.account, owner, is_failing=is_failing)

    @sensitive_variables()
    def _refresh_under_lease(
        self, owner: uuid.UUID | None, circuit: Circuit, *, is_forced: bool | None = None
    ) -> AccessToken | None:
        """Ask Google, and give the lease back however that ends."""
        row = self._state.account
        if is_forced is None:
            # Whether this token is to be replaced before its time.
            is_forced = self._rejected is not None and row.has_unexpired_access_token(
                leeway=choose_leeway(row)
            )
        try:
            return self._refresh_row(owner, circuit, is_forced=is_forced)
        except ClientMisconfiguredError as error:
            self._give_back_lease(owner, is_failing=not error.is_policy)
            raise
        except TokenEndpointError as error:
            if circuit.is_entered:
                self._back_off(owner, error)
            else:  # Google was not asked: it is not this account's failure.
                self._give_back_lease(owner)
            raise
        except BaseException:  # A worker that is told to stop gives it back as well.
            self._give_back_lease(owner)
            raise

    def _back_off(self, owner: uuid.UUID | None, error: TokenEndpointError) -> None:
        row = self._state.account
        if owner is None:
            return
        try:
            delay = lease.back_off(self._rows, row, owner, error)
        except DATABASE_FAILURES as failure:
            logger.warning(
                "The waiting time of the account %s could not be saved: %s",
                row.pk,
                type(failure).__name__,
            )
            return
        seconds = delay.total_seconds()
        if not isinstance(error, RefreshUnavailableError):
            logger.error(
                "%s refused the account %s, next attempt in %d s: %s",
                row.provider,
                row.pk,
                seconds,
                error,
            )
            return
        error.retry_at = clock.now() + delay
        logger.warning(
            "%s issued no token for the account %s, next attempt in %d s: %s",
            row.provider,
            row.pk,
            seconds,
            error,
        )

    @sensitive_variables()
    def _refresh_row(
        self, owner: uuid.UUID | None, circuit: Circuit, *, is_forced: bool
    ) -> AccessToken | None:
        """Ask Google and store the answer; nothing if the row has changed hands meanwhile."""
        row = self._state.account
        # Whatever is written from here on, it is written only as long as the row is still ours:
        # a lease may have run out meanwhile, and a new grant may have taken the place of this one.
        guard = lease.rows_still_ours(self._rows, row, owner)
        try:
            client = get_issuing_client(row)
            # An active row has one.
            refresh_token = cast("Secret", row.unseal_token("refresh_token"))
            # What cannot be encrypted is not asked for: it may take the stored token's place.
            keyring.require_key()
            circuit.enter()
            started = time.monotonic()
            with circuit.watch(str(row.pk)), limited(self._time_left(started)):
                response = endpoints.refresh(
                    client, refresh_token=refresh_token, kind=self._name_kind(is_forced)
                )
        except (GrantLostError, TokenUndecryptableError) as error:
            if not _note_loss(row, error.reason, guard=guard):
                return None
            error.account = row
            raise
        except ClientMisconfiguredError as error:
            logger.error("%s refuses the client %r: %s", row.provider, row.client, error)
            raise
        problem = None
        try:
            if not store_refresh(client, row, response, guard=guard, is_forced=is_forced):
                return None
        except GrantNotStoredError as error:
            # The stored refresh token is as good as before, and so is the new access token.
            problem = error
            self._give_back_lease(owner)
        if response.id_token and client.identity == "id_token" and not problem:
            with limited(max(started + conf.http_timeout - time.monotonic(), _LEAST_TIME)):
                follow_identity(client, row, response.id_token)
        expires_at = response.access_token_expires_at
        return AccessToken(
            value=response.access_token,
            expires_at=expires_at,
            lifetime=expires_at - clock.now() if expires_at else None,
            is_new=True,
            problem=problem,
        )


def _note_loss(row: GoogleAccount, reason: str, *, guard: GoogleAccountQuerySet) -> bool:
    """Note that a grant is dead; return whether the row was still ours."""
    try:
        return mark_lost(row, reason, guard=guard)
    except DATABASE_FAILURES as error:  # The caller is told; the next one finds it out again.
        logger.warning("The loss of a grant could not be saved: %s", type(error).__name__)
        return True


def _explain_hindrance(error: Exception) -> TokenEndpointError:
    if isinstance(error, TokenEndpointError):
        return error
    logger.error("The database does not accept an access token: %s", type(error).__name__)
    return RefreshUnavailableError("database_unavailable", "The database cannot store a new token.")


def _make_waiting_error(row: GoogleAccount, retry_at: datetime) -> TokenEndpointError:
    """Return why an account waits for its next attempt."""
    if row.refresh_problem == RefreshProblem.REFUSED:
        return TokenEndpointError(
            row.refresh_error, f"{row.provider} refused it at the last attempt."
        )
    return RefreshUnavailableError(
        "backing_off", f"{row.provider} gave no token a moment ago.", retry_at=retry_at
    )


def _choose_rows(account: GoogleAccount) -> GoogleAccountQuerySet:
    """Return all accounts, through the connection on which a refresh is not undone."""
    default = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    if conf.refresh_using is None or not is_in_callers_transaction(default.db):
        return default
    apart = GoogleAccount.objects.using(conf.refresh_using)
    # A row that the caller's transaction has just made is not there for anybody else.
    return apart if apart.filter(pk=account.pk).exists() else default


def _choose_pause(waited: float) -> float:
    """Return the seconds until the next look: nobody waits an eighth longer than needed."""
    pause = min(max(waited / 8, _SHORTEST_PAUSE), _LONGEST_PAUSE)
    return pause * uniform(0.5, 1)  # noqa: S311  no secret
