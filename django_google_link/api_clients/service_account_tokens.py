"""Access tokens of service accounts, sealed and shared by all processes in Django's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.views.decorators.debug import sensitive_variables

from ..accounts.lease import FORCED_REFRESH_INTERVAL
from ..accounts.stored_tokens import AccessToken, bound_leeway, refresh_leeway
from ..conf import clock
from ..conf.service_accounts import ServiceAccount, ServiceAccountSettings, get_service_account
from ..conf.settings import conf
from ..encryption.format import Binding
from ..encryption.keyring import require_key, seal, unseal
from ..exceptions import RefreshUnavailableError, TokenDecryptionError
from ..models import is_unexpired
from ..secret import Secret, masked

logger = logging.getLogger("django_google_link")

# Part of every token's binding: never change it.
_PURPOSE = "service_account.access_token"
_SECONDS_OF_A_TURN = 30
_FAILED = "failed"
_PAUSE = 0.05  # seconds


@dataclass(frozen=True, kw_only=True)
class _TokenRequest:
    """A requested token: its account, subject and scopes."""

    settings: ServiceAccountSettings
    subject: str
    scopes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The cache key, shared by requests for which Google would issue an equivalent token."""
        settings = self.settings
        parts = [
            settings.name,
            settings.principal,
            settings.token_uri,
            settings.api_endpoint or "",
            "" if settings.key else _name_this_machine(),
            self.subject,
            *sorted(self.scopes),
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return f"google_link.service_account.{digest}"

    @property
    def binding(self) -> Binding:
        """The binding for which the token is sealed."""
        return Binding(
            purpose=_PURPOSE,
            row_id=self.key,
            owner=self.settings.principal,
            sub=self.subject,
            issuer="",
            client_id="",
        )


def _name_this_machine() -> str:
    """Identify the default credentials of this machine: other machines may have different ones."""
    return f"{socket.gethostname()} {os.environ.get('GOOGLE_APPLICATION_CREDENTIALS', '')}"


@sensitive_variables()
def cached_service_token(account: ServiceAccount, scopes: Sequence[str]) -> AccessToken | None:
    """Return the cached access token if it is fresh; makes no request to Google.

    For the arguments and errors see :func:`service_token`, except for Google's errors.
    """
    cached = _read_cached_token(_make_token_request(account, scopes))
    return cached.token if cached and _is_fresh(cached.token) else None


@sensitive_variables()
def service_token(
    account: ServiceAccount, scopes: Sequence[str], *, rejected: Secret | None = None
) -> AccessToken:
    """Return a valid access token, from the cache or from Google.

    Of concurrent callers that share a cache, one requests the token. Follows
    https://developers.google.com/identity/protocols/oauth2/service-account and RFC 7523.

    Args:
        account: the service account.
        scopes: the scopes of the token.
        rejected: a token that an API rejected, or that is about to expire.

    Raises:
        SubjectNotAllowedError: when the account may not act for this user.
        ClientMisconfiguredError: when Google refuses the account, or refuses to let it act for the
            user.
        RefreshUnavailableError: when Google cannot be reached and no other valid token is cached.
        SettingsError: (an ``ImproperlyConfigured``) when the settings are invalid.
        ValueError: when there are no scopes.
    """
    token_request = _make_token_request(account, scopes)
    cached = _read_cached_token(token_request)
    if cached and _is_usable(cached, rejected):
        return cached.token
    deadline = time.monotonic() + conf.http_timeout
    while not _take_turn(token_request) and time.monotonic() < deadline:
        if cached and cached.token.value != rejected and is_unexpired(cached.token.expires_at):
            return cached.token  # Another caller is requesting the next one.
        if _has_failed(token_request):
            raise RefreshUnavailableError("backing_off", "Google issued no token a moment ago.")
        time.sleep(_PAUSE)
        cached = _read_cached_token(token_request)
        if cached and _is_usable(cached, rejected):
            return cached.token
    # The previous holder of the turn may have stored a token since the last read.
    cached = _read_cached_token(token_request)
    if cached and _is_usable(cached, rejected):
        _end_turn(token_request)
        return cached.token
    return _request_in_turn(token_request, cached, rejected)


@sensitive_variables()
def _request_in_turn(
    token_request: _TokenRequest, cached: _CachedToken | None, rejected: Secret | None
) -> AccessToken:
    try:
        require_key()  # Without a key no token can be cached.
        token = _request_token(token_request)
    except RefreshUnavailableError:
        _fail_turn(token_request)
        if cached and cached.token.value != rejected and is_unexpired(cached.token.expires_at):
            return cached.token
        raise
    except BaseException:
        _end_turn(token_request)
        raise
    _cache_token(
        token_request, _CachedToken(token=token, forced_at=clock.now() if rejected else None)
    )
    _end_turn(token_request)
    return token


def _make_token_request(account: ServiceAccount, scopes: Sequence[str]) -> _TokenRequest:
    settings = get_service_account(account.name)
    subject = settings.admit_subject(account.subject)
    if not scopes:
        raise ValueError(f"Pass the scopes for the service account {account.name!r}.")
    return _TokenRequest(settings=settings, subject=subject, scopes=tuple(scopes))


@dataclass(frozen=True, kw_only=True)
class _CachedToken:
    """A cached token, and when it was requested because an API had rejected the previous one."""

    token: AccessToken
    forced_at: datetime | None


def _is_fresh(token: AccessToken) -> bool:
    return is_unexpired(token.expires_at, leeway=bound_leeway(refresh_leeway(), token.lifetime))


def _is_usable(cached: _CachedToken, rejected: Secret | None) -> bool:
    if cached.token.value == rejected:
        forced_at = cached.forced_at
        return forced_at is not None and clock.now() - forced_at < FORCED_REFRESH_INTERVAL
    return _is_fresh(cached.token)


@sensitive_variables()
def _read_cached_token(token_request: _TokenRequest) -> _CachedToken | None:
    sealed: Any = None
    with _without_cache_errors():
        sealed = cache.get(token_request.key)
    try:
        entry = masked(json.loads(unseal(str(sealed), token_request.binding).reveal()), "token")
    except TokenDecryptionError:
        return None  # None is cached, or its encryption key is gone.
    forced_at = entry["forced_at"]
    return _CachedToken(
        token=AccessToken(
            value=entry["token"],
            expires_at=clock.from_timestamp(entry["expires_at"]),
            lifetime=timedelta(seconds=entry["lifetime"]),
        ),
        forced_at=clock.from_timestamp(forced_at) if forced_at else None,
    )


@sensitive_variables()
def _cache_token(token_request: _TokenRequest, cached: _CachedToken) -> None:
    now = clock.now()
    expires_at = cached.token.expires_at or now
    sealed = _seal_entry(token_request, cached, expires_at)
    with _without_cache_errors():
        cache.set(token_request.key, sealed, timeout=max((expires_at - now).total_seconds(), 0))


@sensitive_variables()
def _seal_entry(token_request: _TokenRequest, cached: _CachedToken, expires_at: datetime) -> str:
    """Return the sealed cache entry; the bare token is out of scope before the cache is called."""
    entry = {
        "token": cached.token.value.reveal(),
        "expires_at": expires_at.timestamp(),
        "lifetime": cached.token.lifetime.total_seconds() if cached.token.lifetime else 0,
        "forced_at": cached.forced_at.timestamp() if cached.forced_at else None,
    }
    return seal(Secret(json.dumps(entry)), token_request.binding)


def _take_turn(token_request: _TokenRequest) -> bool:
    """Return whether this caller may request a token; without a working cache, every caller may."""
    key = f"{token_request.key}.turn"
    with _without_cache_errors():
        # If the key can be neither added nor read, the cache stores nothing: some backends return
        # False where others raise. Or the turn has just ended: then the token is cached by now.
        return cache.add(key, 1, timeout=_SECONDS_OF_A_TURN) or cache.get(key) is None
    return True


def _fail_turn(token_request: _TokenRequest) -> None:
    """Withhold requests for a while: a server that does not respond would hold up each caller."""
    with _without_cache_errors():
        cache.set(f"{token_request.key}.turn", _FAILED, timeout=_SECONDS_OF_A_TURN)


def _has_failed(token_request: _TokenRequest) -> bool:
    turn = None
    with _without_cache_errors():
        turn = cache.get(f"{token_request.key}.turn")
    return bool(turn == _FAILED)


def _end_turn(token_request: _TokenRequest) -> None:
    with _without_cache_errors():
        cache.delete(f"{token_request.key}.turn")


@contextmanager
def _without_cache_errors() -> Iterator[None]:
    """Continue without the cache if it fails: it only saves requests."""
    try:
        yield
    except Exception as error:
        logger.warning(
            "The cache cannot store access tokens of service accounts: %s.", type(error).__name__
        )


def _request_token(token_request: _TokenRequest) -> AccessToken:
    from .google_auth import request_access_token

    return request_access_token(
        token_request.settings, subject=token_request.subject, scopes=token_request.scopes
    )
