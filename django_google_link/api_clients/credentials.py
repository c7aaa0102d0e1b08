"""google-auth credentials for an account. Imported late: google-auth takes a tenth of a second."""

from __future__ import annotations

import os
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import RLock, local
from typing import Any, Self, overload

from google.auth.credentials import CredentialsWithQuotaProject, ReadOnlyScoped, TokenState

from ..accounts.access_tokens import fresh_access_token
from ..accounts.declared_scopes import (
    Declaration,
    current_declaration,
    list_declared_scopes,
)
from ..accounts.stored_tokens import (
    AccessToken,
    bound_leeway,
    choose_leeway,
    stored_access_token,
)
from ..accounts.tenants import Tenants, acting_for
from ..accounts.threads import connections_as_before, read_callers_tenants, run_outside_event_loop
from ..accounts.usage import note_use
from ..conf.clients import get_api_endpoint, get_issuing_client
from ..conf.service_accounts import ServiceAccount, get_service_account
from ..conf.settings import MINIMUM_REFRESH_LEEWAY
from ..models import GoogleAccount
from ..secret import Secret
from .service_account_tokens import cached_service_token, service_token

#: google-auth considers a token expired with less lifetime left than this.
_EXPIRY_LEEWAY = timedelta(seconds=MINIMUM_REFRESH_LEEWAY)


