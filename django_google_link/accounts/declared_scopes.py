"""The scopes that the running code has declared it needs of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ..models import GoogleAccount

#: Returns the scopes needed of an account; none for an account that it does not concern.
Declaration = Callable[[GoogleAccount], Sequence[str]]

_current: ContextVar[Declaration | None] = ContextVar("google_link_declaration", default=None)


@contextmanager
def declaring(declaration: Declaration | None) -> Iterator[None]:
    """Make a declaration available to API clients that are created or used in this block."""
    token = _current.set(declaration)
    try:
        yield
    finally:
        _current.reset(token)


def current_declaration() -> Declaration | None:
    """Return the declaration in effect, if any."""
    return _current.get()


def list_declared_scopes(
    account: GoogleAccount, declarations: Sequence[Declaration | None]
) -> tuple[str, ...]:
    """Return all scopes declared for an account."""
    return tuple(
        scope for declare in declarations if declare is not None for scope in declare(account)
    )
