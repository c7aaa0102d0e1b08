"""Access tokens of service accounts, kept for all processes in Django's cache, sealed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from django.core.cache import cache
from django.views.decorators.debug import sensitive_variables

from ..accounts.access_tokens import AccessToken, refresh_leeway
from ..accounts.lease import FORCED_REFRESH_INTERVAL
from ..conf import clock
from ..conf.clients import to_emulator
from ..conf.service_accounts import ServiceAccount, ServiceAccountSettings, get_service_account
from ..conf.settings import SettingsError, conf
from ..encryption.format import Binding
from ..encryption.keyring import seal, unseal
from ..exceptions import (
    ClientMisconfiguredError,
    RefreshUnavailableError,
    TokenDecryptionError,
    TokenEndpointError,
)
from ..models import is_unexpired
from ..oauth import transport
from ..oauth.endpoints import endpoint_error, is_transient
from ..secret import Secret

logger = logging.getLogger("django_google_link")

# Part of every ciphertext: never change it, whatever is renamed.
_PURPOSE = "service_account.access_token"
_CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS_OF_A_TURN = 30
_PAUSE = 0.05  # seconds
_SECRET_PARAMETERS = ("assertion", "client_secret", "refresh_token", "subject_token")


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """A token that somebody wants: for which account, acting for whom, with which scopes."""

    settings: ServiceAccountSettings
    subject: str
    scopes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Where the token is kept in the cache: for whoever would get the same from Google."""
        settings = self.settings
        parts = [
            settings.name,
            settings.principal,
            settings.token_uri,
            settings.api_endpoint or "",
            "" if settings.key else _this_machine(),
            self.subject,
            *sorted(self.scopes),
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return f"google_link.service_account.{digest}"

    @property
    def binding(self) -> Binding:
        """What the token is sealed for."""
        return Binding(
            purpose=_PURPOSE,
            row_id=self.key,
            owner=self.settings.principal,
            sub=self.subject,
            client_id="",
        )


def _this_machine() -> str:
    """Return whose default credentials are used here: other machines may have others."""
    return f"{socket.gethostname()} {os.environ.get('GOOGLE_APPLICATION_CREDENTIALS', '')}"


@sensitive_variables()
def held_service_token(account: ServiceAccount, scopes: Sequence[str]) -> AccessToken | None:
    """Return the access token that is in the cache, if it is fresh. Never asks Google.

    Arguments and errors as :func:`service_token`, but for those of Google's.
    """
    held = _held(_wish(account, scopes))
    return held.token if held and _is_fresh(held.token) else None


@sensitive_variables()
def service_token(
    account: ServiceAccount, scopes: Sequence[str], *, rejected: Secret | None = None
) -> AccessToken:
    """Return an access token that is good for now, from the cache or from Google.

    Of those who ask at the same time, one asks Google, as far as they share a cache. Follows
    https://developers.google.com/identity/protocols/oauth2/service-account and RFC 7523.

    Args:
        account: of the settings.
        scopes: that the token is to have.
        rejected: a token that an API refused, or that is about to expire.

    Raises:
        SubjectNotAllowedError: when the account may not act for this user.
        ClientMisconfiguredError: when Google refuses the account, or its acting for this user.
        RefreshUnavailableError: when Google cannot be reached and no other token in the
            cache lives.
        SettingsError: (an ``ImproperlyConfigured``) when the settings cannot work.
        ValueError: when no scope is named.
    """
    wish = _wish(account, scopes)
    held = _held(wish)
    if held and _serves(held, rejected):
        return held.token
    deadline = time.monotonic() + conf.http_timeout
    while not _take_turn(wish) and time.monotonic() < deadline:
        if held and held.token.value != rejected and is_unexpired(held.token.expires_at):
            return held.token  # Somebody is seeing to the next one.
        time.sleep(_PAUSE)
        held = _held(wish)
        if held and _serves(held, rejected):
            return held.token
    return _brought(wish, held, rejected)


@sensitive_variables()
def _brought(wish: _Wish, held: _Held | None, rejected: Secret | None) -> AccessToken:
    try:
        token = _from_google(wish)
    except RefreshUnavailableError:
        if held and held.token.value != rejected and is_unexpired(held.token.expires_at):
            # The turn is not ended: until it ends by itself, Google is left alone.
            return held.token
        _end_turn(wish)
        raise
    except BaseException:
        _end_turn(wish)
        raise
    _hold(wish, _Held(token=token, forced_at=clock.now() if rejected else None))
    _end_turn(wish)
    return token


def _wish(account: ServiceAccount, scopes: Sequence[str]) -> _Wish:
    settings = get_service_account(account.name)
    subject = settings.admit_subject(account.subject)
    if not scopes:
        raise ValueError(f"Name the scopes that the service account {account.name!r} is to use.")
    return _Wish(settings=settings, subject=subject, scopes=tuple(scopes))


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A token in the cache, and when one was asked for because an API had refused the last."""

    token: AccessToken
    forced_at: datetime | None


def _is_fresh(token: AccessToken) -> bool:
    return is_unexpired(token.expires_at, leeway=refresh_leeway())


def _serves(held: _Held, rejected: Secret | None) -> bool:
    if held.token.value == rejected:
        forced_at = held.forced_at
        return forced_at is not None and clock.now() - forced_at < FORCED_REFRESH_INTERVAL
    return _is_fresh(held.token)


@sensitive_variables()
def _held(wish: _Wish) -> _Held | None:
    sealed: Any = None
    with _cache_may_be_down():
        sealed = cache.get(wish.key)
    try:
        entry = json.loads(unseal(str(sealed), wish.binding).reveal())
    except TokenDecryptionError:
        return None  # None there, or its key was rotated out: Google gives another.
    forced_at = entry["forced_at"]
    return _Held(
        token=AccessToken(
            value=Secret(entry["token"]), expires_at=datetime.fromisoformat(entry["expires_at"])
        ),
        forced_at=datetime.fromisoformat(forced_at) if forced_at else None,
    )


@sensitive_variables()
def _hold(wish: _Wish, held: _Held) -> None:
    token, now = held.token, clock.now()
    expires_at = token.expires_at or now
    entry = {
        "token": token.value.reveal(),
        "expires_at": expires_at.isoformat(),
        "forced_at": held.forced_at.isoformat() if held.forced_at else None,
    }
    sealed = seal(Secret(json.dumps(entry)), wish.binding)
    with _cache_may_be_down():
        cache.set(wish.key, sealed, timeout=max((expires_at - now).total_seconds(), 0))


def _take_turn(wish: _Wish) -> bool:
    """Return whether it is ours to ask Google; without a cache it is everybody's."""
    with _cache_may_be_down():
        return cache.add(f"{wish.key}.turn", 1, timeout=_SECONDS_OF_A_TURN)
    return True


def _end_turn(wish: _Wish) -> None:
    with _cache_may_be_down():
        cache.delete(f"{wish.key}.turn")


@contextmanager
def _cache_may_be_down() -> Iterator[None]:
    """Go on without: it spares requests, and is not needed for any."""
    try:
        yield
    except Exception as error:
        logger.warning(
            "The cache cannot keep access tokens of service accounts: %s.", type(error).__name__
        )


@sensitive_variables()
def _from_google(wish: _Wish) -> AccessToken:
    door = _Door(wish.settings.api_endpoint)
    try:
        credentials = _google_credentials(wish, door)
        credentials.refresh(door)
        lifetime = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
        return AccessToken(
            value=Secret(credentials.token), expires_at=clock.now() + lifetime, is_new=True
        )
    except SettingsError:
        raise
    except Exception as error:
        # google-auth stumbles in many ways over what it does not expect. Its frames hold
        # assertions and tokens: no error of theirs goes further, on whatever page it is shown.
        problem = _refusal(wish, door, type(error).__name__)
    raise problem


@sensitive_variables()
def _google_credentials(wish: _Wish, door: _Door) -> Any:
    """Return google-auth's own credentials, which know every way to be a service account."""
    import google.auth
    from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials
    from google.oauth2.service_account import Credentials as KeyCredentials

    settings, scopes, subject = wish.settings, list(wish.scopes), wish.subject or None
    if settings.key:
        return KeyCredentials.from_service_account_info(  # type: ignore[no-untyped-call]
            _revealed(settings.key), scopes=scopes, subject=subject
        )
    if settings.impersonate:
        source, _ = google.auth.default([_CLOUD_PLATFORM], door)  # type: ignore[arg-type]
        return ImpersonatedCredentials(  # type: ignore[no-untyped-call]
            source,
            target_principal=settings.impersonate,
            target_scopes=scopes,
            subject=subject,
        )
    credentials, _ = google.auth.default(scopes, door)  # type: ignore[arg-type]
    if subject is None:
        return credentials
    if not hasattr(credentials, "with_subject"):
        raise _unusable(wish, "cannot act for a user with the default credentials of this machine")
    return credentials.with_subject(subject)


def _revealed(key: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.reveal() if isinstance(value, Secret) else value for name, value in key.items()
    }


def _unusable(wish: _Wish, what: str) -> SettingsError:
    return SettingsError(
        "E024",
        f"The service account {wish.settings.name!r} {what}.",
        hint="Give it a key by FILE or INFO, or let this machine have default credentials: see "
        "https://cloud.google.com/docs/authentication/application-default-credentials.",
    )


@dataclass
class _Response:
    """What google-auth expects of a transport."""

    status: int
    headers: Mapping[str, str]
    data: bytes = field(repr=False)


class _Door:
    """google-auth's way out: our own transport, bounded in time and without a log.

    Args:
        api_endpoint: what replaces ``https://*.googleapis.com``.
    """

    def __init__(self, api_endpoint: str | None) -> None:
        self._api_endpoint = api_endpoint
        self.answer: transport.Answer | None = None
        self.failure: RefreshUnavailableError | None = None
        self.sent: list[Secret] = []

    @sensitive_variables()
    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Response:
        from google.auth.exceptions import TransportError

        url = to_emulator(url, self._api_endpoint)
        self.sent += _secrets_in(body, headers)
        try:
            answer = transport.request(method, url, body=body, headers=headers, timeout=timeout)
        except RefreshUnavailableError as error:
            self.failure = error
        else:
            self.answer, self.failure = answer, None
            if not is_transient(answer):
                return _Response(status=answer.status, headers=answer.headers, data=answer.body)
        # google-auth would sleep and try again, while somebody waits for a page.
        raise TransportError("not now")  # type: ignore[no-untyped-call]


def _secrets_in(body: bytes | None, headers: Mapping[str, str] | None) -> list[Secret]:
    form = parse_qs((body or b"").decode(errors="replace"))
    texts = [text for name in _SECRET_PARAMETERS for text in form.get(name, [])]
    for name, value in (headers or {}).items():
        if name.lower() == "authorization":
            texts.append(value.rpartition(" ")[2])
    return [Secret(text) for text in texts if text]


def _refusal(wish: _Wish, door: _Door, kind: str) -> SettingsError | TokenEndpointError:
    """Return what google-auth ran into. No user can mend it, so no user is asked."""
    if door.failure:
        return RefreshUnavailableError(door.failure.error, door.failure.error_description)
    if door.answer is None:
        return _unusable(wish, f"has no credentials that can be used here ({kind})")
    error = endpoint_error(door.answer, sent=door.sent)
    if isinstance(error, RefreshUnavailableError):
        return error
    logger.error("Google refuses the service account %s: %s", wish.settings.name, error)
    return ClientMisconfiguredError(error.error, error.error_description, error.status)
