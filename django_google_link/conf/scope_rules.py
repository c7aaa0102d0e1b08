"""Decides whether granted scopes suffice, and which scopes to request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..scopes import parse_scopes
from .implied_scopes import IMPLIED_SCOPES
from .settings import conf

#: It requests a refresh token, and gives access to nothing (OpenID Connect Core section 11).
_NEVER_MISSING = frozenset({"offline_access"})

_Table = tuple[tuple[str, tuple[str, ...]], ...]


def missing_scopes(required: Iterable[str], granted: Iterable[str]) -> frozenset[str]:
    """Return the required scopes that are neither granted nor implied by granted ones."""
    had = frozenset(parse_scopes(granted))
    missing = frozenset(parse_scopes(required)) - had - _NEVER_MISSING
    return missing - implied_scopes(had) if missing else missing


def implied_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes that these scopes imply, without these; see ``implied_scopes.py``."""
    implied = conf.implied_scopes
    # The closure of the default table is computed once, not compared item by item.
    is_usual = implied is IMPLIED_SCOPES
    table = _close(None if is_usual else tuple(implied.items()))
    return frozenset().union(*(table.get(scope, ()) for scope in scopes))


def choose_scopes(
    scopes: Iterable[str], *, required: Iterable[str], granted: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the scopes to request: never a scope together with another that implies it.

    Of two required scopes, the wide one is requested, and likewise of two optional ones. A wide
    optional scope is left out if it implies a required one: a user who declined it would lose both.
    It can be requested later, when it is required.

    Args:
        scopes: the required and the optional scopes.
        required: the scopes that must be granted.
        granted: the scopes that are already granted and will be included anyway.
    """
    wanted = parse_scopes(scopes)
    held = implied_scopes(parse_scopes(granted))
    needed = frozenset(parse_scopes(required)).intersection(wanted) - held
    optional = [
        scope
        for scope in wanted
        if scope not in needed and scope not in held and needed.isdisjoint(implied_scopes([scope]))
    ]
    kept = set(_drop_implied([scope for scope in wanted if scope in needed]))
    kept.update(_drop_implied([s for s in optional if s not in implied_scopes(kept)]))
    return tuple(scope for scope in wanted if scope in kept)


def _drop_implied(scopes: list[str]) -> list[str]:
    kept = list(scopes)
    for scope in scopes:
        # One after another, so that one is left of two that imply each other.
        if scope in implied_scopes(other for other in kept if other != scope):
            kept.remove(scope)
    return kept


@lru_cache(maxsize=8)
def _close(table: _Table | None) -> Mapping[str, frozenset[str]]:
    """Return all scopes that each scope implies, directly or not; by default of our table."""
    direct = IMPLIED_SCOPES if table is None else dict(table)

    def walk(scope: str, seen: set[str]) -> set[str]:
        for narrow in direct.get(scope, ()):
            if narrow not in seen:
                seen.add(narrow)
                walk(narrow, seen)
        return seen

    return {scope: frozenset(walk(scope, set())) - {scope} for scope in direct}