class _HelperCredentials(ReadOnlyScoped, CredentialsWithQuotaProject):
    """Credentials without a refresh token or key, refreshed by this app.

    A copy or pickle contains no token, and gets one when it is used.

    Args:
        owner: the owner of the tokens; can be pickled.
        scopes: the scopes of the tokens.
        quota_project_id: the project that API calls are billed to.
    """

    # The tenants they were made for, whichever thread uses them. A pickle has none of its own.
    _tenants: Tenants = {}

    def __init__(
        self, owner: Any, *, scopes: list[str], quota_project_id: str | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owner = owner
        self.token: str | None = None
        self._scopes: list[str] = scopes
        self._quota_project_id = quota_project_id
        self._lifetime: timedelta | None = None
        # One per process: a fork may happen while another thread holds the lock. Reentrant, because
        # a receiver of a signal sent during a refresh may use these credentials.
        self._locks: dict[int, Any] = {}
        self._this_thread = local()

    @property
    def expired(self) -> bool:
        """Whether the token has expired or is about to, so that google-auth refreshes it.

        The margin is shorter for tokens that are valid for minutes than for those valid for an
        hour.
        """
        leeway = bound_leeway(_EXPIRY_LEEWAY, self._lifetime)
        return self.expiry is not None and _time_left(self.expiry) <= leeway

    @property
    def token_state(self) -> TokenState:
        """Whether the token is fresh, stale (about to expire) or invalid."""
        if not self.token or (self.expiry is not None and _time_left(self.expiry) <= timedelta()):
            return TokenState.INVALID
        return TokenState.STALE if self.expired else TokenState.FRESH

    @property
    def requires_scopes(self) -> bool:
        """Always false: the scopes are known."""
        return False

    def apply(self, headers: Any, token: str | None = None) -> None:
        """Add the token to the headers of a request."""
        super().apply(headers, token)  # type: ignore[no-untyped-call]
        self._this_thread.applied = token or self.token

    def refresh(self, request: object) -> None:
        """Get a newer token than the one that this thread last used.

        Of the threads that share these credentials, one requests it. In a running event loop it is
        requested from another thread, because Django forbids queries there.

        Args:
            request: google-auth's transport; ignored in favour of our own.

        Raises:
            ConsentRequiredError: (a ``RefreshError``) when the user must act.
            GoogleLinkError: as ``access_tokens.fresh_access_token`` and
                ``service_account_tokens.service_token`` say.
        """
        used = getattr(self._this_thread, "applied", None) or self.token
        run_outside_event_loop(partial(self._refresh, used))
        # A second call without apply() refers to the token current at that time.
        self._this_thread.applied = None

    def _refresh(self, used: str | None) -> None:
        # gRPC refreshes in its own threads, in which Django closes no connections.
        with self._locks.setdefault(os.getpid(), RLock()), connections_as_before():
            if self.token != used and self.valid:
                return  # Another thread has refreshed it.
            # A token that is merely about to expire remains usable if no other can be had.
            rejected = Secret(self.token) if self.token and self.valid else None
            self._take_token(self._get_fresh_token(rejected))

    def with_quota_project(self, quota_project_id: str | None) -> Self:
        """Return a copy that bills API calls to another project."""
        copy = type(self)(self._owner, scopes=self._scopes, quota_project_id=quota_project_id)
        copy.token, copy.expiry, copy._lifetime = self.token, self.expiry, self._lifetime
        copy._tenants = self._tenants
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            _restore_credentials,
            (type(self), self._owner, self._scopes, self._quota_project_id),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"

    @abstractmethod
    def _get_fresh_token(self, rejected: Secret | None) -> AccessToken:
        """Return a valid access token other than the rejected one."""

    def _take_token(self, token: AccessToken) -> None:
        # In this order: a thread that reads in between takes the old token for valid, and is
        # rejected; otherwise it would take the new one for expired, and request another.
        self._lifetime = token.lifetime
        self.expiry = _to_naive_utc(token.expires_at)
        self.token = token.value.reveal()


class AccountCredentials(_HelperCredentials):
    """Credentials of a linked account; the owner is the primary key of the ``GoogleAccount``."""

    # A copy or pickle has no declarations of its own.
    _declarations: tuple[Declaration | None, ...] = ()

    @classmethod
    def of(cls, account: GoogleAccount, *, declared: Sequence[str] = ()) -> Self:
        """Return the credentials of an account, with its stored access token if that is fresh.

        Args:
            account: the linked account.
            declared: the scopes that the caller named.
        """
        credentials = cls(account.pk, scopes=account.granted_scopes)
        credentials._declarations = (current_declaration(), lambda _: declared)
        credentials._tenants = read_callers_tenants()
        token = stored_access_token(account, leeway=choose_leeway(account))
        if token:
            credentials._take_token(token)
            note_use(account)
        return credentials

    @property
    def account_id(self) -> uuid.UUID:
        """The primary key of the account."""
        account_id: uuid.UUID = self._owner
        return account_id

    @property
    def tenants(self) -> Tenants:
        """The tenants for which these credentials were made."""
        return self._tenants

    def declared_scopes(self, account: GoogleAccount) -> tuple[str, ...]:
        """Return the scopes declared when these credentials were made, and by the running code."""
        return list_declared_scopes(account, (*self._declarations, current_declaration()))

    def _get_fresh_token(self, rejected: Secret | None) -> AccessToken:
        account = GoogleAccount(pk=self.account_id)
        with acting_for(self._tenants):
            token = fresh_access_token(account, rejected=rejected)
            note_use(account)
        return token


class ServiceAccountCredentials(_HelperCredentials):
    """Credentials of a service account; the owner is the ``ServiceAccount``."""

    @classmethod
    def of(cls, account: ServiceAccount, scopes: Sequence[str]) -> Self:
        """Return the credentials of an account, with the cached access token if there is one."""
        credentials = cls(account, scopes=list(scopes))
        token = cached_service_token(account, scopes)
        if token:
            credentials._take_token(token)
        return credentials

    def _get_fresh_token(self, rejected: Secret | None) -> AccessToken:
        return service_token(self._owner, self._scopes, rejected=rejected)


@overload
def make_credentials_for(
    account: GoogleAccount, *, scopes: Sequence[str] = ()
) -> AccountCredentials: ...
@overload
def make_credentials_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> AccountCredentials | ServiceAccountCredentials: ...
def make_credentials_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> AccountCredentials | ServiceAccountCredentials:
    """Return the credentials of an account.

    Args:
        account: a linked account, already checked to be ready; or a service account.
        scopes: the scopes of a service account's token; for a linked account, scopes to declare as
            needed.

    Raises:
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    if isinstance(account, ServiceAccount):
        return ServiceAccountCredentials.of(account, scopes)
    return AccountCredentials.of(account, declared=scopes)


def find_api_endpoint(account: GoogleAccount | ServiceAccount) -> str | None:
    """Return the URL that replaces Google's APIs, if one is configured.

    Raises:
        ClientMisconfiguredError: when the linked account's tokens were issued to another client.
        SettingsError: (an ``ImproperlyConfigured``) when the settings are invalid.
    """
    if isinstance(account, ServiceAccount):
        return get_service_account(account.name).api_endpoint
    api_endpoint = get_api_endpoint(account.client)
    if api_endpoint:
        # Raises if the row's tokens are from another issuer: Google's own must not reach an
        # emulator.
        get_issuing_client(account)
    return api_endpoint


def _restore_credentials(
    kind: type[_HelperCredentials], owner: Any, scopes: list[str], quota_project_id: str | None
) -> _HelperCredentials:
    return kind(owner, scopes=scopes, quota_project_id=quota_project_id)


def _time_left(expiry: datetime) -> timedelta:
    return expiry - datetime.now(UTC).replace(tzinfo=None)


def _to_naive_utc(moment: datetime | None) -> datetime | None:
    """Convert to the naive UTC datetime that google-auth compares with."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
