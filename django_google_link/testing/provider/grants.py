"""What users have given to clients, and the tokens that came of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .identities import FakeClient, FakeUser
from .scopes import merge_scopes

MAX_REFRESH_TOKENS = 100
"""Live refresh tokens of one account for one client, beyond which the oldest dies silently.

See https://developers.google.com/identity/protocols/oauth2#expiration.
"""


@dataclass(eq=False, kw_only=True)
class Token:
    """An access or refresh token. ``expires_at`` is in seconds since the epoch."""

    value: str = field(repr=False)
    user: FakeUser
    client: FakeClient
    scopes: tuple[str, ...]
    expires_at: float | None

    def is_of(self, user: FakeUser | None, client: FakeClient | None) -> bool:
        """Tell whether the token is this user's for this client; ``None`` is anyone."""
        return user in (None, self.user) and client in (None, self.client)


@dataclass(frozen=True, kw_only=True)
class FakeGrantTokens:
    """The tokens of a grant made without a flow. ``expires_in`` is in seconds."""

    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_in: int


class Grants:
    """The scopes of each user for each client, and live tokens. The caller holds the lock."""

    def __init__(self) -> None:
        self._scopes: dict[tuple[FakeUser, FakeClient], tuple[str, ...]] = {}
        self._access_tokens: dict[str, Token] = {}
        self._refresh_tokens: dict[str, Token] = {}

    def scopes(self, user: FakeUser, client: FakeClient) -> tuple[str, ...] | None:
        """Return all the scopes of the grant, or ``None`` if there is no grant."""
        return self._scopes.get((user, client))

    def add(self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...]) -> None:
        """Make a grant, or let an existing one grow."""
        self._scopes[user, client] = merge_scopes(self.scopes(user, client) or (), scopes)

    def replace(self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...]) -> None:
        """Set the scopes of the grant and of all its tokens."""
        self._scopes[user, client] = scopes
        for token in (*self._access_tokens.values(), *self._refresh_tokens.values()):
            if token.is_of(user, client):
                token.scopes = scopes

    def remove(self, user: FakeUser, client: FakeClient) -> None:
        """Forget the grant with all its tokens."""
        self._scopes.pop((user, client), None)
        self.drop_access_tokens(lambda token: token.is_of(user, client))
        _drop(self._refresh_tokens, lambda token: token.is_of(user, client))

    def drop_access_tokens(self, unwanted: Callable[[Token], bool]) -> None:
        """Forget the access tokens that ``unwanted`` picks."""
        _drop(self._access_tokens, unwanted)

    def add_access_token(
        self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...], expires_at: float
    ) -> Token:
        """Mint an access token."""
        value = f"ya29.a0{secrets.token_urlsafe(150)}"
        token = Token(value=value, user=user, client=client, scopes=scopes, expires_at=expires_at)
        self._access_tokens[value] = token
        return token

    def add_refresh_token(
        self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...], expires_at: float | None
    ) -> Token:
        """Mint a refresh token. Beyond ``MAX_REFRESH_TOKENS`` the oldest one dies."""
        value = f"1//0{secrets.token_urlsafe(75)}"
        token = Token(value=value, user=user, client=client, scopes=scopes, expires_at=expires_at)
        self._refresh_tokens[value] = token
        siblings = [t.value for t in self._refresh_tokens.values() if t.is_of(user, client)]
        for oldest in siblings[:-MAX_REFRESH_TOKENS]:
            del self._refresh_tokens[oldest]
        return token

    def access_token(self, value: str, now: float) -> Token | None:
        """Return the live access token of this value, if there is one."""
        return _live(self._access_tokens, value, now)

    def refresh_token(self, value: str, now: float) -> Token | None:
        """Return the live refresh token of this value, if there is one."""
        return _live(self._refresh_tokens, value, now)


def _live(tokens: dict[str, Token], value: str, now: float) -> Token | None:
    token = tokens.get(value)
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return None
    return token


def _drop(tokens: dict[str, Token], unwanted: Callable[[Token], bool]) -> None:
    for value in [token.value for token in tokens.values() if unwanted(token)]:
        del tokens[value]
