"""Which scopes the code that is running has said it needs of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ..models import GoogleAccount

#: Says what is needed of an account; nothing of one that was not meant.
Declaration = Callable[[GoogleAccount], Sequence[str]]

_current: ContextVar[Declaration | None] = ContextVar("google_link_declaration", default=None)


@contextmanager
def declaring(declaration: Declaration | None) -> Iterator[None]:
    """Let this be known to API clients that are made or used meanwhile."""
    token = _current.set(declaration)
    try:
        yield
    finally:
        _current.reset(token)


def current_declaration() -> Declaration | None:
    """Return what the code that is running has said, if it has."""
    return _current.get()


def list_declared_scopes(
    account: GoogleAccount, declarations: Sequence[Declaration | None]
) -> tuple[str, ...]:
    """Return all scopes that are declared for an account."""
    return tuple(
        scope for declare in declarations if declare is not None for scope in declare(account)
    )
