"""Validators of settings: each returns a valid value or raises a ``SettingsError``."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import signature
from typing import Any, TypeVar
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction
from django.utils.module_loading import import_string

from ..exceptions import SettingsError

T = TypeVar("T")
D = TypeVar("D")

#: A day in seconds. NaN and infinity are not less than it.
_FOREVER = 86_400
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def read_or_default(read: Callable[[], T], default: D) -> T | D:
    """Return a setting, or the default if the setting is invalid.

    For code that has to work nevertheless, such as an admin page: a system check reports the error.
    """
    try:
        return read()
    except SettingsError:
        return default


def read_seconds(value: Any, *, id: str, key: str, minimum: int) -> int:
    """Return a whole number of seconds from a key of ``GOOGLE_LINK``.

    Raises:
        SettingsError: if it is not one, or less than the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] is {value!r}.',
            hint=f"Use a whole number of seconds, {minimum} or more.",
        )
    return value


def read_time_limit(value: Any, *, id: str, key: str, minimum: float) -> float:
    """Return a number of seconds, not necessarily whole, from a key of ``GOOGLE_LINK``.

    Raises:
        SettingsError: if it is not one, or less than the minimum.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value < _FOREVER:
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] is {value!r}.',
            hint=f"Use a number of seconds, {minimum} or more.",
        )
    return float(value)


def read_url(value: Any, *, key: str, owner: str) -> str:
    """Return an address to which tokens may be sent.

    Args:
        value: the value in the settings.
        key: the name of the setting.
        owner: what has the setting, such as ``"the client 'default'"``.

    Raises:
        SettingsError: if it is not such an address.
    """
    if isinstance(value, str) and is_endpoint(value):
        return value
    raise SettingsError(
        "E015",
        f"{key} of {owner} is {value!r}.",
        hint="Use an absolute https address without a fragment; http is for loopback only.",
    )


def read_optional_url(settings: Mapping[str, Any], *, key: str, owner: str) -> str | None:
    """Return the address under this key, if it is set. Raises as :func:`read_url`."""
    value = settings.get(key)
    return None if value is None else read_url(value, key=key, owner=owner)


def import_function(
    path: object, *, id: str, key: str, arguments: str = "request"
) -> Callable[..., Any]:
    """Return the function whose dotted path a key of ``GOOGLE_LINK`` contains.

    Args:
        path: the value in the settings.
        id: the number of the system check.
        key: the name of the setting.
        arguments: the names of the arguments it is called with, separated by spaces.

    Raises:
        SettingsError: if it cannot be imported or cannot be called with these arguments.
    """
    try:
        function: Callable[..., Any] | None = import_string(path) if isinstance(path, str) else None
    except ImportError as error:
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] cannot be imported: {error}.',
            hint="Correct the dotted path.",
        ) from error
    if not callable(function):
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] does not name a function.',
            hint='Use the dotted path of a callable, such as "mysite.google.resolve".',
        )
    if iscoroutinefunction(function):
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] names an asynchronous function.',
            hint="Use a function without async: the app calls it from synchronous code.",
        )
    if not takes_arguments(function, len(arguments.split())):
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] names a function that cannot be called with ({arguments}).',
            hint=f"Write def {str(path).rpartition('.')[2]}({arguments}):",
        )
    return function


def takes_arguments(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with this many positional arguments."""
    try:
        signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        pass  # Some functions written in C have no signature.
    return True


def is_loopback(url: str) -> bool:
    """Return whether an address is on loopback."""
    return urlsplit(url).hostname in _LOOPBACK


#: Characters that remain around a value that was copied from a page or read from a file.
_INVISIBLE = string.whitespace + "\u00a0\u200b\u2060\ufeff"


def strip_invisible(text: str) -> str:
    """Return text without whitespace and byte order marks around it."""
    return text.strip(_INVISIBLE)


def normalize_host(host: str, scheme: str | None = None) -> str:
    """Return a host, with its port, as browsers write it.

    Args:
        host: the value of a ``Host`` header, to which a proxy may have added the default port.
        scheme: the scheme whose default port is removed; if ``None``, that of http and https.
    """
    host = host.lower()
    for name, port in (("https", ":443"), ("http", ":80")):
        if scheme in (None, name):
            host = host.removesuffix(port)
    name, separator, port = host.rpartition(":")
    if separator and port.isdecimal():
        return f"{name.removesuffix('.')}:{port}"
    return host.removesuffix(".")


@lru_cache(maxsize=256)
def is_endpoint(url: str) -> bool:
    """Return whether tokens may be sent to an address: it uses https, or is on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.fragment or "@" in parts.netloc or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))
