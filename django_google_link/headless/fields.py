"""Reads the members of a JSON object and validates their types."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from .errors import FrontEndError

# VSCHAR of RFC 6749 appendix A, the characters of an authorization response.
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def read_text(data: Mapping[str, Any], name: str, *, longest: int = 4096) -> str:
    """Return a member of printable ASCII; an empty string if it is missing or ``null``.

    Raises:
        FrontEndError: for anything else.
    """
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refuse_field(name, "is not a string")
    if len(value) > longest:
        raise refuse_field(name, f"is longer than {longest} characters")
    if not _PRINTABLE.fullmatch(value):
        raise refuse_field(name, "has characters that are not printable ASCII")
    return value


def read_flag(data: Mapping[str, Any], name: str) -> bool:
    """Return a boolean member; ``False`` if it is missing or ``null``.

    Raises:
        FrontEndError: for anything else.
    """
    value = data.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise refuse_field(name, "is neither true nor false")


def refuse_unknown(data: Mapping[str, Any], known: Collection[str]) -> None:
    """Reject unknown members, instead of ignoring what the sender relies on.

    Raises:
        FrontEndError: if there is one.
    """
    for name in data:
        if name not in known:
            raise FrontEndError(
                400,
                "invalid_request",
                f"Unknown member. Known members: {', '.join(sorted(known))}. Scopes come from a "
                "link_request or the settings, never from the front end.",
            )


def refuse_field(name: str, problem: str) -> FrontEndError:
    """Return the error for an invalid member."""
    return FrontEndError(400, "invalid_request", f"{name} {problem}.", field=name)
