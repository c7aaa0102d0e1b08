"""Scopes, in the form that Google's token responses use."""

from __future__ import annotations

from collections.abc import Iterable

OPENID = "openid"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
PROFILE = "https://www.googleapis.com/auth/userinfo.profile"
IDENTITY = frozenset({OPENID, EMAIL, PROFILE})
"""The scopes for identification: shown on the consent page, but cannot be unticked."""

_ALIASES = {"email": EMAIL, "profile": PROFILE}


def normalize_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in their long form, in order and without duplicates.

    Args:
        scopes: the scopes; not a string, which would be split into characters.

    Raises:
        TypeError: for a string.
    """
    if isinstance(scopes, str):
        raise TypeError(f"Pass a list of scopes, not the string {scopes!r}.")
    return tuple(dict.fromkeys(_ALIASES.get(scope, scope) for scope in scopes))


def merge_scopes(*groups: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of all groups, in order and without duplicates."""
    return tuple(dict.fromkeys(scope for group in groups for scope in group))


def scope_label(scope: str) -> str:
    """Return the last part of a scope, such as ``calendar.readonly``."""
    return scope.rstrip("/").rpartition("/")[2]
