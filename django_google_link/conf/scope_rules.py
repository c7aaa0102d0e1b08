"""What granted scopes are good for, and which scopes may stand in one authorization request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..scopes import parse_scopes
from .implied_scopes import IMPLIED_SCOPES
from .settings import conf

#: It asks for a refresh token, and opens nothing (OpenID Connect Core section 11).
_NEVER_MISSING = frozenset({"offline_access"})

_Table = tuple[tuple[str, tuple[str, ...]], ...]


def missing_scopes(required: Iterable[str], granted: Iterable[str]) -> frozenset[str]:
    """Return those of the required scopes that were not granted, and are not implied by others."""
    had = frozenset(parse_scopes(granted))
    missing = frozenset(parse_scopes(required)) - had - _NEVER_MISSING
    return missing - implied_scopes(had) if missing else missing


def implied_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return what these scopes imply, apart from themselves; see ``implied_scopes.py``."""
    implied = conf.implied_scopes
    # The usual table is not read anew at each request.
    is_usual = implied is IMPLIED_SCOPES
    table = _close(None if is_usual else tuple(implied.items()))
    return frozenset().union(*(table.get(scope, ()) for scope in scopes))


def choose_scopes(
    scopes: Iterable[str], *, required: Iterable[str], granted: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the scopes to ask for: never one together with another that it implies.

    Of two that are required the wide one is asked for, and so it is of two that are optional.
    A wide one that is optional makes room for a narrow one that is required: who declines the wide
    one would lose both. It can be asked for another time, when it is required.

    Args:
        scopes: all that is wanted.
        required: those of them that must be granted.
        granted: what is granted already, and comes with the authorization by itself.
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
        # One after another, so that of two that imply one another one is left.
        if scope in implied_scopes(other for other in kept if other != scope):
            kept.remove(scope)
    return kept


@lru_cache(maxsize=8)
def _close(table: _Table | None) -> Mapping[str, frozenset[str]]:
    """Return all that each scope implies, over any number of steps; by default, of our table."""
    direct = IMPLIED_SCOPES if table is None else dict(table)

    def walk(scope: str, seen: set[str]) -> set[str]:
        for narrow in direct.get(scope, ()):
            if narrow not in seen:
                seen.add(narrow)
                walk(narrow, seen)
        return seen

    return {scope: frozenset(walk(scope, set())) - {scope} for scope in direct}
