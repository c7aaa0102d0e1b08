"""Access tokens that are valid when they are handed out."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from random import uniform

from django.db import router
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.settings import conf
from ..exceptions import (
    GrantLostError,
    KeyServiceError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet, Reason, RefreshProblem, Status
from ..secret import Secret
from . import lease
from .circuit_breaker import Circuit, read_circuit
from .database_errors import DATABASE_FAILURES
from .lost_grants import note_loss
from .refresh_turns import RefreshTurn, take_turn
from .stored_tokens import AccessToken, choose_leeway, stored_access_token
from .tenants import apply_selection, read_selection
from .transactions import close_if_lost, is_in_callers_transaction, sees_other_commits
from .waiting_queues import find_queue

logger = logging.getLogger("django_google_link")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.03, 0.5  # seconds

#: Failures that say nothing about the grant itself.
_HINDRANCES = (TokenEndpointError, *DATABASE_FAILURES)


@sensitive_variables()
def fresh_access_token(
    account: GoogleAccount,
    *,
    rejected: Secret | None = None,
    leeway: timedelta | None = None,
    wait: bool = True,
) -> AccessToken:
    """Return a valid access token, from the database or from the provider.

    However many callers ask at the same time, in however many processes, one of them asks the
    provider and the others use its token. No transaction is open meanwhile, except the caller's.

    Inside the caller's own transaction no other worker would see a lease: it is respected there,
    but not taken. A rollback loses the new token, and the note that a grant was lost, until the
    next call. ``REFRESH_USING`` names a second connection to the same database, which avoids both.

    Args:
        account: the linked account; its row is read again.
        rejected: a token that an API refused, or that is about to expire.
        leeway: the time for which a stored token must remain valid; by default that of
            :func:`choose_leeway`.
        wait: whether to wait for another worker that is asking the provider.

    Raises:
        NotLinkedError: when the row no longer exists.
        GrantLostError: when the provider no longer honours the grant.
        TokenUndecryptableError: when the stored refresh token was tampered with.
        EncryptionKeyUnavailableError: when the key of the stored token is not configured, or (a
            ``KeyServiceError``) when no key service can unwrap it at present.
        ClientMisconfiguredError: when the provider refuses the OAuth client.
        RefreshUnavailableError: when no stored token is valid, and the provider cannot be
            reached, another worker has stored none within ``REFRESH_WAIT`` seconds, or the
            database cannot store one.
        TokenEndpointError: when the provider refuses this account for another reason.
    """
    request = _AccessTokenRequest(account, leeway=leeway, rejected=rejected)
    request.read_row()
    if request.is_without_refresh_token:
        return request.only_token()
    token = request.usable_token()
    # With a token that is still valid, or without waiting, one attempt is enough.
    if token is None and (not wait or request.unexpired_token()):
        token = request.refresh_in_turn()
    if token is None and wait:
        token = request.wait()
    if token is None:
        raise RefreshUnavailableError("refresh_under_way")
    return token


@sensitive_variables()
def check_grant(account: GoogleAccount, *, wait: bool = False) -> None:
    """Ask the provider now whether it honours a grant, whatever the row says.

    The answer is stored as after any refresh: a lost grant that works again is recovered.

    Args:
        account: the linked account; its row is read again.
        wait: whether to wait up to ``REFRESH_WAIT`` seconds for another worker that is asking the
            provider.

    Raises:
        NotLinkedError: when the row no longer exists.
        GrantLostError: when the provider does not honour the grant, or no refresh token is stored.
        RefreshUnavailableError: when the provider cannot be reached, or another worker is asking
            it.

    Other errors are those of :func:`fresh_access_token`.
    """
    started = time.monotonic()
    while True:
        try:
            return _AccessTokenRequest(account, leeway=None, rejected=None).check_grant()
        except RefreshUnavailableError as error:
            waited = time.monotonic() - started
            is_leased = error.error == "refresh_under_way"
            if not (wait and is_leased) or waited > lease.longest_wait():
                raise
        time.sleep(_choose_pause(waited))


class _AccessTokenRequest:
    """One caller's request for an access token, and the row as it was last read.

    Args:
        account: the linked account.
        leeway: the time for which a stored token must remain valid; ``None`` for the default.
        rejected: a token that the caller cannot use.
    """

    def __init__(
        self, account: GoogleAccount, *, leeway: timedelta | None, rejected: Secret | None
    ) -> None:
        self._account = account
        self._leeway = leeway
        self._rejected = rejected
        self._rows = _choose_rows(account)
        self._state: lease.RefreshState
        self._stored: AccessToken | None

    @sensitive_variables()
    def read_row(self) -> None:
        """Read the row again, and decrypt its access token once.

        Raises:
            NotLinkedError: when the row no longer exists.
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
        """Whether the access token cannot be refreshed."""
        return bool(self._state.account.without_refresh_token)

    @sensitive_variables()
    def only_token(self) -> AccessToken:
        """Return the stored token, where it cannot be refreshed.

        If an API has refused it, the grant is lost, unless the token was issued just now: an API
        that refuses every token must not send its users from one consent to the next.

        Raises:
            GrantLostError: when an API has refused it, or it cannot be decrypted.
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
        note_loss(row, reason, guard=lease.rows_still_ours(self._rows, row, owner=None))

    def usable_token(self) -> AccessToken | None:
        """Return the stored token if it remains valid long enough and was not rejected."""
        row = self._state.account
        leeway = choose_leeway(row) if self._leeway is None else self._leeway
        if self._stored is None or not row.has_unexpired_access_token(leeway=leeway):
            return None
        if self._state.was_forced:
            # It is new: an API that refuses it would refuse another one too.
            return self._stored
        return self.unexpired_token()

    def unexpired_token(self) -> AccessToken | None:
        """Return the stored token if it has not expired and was not rejected."""
        if self._stored is None or self._stored.value == self._rejected:
            return None
        return self._stored

    def attempt(self) -> AccessToken | None:
        """Return the stored or a new token; nothing while another worker is asking for one."""
        self.read_row()
        return self.usable_token() or self.refresh_in_turn()

    def wait(self) -> AccessToken | None:
        """Wait for a token, and report for how long to monitoring."""
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
        """Try again until there is a token, for at most ``REFRESH_WAIT`` seconds.

        One thread of this process does so at a time; the others queue behind it.
        """
        started, longest = time.monotonic(), lease.longest_wait()
        queue = find_queue(self._account.pk)
        # Without a queue, the row was read just now, and is written only if it has not changed.
        is_first = queue.acquire(blocking=False)
        if not is_first and not queue.acquire(timeout=longest):
            return None
        try:
            token = self.refresh_in_turn() if is_first else None
            while not (token := token or self.attempt()):
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
        """Ask the provider, if it is our turn. Else return the stored token until it expires."""
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
        circuit.check()  # Before the lease is written: in an outage every caller gets here.
        turn = take_turn(self._rows, row)
        return self._refresh(turn, circuit) if turn else None

    @sensitive_variables()
    def _refresh(self, turn: RefreshTurn, circuit: Circuit) -> AccessToken | None:
        row = self._state.account
        is_forced = self._rejected is not None and row.has_unexpired_access_token(
            leeway=choose_leeway(row)
        )
        kind = "forced_refresh" if is_forced else "refresh"
        return turn.refresh(circuit, is_forced=is_forced, kind=kind)

    @sensitive_variables()
    def check_grant(self) -> None:
        """Ask the provider, whatever the row says; see the function of this name."""
        self._read_state()
        row = self._state.account
        if row.without_refresh_token and row.is_active:
            return  # Only an API could tell.
        if not row.sealed_refresh_token:
            raise GrantLostError(reason=row.lost_reason, account=row)
        turn = None if self._state.is_leased else take_turn(self._rows, row)
        if turn is None:
            raise RefreshUnavailableError("refresh_under_way")
        circuit = read_circuit(row.issuer, using=self._rows.db)
        if turn.refresh(circuit, is_forced=True, kind="check"):
            return
        turn.give_back()  # The grant was already lost, so nothing was written.
        self._read_state()
        row = self._state.account
        if not row.is_active:
            raise GrantLostError(reason=row.status_reason, account=row)

    def _read_state(self) -> None:
        state = self._find_state()
        if state is None:
            raise NotLinkedError
        self._state = state

    def _find_state(self) -> lease.RefreshState | None:
        default = _query_accounts()
        if self._rows.db != default.db:
            try:
                return lease.read_state(self._rows, self._account.pk)
            except DATABASE_FAILURES as error:
                _give_up_connection(self._rows.db, error)
                self._rows = default
        return lease.read_state(self._rows, self._account.pk)


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
    """Return all accounts, on a connection where a rollback does not undo a refresh."""
    default, second = _query_accounts(), conf.refresh_using
    if second in {None, default.db} or not is_in_callers_transaction(default.db):
        return default
    # Read before the second connection is tried: errors of the caller's own are the caller's.
    selection = read_selection(using=default.db)
    apart = GoogleAccount.objects.using(second)
    try:
        apply_selection(selection, using=apart.db)
        # A row that the caller's transaction has created is not visible on another connection.
        return apart if apart.filter(pk=account.pk).exists() else default
    except DATABASE_FAILURES as error:
        _give_up_connection(apart.db, error)
        return default


def _query_accounts() -> GoogleAccountQuerySet:
    return GoogleAccount.objects.using(router.db_for_write(GoogleAccount))


def _give_up_connection(using: str, error: Exception) -> None:
    """Log that the second connection fails, and let the next call open it again."""
    logger.warning(
        "The connection %s for refreshes inside transactions cannot be used: %s",
        using,
        type(error).__name__,
    )
    close_if_lost(using)


def _choose_pause(waited: float) -> float:
    """Return the seconds until the next attempt: at most an eighth of the time waited so far."""
    pause = min(max(waited / 8, _SHORTEST_PAUSE), _LONGEST_PAUSE)
    return pause * uniform(0.5, 1)  # noqa: S311  no secret
