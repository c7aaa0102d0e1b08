"""A value that must not be seen, and the frames of an error that would show one."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, final

Error = TypeVar("Error", bound=BaseException)


@final
class Secret:
    """A token, code or key that no ``repr``, log line, error page or pickle can show.

    ``reveal()`` is the only way out. Two secrets compare in constant time. What copies or
    serializes objects by their attributes finds none that holds the value.
    """

    # The value is in the closure of a function: an attribute would be walked by serializers.
    __slots__ = ("_read",)

    def __init__(self, value: str) -> None:
        self._read: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the bare value, to be sent and forgotten."""
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
        raise TypeError("A Secret cannot be pickled or copied out of the process.")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)


def masked(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a copy that may stand in a frame, with the text under this key as a ``Secret``."""
    value = mapping.get(key)
    return {**mapping, key: Secret(value)} if isinstance(value, str) else {**mapping}


def cut_frames(error: Error) -> Error:
    """Leave out the frames of an error, and of all that led to it, and return it.

    Their local variables stand in error reports. An error that tells a worker to stop, which may
    come at any line, is as talkative as any other.
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
