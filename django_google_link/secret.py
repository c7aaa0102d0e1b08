"""``Secret``, and how to keep secrets out of error reports."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, final

Error = TypeVar("Error", bound=BaseException)


@final
class Secret:
    """A token, code or key that never appears in a ``repr``, log line, error page or pickle.

    Only ``reveal()`` returns the value. Secrets are compared in constant time.
    """

    # The value is in a closure, since serializers and error reporters walk attributes.
    __slots__ = ("_read",)

    def __init__(self, value: str) -> None:
        self._read: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the value itself. Do not keep it."""
        return self._read()

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A Secret cannot be pickled or copied.")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)


def masked(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a copy of a mapping in which the string under ``key`` is a ``Secret``."""
    value = mapping.get(key)
    return {**mapping, key: Secret(value)} if isinstance(value, str) else {**mapping}


def cut_frames(error: Error) -> Error:
    """Remove the tracebacks of an exception and of its causes and contexts, and return it.

    Error reports show the local variables of the frames in a traceback. That includes exceptions
    that stop a worker, which can be raised at any line.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
    return error
