"""Scopes the way Google's token responses spell them."""

from __future__ import annotations

from collections.abc import Iterable

OPENID = "openid"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
PROFILE = "https://www.googleapis.com/auth/userinfo.profile"
IDENTITY = frozenset({OPENID, EMAIL, PROFILE})
"""What signing in is made of: shown on the consent page, never to be unticked."""

_ALIASES = {"email": EMAIL, "profile": PROFILE}


def normalize_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in their long form and first order, each once.

    Args:
        scopes: scope names. A bare string is refused: it would fall apart into letters.

    Raises:
        TypeError: for a string.
    """
    if isinstance(scopes, str):
        raise TypeError(f"Pass a list of scopes, not the string {scopes!r}.")
    return tuple(dict.fromkeys(_ALIASES.get(scope, scope) for scope in scopes))


def merge_scopes(*groups: Iterable[str]) -> tuple[str, ...]:
    """Return all the scopes of the groups, each once, in order."""
    return tuple(dict.fromkeys(scope for group in groups for scope in group))


def scope_label(scope: str) -> str:
    """Return the end of a scope that people recognise, such as ``calendar.readonly``."""
    return scope.rstrip("/").rpartition("/")[2]
