"""The keys of ``GOOGLE_LINK``, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from itertools import chain
from keyword import iskeyword
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.http import HttpRequest

from ..conf import clients, service_accounts
from ..conf.settings import KEYS, SettingsError, conf
from ..encryption.keyring import decode_key
from ..scopes import IDENTITY_SCOPES, PREFIX, parse_scopes
from ..secret import Secret
from .messages import error, warning

_SETTINGS = (
    "clients",
    "encryption_keys",
    "request_attribute",
    "refresh_leeway",
    "http_timeout",
    "state_max_age",
    "redirect_url",
    "refresh_using",
    "client_resolver",
    "service_accounts",
)

#: Those that OpenID Connect defines; all of Google's are addresses.
_SHORT_SCOPES = frozenset({*IDENTITY_SCOPES, "address", "offline_access", "phone"})


@register(Tags.security)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check that every key of ``GOOGLE_LINK`` can work."""
    try:
        names = conf.keys
    except SettingsError as problem:
        return [_error(problem)]
    readers = [partial(getattr, conf, name) for name in _SETTINGS]
    readers += [partial(clients.get_client, name) for name in _client_settings()]
    readers += [partial(service_accounts.get_service_account, name) for name in _service_accounts()]
    readers += [partial(decode_key, key) for key in _encryption_keys()]
    unknown = [
        _unknown_keys("GOOGLE_LINK", names, KEYS),
        *(
            _unknown_keys(f'GOOGLE_LINK["CLIENTS"]["{name}"]', settings, clients.KEYS)
            for name, settings in _client_settings().items()
        ),
        *(
            _unknown_keys(
                f'GOOGLE_LINK["SERVICE_ACCOUNTS"]["{name}"]', settings, service_accounts.KEYS
            )
            for name, settings in _service_accounts().items()
        ),
    ]
    return [
        *_errors(readers),
        *chain.from_iterable(unknown),
        *_taken_name(),
        *_weak_keys(),
        *_odd_scopes(),
        *_no_default(),
    ]


def _errors(readers: Iterable[Callable[[], Any]]) -> Iterator[CheckMessage]:
    for read in readers:
        try:
            read()
        except SettingsError as problem:
            yield _error(problem)


def _error(problem: SettingsError) -> CheckMessage:
    return error(problem.id, problem.message, hint=problem.hint)


def _client_settings() -> dict[str, Any]:
    try:
        return dict(conf.clients)
    except SettingsError:
        return {}


def _service_accounts() -> dict[str, Any]:
    try:
        return dict(conf.service_accounts)
    except SettingsError:
        return {}


def _encryption_keys() -> tuple[Secret, ...]:
    try:
        return conf.encryption_keys
    except SettingsError:
        return ()


def _unknown_keys(where: str, names: Iterable[str], known: Iterable[str]) -> Iterator[CheckMessage]:
    for name in sorted(set(map(str, names)).difference(known)):
        close = get_close_matches(name.upper(), known, n=1)
        yield warning(
            "W001",
            f"{where} has a key {name!r} that nobody reads.",
            hint=_hint_for(where, name, close),
        )


def _hint_for(where: str, name: str, close: list[str]) -> str:
    if where == "GOOGLE_LINK" and name in clients.KEYS:
        return f'It belongs into a client: GOOGLE_LINK["CLIENTS"]["default"]["{name}"].'
    return f"Did you mean {close[0]!r}?" if close else "Remove it."


def _taken_name() -> Iterator[CheckMessage]:
    with suppress(SettingsError):
        name = conf.request_attribute
        if iskeyword(name) or hasattr(HttpRequest(), name):
            yield error(
                "E005",
                f'GOOGLE_LINK["REQUEST_ATTRIBUTE"] is {name!r}, which a request has already.',
                hint='Use a name such as "google".',
            )


def _weak_keys() -> Iterator[CheckMessage]:
    for position, key in enumerate(_encryption_keys(), start=1):
        if key.reveal() in conf.secret_keys:
            yield warning(
                "W002",
                f"Encryption key {position} is the SECRET_KEY too.",
                hint="Make a key of its own, so that one leak does not open both.",
            )
        elif _is_weak(key):
            yield warning(
                "W003",
                f"Encryption key {position} was not made at random.",
                hint="Make one with manage.py google_link_generate_key.",
            )


def _odd_scopes() -> Iterator[CheckMessage]:
    for name, settings in _client_settings().items():
        with suppress(TypeError):
            for scope in parse_scopes(settings.get("SCOPES", ())):
                is_short = "://" not in scope and scope not in _SHORT_SCOPES
                if is_short or scope.count("://") > 1 or "," in scope:
                    yield warning(
                        "W004",
                        f"The Google client {name!r} asks for {scope!r}, which is no scope.",
                        hint="Write each in full, as an item of its own, such as "
                        f"{PREFIX}calendar.readonly.",
                    )


def _no_default() -> Iterator[CheckMessage]:
    names = _client_settings()
    if names and "default" not in names and "CLIENT_RESOLVER" not in conf.keys:
        yield warning(
            "W005",
            "There is no Google client 'default', which is used where none is named.",
            hint=f"Give that name to one of {', '.join(names)}, or name one wherever you use it.",
        )


def _is_weak(key: Secret) -> bool:
    """Tell whether the bytes repeat or are typed text: 32 random bytes do neither."""
    try:
        data = decode_key(key)
    except SettingsError:
        return False
    return len(set(data)) < 16 or data.isascii()
