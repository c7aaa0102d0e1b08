"""Finds misspelt scopes and suggests corrections."""

from __future__ import annotations

import re
from difflib import get_close_matches

from ..scopes import IDENTITY_SCOPES, PREFIX
from .scope_classes import KNOWN_SCOPES

#: The scopes that OpenID Connect defines; all of Google's other scopes are URLs.
_SHORT_SCOPES = frozenset({*IDENTITY_SCOPES, "address", "offline_access", "phone"})

#: The syntax of a scope (RFC 6749 section 3.3), without the comma, a common wrong separator.
_SCOPE = re.compile(r"[!#-+\--\[\]-~]+")

#: Products whose scope has a different name.
_PRODUCTS = {"gmail": "https://mail.google.com/", "docs": f"{PREFIX}documents"}
_PRODUCTS |= {"sheets": f"{PREFIX}spreadsheets", "slides": f"{PREFIX}presentations"}

_MEANT = frozenset(
    {*KNOWN_SCOPES, *IDENTITY_SCOPES, f"{PREFIX}userinfo.email", f"{PREFIX}userinfo.profile"}
)


def find_scope_mistake(scope: str, *, is_google: bool) -> str:
    """Return what is certainly wrong with a scope and how to correct it, or an empty string.

    Args:
        scope: a single scope.
        is_google: whether it is one of Google's. Other providers may define any scopes.
    """
    if scope.startswith(("[", '"', "{")):
        return f"{scope!r} is not a scope, but JSON. Read it with json.loads()."
    if "," in scope:
        return f"{scope!r} is not a scope: it has a comma. Use a list: {_split(scope)}."
    if not _SCOPE.fullmatch(scope):
        return f"{scope!r} is not a scope: it has an invalid character. Copy it again."
    if not is_google or scope in _MEANT:
        return ""
    is_short = "://" not in scope and scope not in _SHORT_SCOPES
    meant = suggest_scope(scope)
    is_written_otherwise = bool(meant) and _normalize(scope) == _normalize(meant)
    if is_short or scope.count("://") > 1 or scope == PREFIX or is_written_otherwise:
        return f"{scope!r} is not one of Google's scopes. {_advise(meant)}"
    return ""


def find_scope_suspicion(scope: str) -> str:
    """Return what may be wrong with a scope of Google's, or an empty string."""
    meant = suggest_scope(scope)
    if scope in _MEANT or not meant:
        return ""
    return f"{scope!r} is not a known scope of Google's. {_advise(meant)}"


def suggest_scope(scope: str) -> str:
    """Return the known scope that a scope looks like a misspelling of, or an empty string.

    Most scopes are not known here: a scope with additional parts is not a misspelling.
    """
    name = _normalize(scope)
    if name in _PRODUCTS:
        return _PRODUCTS[name]
    words = name.split(".")
    similar = {}
    for known in _MEANT:
        expected = _normalize(known).split(".")
        if len(words) == len(expected) and all(map(_is_meant, words, expected)):
            similar[_normalize(known)] = known
    closest = get_close_matches(name, similar, n=1)
    return similar[closest[0]] if closest else ""


def _normalize(scope: str) -> str:
    return re.sub(r"^https?://www\.googleapis\.com/auth/", "", scope.lower()).rstrip("/")


def _is_meant(word: str, expected: str) -> bool:
    return word == expected or bool(get_close_matches(word, [expected], cutoff=0.8))


def _split(scope: str) -> str:
    parts = [part for part in scope.split(",") if part]
    quoted = ", ".join(f'"{suggest_scope(part) or part}"' for part in parts)
    return f"[{quoted}]"


def _advise(meant: str) -> str:
    if meant:
        return f"Did you mean {meant}?"
    return f"Write each scope in full, as a separate item, such as {PREFIX}calendar.readonly."
