"""Grants of users to projects, and their tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .identities import FakeClient, FakeUser
from .scopes import merge_scopes

if TYPE_CHECKING:
    from .behaviour import Behaviour


@dataclass(eq=False, kw_only=True)
class Token:
    """An access or refresh token.

    Attributes:
        value: the token itself.
        user: the user who has authorized it.
        client: the client to which it was issued.
        scopes: the scopes that it covers.
        expires_at: the Unix time in seconds; ``None`` for never.
        family: the same for all tokens of one authorization.
        used_at: when a refresh token was last used; at first, when it was issued.
    """

    value: str = field(repr=False)
    user: FakeUser
    client: FakeClient
    scopes: tuple[str, ...]
    expires_at: float | None
    family: str = ""
    used_at: float = 0.0

    def is_of(self, user: FakeUser, client: FakeClient) -> bool:
        """Return whether it was issued to this client for this user."""
        return self.user is user and self.client is client

    def is_of_grant(self, user: FakeUser, client: FakeClient) -> bool:
        """Return whether it belongs to this user's grant for the client's project."""
        return self.user is user and self.client.project == client.project


@dataclass(frozen=True, kw_only=True)
class FakeGrantTokens:
    """The tokens of a grant made without a flow. ``expires_in`` is in seconds."""

    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_in: int


class Grants:
    """The granted scopes of each user and project, and the tokens. The caller holds the lock.

    A grant is for the whole project: scopes granted to one of its clients count for the others, and
    the grant ends for all of them at once. Tokens belong to a client.

    See https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth.

    Args:
        behaviour: determines the lifetime of tokens, among others.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._scopes: dict[tuple[FakeUser, str], tuple[str, ...]] = {}
        self._access_tokens: dict[str, Token] = {}
        self._refresh_tokens: dict[str, Token] = {}
        self._replaced_tokens: dict[str, Token] = {}

    def scopes(self, user: FakeUser, client: FakeClient) -> tuple[str, ...] | None:
        """Return the scopes of the grant, or ``None`` if there is no grant."""
        return self._scopes.get((user, client.project))

    def add(self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...]) -> None:
        """Add a grant, or add scopes to an existing one."""
        merged = merge_scopes(self.scopes(user, client) or (), scopes)
        self._scopes[user, client.project] = merged
        if self._behaviour.old_refresh_tokens_grow:
            for token in self._refresh_tokens.values():
                if token.is_of(user, client):
                    token.scopes = merge_scopes(token.scopes, scopes)

    def replace(self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...]) -> None:
        """Set the scopes of the grant and of the client's tokens.

        Tokens of the project's other clients keep those of their scopes that are still granted.
        """
        self._scopes[user, client.project] = scopes
        for token in (*self._access_tokens.values(), *self._refresh_tokens.values()):
            if token.is_of(user, client):
                token.scopes = scopes
            elif token.is_of_grant(user, client):
                token.scopes = tuple(scope for scope in token.scopes if scope in scopes)

    def remove(self, user: FakeUser, client: FakeClient) -> None:
        """Remove the grant with all its tokens, including those of the project's other clients."""
        self._scopes.pop((user, client.project), None)
        self._drop_tokens(lambda token: token.is_of_grant(user, client))

    def remove_user(self, user: FakeUser) -> None:
        """Remove all grants of a user."""
        self._scopes = {key: scopes for key, scopes in self._scopes.items() if key[0] is not user}
        self._drop_tokens(lambda token: token.user is user)

    def remove_family(self, family: str) -> None:
        """Remove the tokens of one authorization. The scopes stay granted."""
        self._drop_tokens(lambda token: token.family == family)

    def drop_access_tokens(self, is_unwanted: Callable[[Token], bool]) -> None:
        """Remove the access tokens for which ``is_unwanted`` is true."""
        _drop_from(self._access_tokens, is_unwanted)

    def add_access_token(
        self,
        user: FakeUser,
        client: FakeClient,
        scopes: tuple[str, ...],
        *,
        expires_at: float | None = None,
        family: str = "",
    ) -> Token:
        """Issue an access token.

        Args:
            user: the user who has authorized it.
            client: the client to which it is issued.
            scopes: the scopes that it covers.
            expires_at: the Unix time in seconds; by default after ``access_token_lifetime``.
            family: that of the refresh token it was issued with or for.
        """
        now, lifetime = self._behaviour.now(), self._behaviour.access_token_lifetime
        token = Token(
            value=f"ya29.a0{secrets.token_urlsafe(150)}",
            user=user,
            client=client,
            scopes=scopes,
            expires_at=now + lifetime if expires_at is None else expires_at,
            family=family,
        )
        self._access_tokens[token.value] = token
        return token

    def add_refresh_token(
        self, user: FakeUser, client: FakeClient, scopes: tuple[str, ...]
    ) -> Token:
        """Issue a refresh token. Beyond ``max_refresh_tokens`` the oldest one is removed."""
        now, lifetime = self._behaviour.now(), self._behaviour.refresh_token_lifetime
        token = Token(
            value=_make_refresh_token_value(),
            user=user,
            client=client,
            scopes=scopes,
            expires_at=None if lifetime is None else now + lifetime,
            family=secrets.token_urlsafe(16),
            used_at=now,
        )
        self._refresh_tokens[token.value] = token
        _drop_from(self._refresh_tokens, lambda token: not self._is_alive(token))
        siblings = [t.value for t in self._refresh_tokens.values() if t.is_of(user, client)]
        for oldest in siblings[: -self._behaviour.max_refresh_tokens]:
            del self._refresh_tokens[oldest]
        return token

    def replace_refresh_token(self, old: Token) -> Token:
        """Issue a refresh token that replaces another one, which becomes invalid."""
        token = Token(
            value=_make_refresh_token_value(),
            user=old.user,
            client=old.client,
            scopes=old.scopes,
            expires_at=old.expires_at,
            family=old.family,
            used_at=self._behaviour.now(),
        )
        self._replaced_tokens[old.value] = self._refresh_tokens.pop(old.value)
        self._refresh_tokens[token.value] = token
        return token

    def access_token(self, value: str) -> Token | None:
        """Return the valid access token with this value, if there is one."""
        token = self._access_tokens.get(value)
        return token if token and self._is_alive(token) else None

    def refresh_token(self, value: str) -> Token | None:
        """Return the valid refresh token with this value, if there is one."""
        token = self._refresh_tokens.get(value)
        return token if token and self._is_alive(token) else None

    def replaced_token(self, value: str) -> Token | None:
        """Return the refresh token with this value if it has been replaced."""
        return self._replaced_tokens.get(value)

    def _is_alive(self, token: Token) -> bool:
        now, longest = self._behaviour.now(), self._behaviour.refresh_token_max_idle
        if token.expires_at is not None and token.expires_at <= now:
            return False
        is_idle = longest is not None and token.used_at + longest <= now
        return not (is_idle and token.value in self._refresh_tokens)

    def _drop_tokens(self, is_unwanted: Callable[[Token], bool]) -> None:
        for tokens in (self._access_tokens, self._refresh_tokens, self._replaced_tokens):
            _drop_from(tokens, is_unwanted)


def _make_refresh_token_value() -> str:
    return f"1//0{secrets.token_urlsafe(75)}"


def _drop_from(tokens: dict[str, Token], is_unwanted: Callable[[Token], bool]) -> None:
    for value in [token.value for token in tokens.values() if is_unwanted(token)]:
        del tokens[value]
