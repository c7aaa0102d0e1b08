"""One worker's turn to refresh an access token, from the lease to the stored response."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from django.views.decorators.debug import sensitive_variables

from ..conf import clock
from ..conf.clients import OAuthClient, get_issuing_client
from ..conf.settings import conf
from ..encryption import keyring
from ..exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    GrantNotStoredError,
    RefreshUnavailableError,
    TokenEndpointError,
    TokenUndecryptableError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet
from ..oauth import endpoints
from ..oauth.endpoints import TokenResponse
from ..oauth.metadata import with_endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import lease
from .circuit_breaker import Circuit
from .database import lease_duration
from .database_errors import DATABASE_FAILURES
from .lost_grants import note_loss
from .refreshed_tokens import follow_identity, store_refresh
from .stored_tokens import AccessToken
from .transactions import is_in_callers_transaction

logger = logging.getLogger("django_google_link")

#: Seconds: the least for a request that begins late, and what is left for storing its response.
_LEAST_TIME, _TIME_TO_STORE = 1, 2
#: Seconds for the issuer's keys. Short: the token is stored, and a new name can wait.
_TIME_FOR_KEYS = 2


def take_turn(rows: GoogleAccountQuerySet, row: GoogleAccount) -> RefreshTurn | None:
    """Take the lease of a row, and return the turn; nothing if another worker holds the lease.

    Inside the caller's own transaction no other worker would see a lease, so none is taken there.

    Args:
        rows: all accounts, on the connection to write to.
        row: as it was just read.
    """
    taken_at = time.monotonic()
    if is_in_callers_transaction(rows.db):
        return RefreshTurn(rows=rows, row=row, owner=None, taken_at=taken_at)
    owner = lease.take(rows, row)
    return RefreshTurn(rows=rows, row=row, owner=owner, taken_at=taken_at) if owner else None


@dataclass(frozen=True, kw_only=True)
class RefreshTurn:
    """The right to ask the provider for a new access token now.

    Attributes:
        rows: all accounts, on the connection to write to.
        row: as it was read before the lease was taken.
        owner: of the lease; ``None`` inside the caller's own transaction.
        taken_at: when the lease was taken, by ``time.monotonic()``.
    """

    rows: GoogleAccountQuerySet
    row: GoogleAccount
    owner: uuid.UUID | None
    taken_at: float

    @sensitive_variables()
    def refresh(self, circuit: Circuit, *, is_forced: bool, kind: str) -> AccessToken | None:
        """Ask the provider, store what it answers, and give the lease back however that ends.

        Args:
            circuit: of the provider.
            is_forced: whether the stored access token looked fresh.
            kind: of this refresh, for monitoring.

        Returns:
            The new token; nothing if the row was renewed or deleted meanwhile.
        """
        try:
            return self._refresh(circuit, is_forced=is_forced, kind=kind)
        except ClientMisconfiguredError as error:
            self.give_back(is_failing=not error.is_policy)
            raise
        except TokenEndpointError as error:
            if circuit.is_entered:
                self._back_off(error)
            else:  # The token endpoint was not asked: another worker need not wait.
                self.give_back(is_failing=not circuit.is_open)
            raise
        except BaseException:  # Also when the worker is told to stop.
            self.give_back()
            raise

    def give_back(self, *, is_failing: bool = False) -> None:
        """Give the lease back, if there is one. If that fails it expires by itself."""
        if self.owner is None:
            return
        with suppress(*DATABASE_FAILURES):
            lease.give_back(self.rows, self.row, self.owner, is_failing=is_failing)

    @sensitive_variables()
    def _refresh(self, circuit: Circuit, *, is_forced: bool, kind: str) -> AccessToken | None:
        row = self.row
        # The lease may expire while the provider is asked, and a new grant may replace this one:
        # from here on the row is written only while it is still ours.
        guard = lease.rows_still_ours(self.rows, row, self.owner)
        try:
            client = get_issuing_client(row)
            # An active row has one.
            refresh_token = cast("Secret", row.unseal_token("refresh_token"))
            # A response that could not be encrypted might rotate the stored refresh token.
            keyring.require_key()
            started = time.monotonic()
            with limited(self._find_time_limit(started)):
                # Other workers may know the endpoints: whether the issuer publishes them at the
                # moment says nothing about its token endpoint.
                client = with_endpoints(client)
                circuit.enter()
                response = self._request(client, refresh_token, circuit, guard=guard, kind=kind)
        except (GrantLostError, TokenUndecryptableError) as error:
            if not note_loss(row, error.reason, guard=guard):
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
            # The stored refresh token is still valid, and so is the new access token.
            problem = error
            self.give_back()
        if response.id_token and client.identity == "id_token" and not problem:
            remaining = max(started + conf.http_timeout - time.monotonic(), _LEAST_TIME)
            with limited(min(remaining, _TIME_FOR_KEYS)):
                follow_identity(client, row, response.id_token)
        expires_at = response.access_token_expires_at
        return AccessToken(
            value=response.access_token,
            expires_at=expires_at,
            lifetime=expires_at - clock.now() if expires_at else None,
            is_new=True,
            problem=problem,
        )

    @sensitive_variables()
    def _request(
        self,
        client: OAuthClient,
        refresh_token: Secret,
        circuit: Circuit,
        *,
        guard: GoogleAccountQuerySet,
        kind: str,
    ) -> TokenResponse:
        """Return a response that can be used. Of any other, a new refresh token is stored."""
        response = None
        try:
            with circuit.watch(str(self.row.pk)):
                response = endpoints.refresh(client, refresh_token=refresh_token, kind=kind)
                if response.problem:
                    raise response.problem
                return response
        except TokenEndpointError:
            # The stored refresh token is void if there is another one.
            if response and response.refresh_token not in (None, refresh_token):
                store_refresh(client, self.row, response, guard=guard, is_forced=False)
            raise

    def _find_time_limit(self, now: float) -> float:
        """Return the seconds for the request: another worker may ask once the lease expires."""
        until = self.taken_at + lease_duration().total_seconds() - _TIME_TO_STORE
        return min(conf.http_timeout, max(until - now, _LEAST_TIME))

    def _back_off(self, error: TokenEndpointError) -> None:
        row = self.row
        if self.owner is None:
            return
        try:
            delay = lease.back_off(self.rows, row, self.owner, error)
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
