"""Checks of the setting ``GOOGLE_LINK``, key by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from itertools import chain
from keyword import iskeyword
from typing import Any

from django.core.checks import CheckMessage
from django.http import HttpRequest

from ..conf import clients, front_ends, service_accounts
from ..conf.django import django_conf
from ..conf.settings import KEYS, conf, list_setting_names
from ..conf.validators import read_or_default
from ..encryption.key_services import lacks_extra, make_missing_extra
from ..encryption.keyring import decode_key, key_ids, list_wrapped_keys, read_key
from ..encryption.wrapped_keys import WrappedKey, is_wrapped
from ..exceptions import SettingsError
from ..secret import Secret
from .messages import error, warning

_SETTINGS = (
    "clients",
    "encryption_keys",
    "encryption_site",
    "key_services",
    "request_attribute",
    "refresh_leeway",
    "http_timeout",
    "refresh_wait",
    "api_timeout",
    "user_agent",
    "state_max_age",
    "redirect_url",
    "refresh_using",
    "client_resolver",
    "service_accounts",
    "implied_scopes",
    "history_days",
    "reauthentication",
    "login_hint",
    "security_events_url",
)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check that every key of ``GOOGLE_LINK`` is valid."""
    try:
        names = conf.keys
    except SettingsError as problem:
        return [_make_message(problem), *_check_other_settings()]
    all_clients, all_service_accounts = _read_clients(), _read_service_accounts()
    readers = [partial(getattr, conf, name) for name in _SETTINGS]
    readers += [partial(clients.get_client, name) for name in all_clients]
    readers += [partial(front_ends.get_front_end, name) for name in all_clients]
    readers += [
        partial(service_accounts.get_service_account, name) for name in all_service_accounts
    ]
    readers += [
        partial(read_key, key, position=position)
        for position, key in enumerate(_read_encryption_keys(), start=1)
    ]
    unknown = [
        _find_unknown_keys("GOOGLE_LINK", names, KEYS),
        *(
            _find_unknown_keys(f'GOOGLE_LINK["CLIENTS"]["{name}"]', settings, clients.KEYS)
            for name, settings in all_clients.items()
        ),
        *(
            _find_unknown_keys(
                f'GOOGLE_LINK["SERVICE_ACCOUNTS"]["{name}"]', settings, service_accounts.KEYS
            )
            for name, settings in all_service_accounts.items()
        ),
    ]
    return [
        *_find_errors(readers),
        *chain.from_iterable(unknown),
        *_check_request_attribute(),
        *_check_encryption_keys(),
        *_check_repeated_keys(),
        *_check_extras(),
        *_check_default_client(),
        *_check_other_settings(),
    ]


def _find_errors(readers: Iterable[Callable[[], Any]]) -> Iterator[CheckMessage]:
    for read in readers:
        try:
            read()
        except SettingsError as problem:
            yield _make_message(problem)


def _make_message(problem: SettingsError) -> CheckMessage:
    return error(problem.id, problem.message, hint=problem.hint)


def _read_clients() -> Mapping[str, Mapping[str, Any]]:
    return read_or_default(lambda: conf.clients, {})


def _read_service_accounts() -> Mapping[str, Mapping[str, Any]]:
    return read_or_default(lambda: conf.service_accounts, {})


def _read_encryption_keys() -> tuple[Secret, ...]:
    return read_or_default(lambda: conf.encryption_keys, ())


def _find_unknown_keys(
    where: str, names: Iterable[str], known: Iterable[str]
) -> Iterator[CheckMessage]:
    for name in sorted(set(map(str, names)).difference(known)):
        close = get_close_matches(name.upper(), known, n=1)
        yield warning(
            "W001",
            f"{name!r} in {where} is not a known setting.",
            hint=_suggest_correction(name, close),
        )


def _suggest_correction(name: str, close: list[str]) -> str:
    for known, place in _PLACES:
        if name in known:
            return f'It belongs in {place}["{name}"].'
    return f"Did you mean {close[0]!r}?" if close else "Remove it."


#: Where each key belongs, if it is found elsewhere.
_PLACES = (
    (KEYS, "GOOGLE_LINK"),
    (clients.KEYS, 'GOOGLE_LINK["CLIENTS"]["default"]'),
    (service_accounts.KEYS, 'GOOGLE_LINK["SERVICE_ACCOUNTS"]["…"]'),
)


def _check_other_settings() -> Iterator[CheckMessage]:
    """Find keys that are written as settings of their own: ``GOOGLE_LINK_SCOPES``."""
    for name in list_setting_names():
        key = name.removeprefix("GOOGLE_LINK_")
        if key != name and key in {*KEYS, *clients.KEYS}:
            yield warning(
                "W001",
                f"{name} is not a known setting.",
                hint=_suggest_correction(key, []),
            )


def _check_request_attribute() -> Iterator[CheckMessage]:
    name = read_or_default(lambda: conf.request_attribute, "")
    if iskeyword(name) or (name and hasattr(HttpRequest(), name)):
        yield error(
            "E005",
            f'GOOGLE_LINK["REQUEST_ATTRIBUTE"] is {name!r}, an attribute of every request.',
            hint='Use a name such as "google".',
        )


def _check_encryption_keys() -> Iterator[CheckMessage]:
    for position, key in enumerate(_read_encryption_keys(), start=1):
        if key.reveal() in django_conf.secret_keys:
            yield warning(
                "W002",
                f"Encryption key {position} is also the SECRET_KEY.",
                hint="Generate a separate key, so that one leak does not compromise both.",
            )
        elif _is_weak(key):
            yield warning(
                "W003",
                f"Encryption key {position} is not random.",
                hint="Generate one with manage.py google_link_generate_key.",
            )


def _check_extras() -> Iterator[CheckMessage]:
    """Find extras that are not installed, without importing the key services: that is slow."""
    for service in sorted({key.service for key in _read_wrapped_keys()}):
        if lacks_extra(service):
            yield _make_message(make_missing_extra(service))


def check_wrapped_keys(**kwargs: Any) -> list[CheckMessage]:
    """Check that this process can unwrap each wrapped key."""
    wrapped = _read_wrapped_keys()
    messages = list(_find_errors(key.load for key in wrapped if not lacks_extra(key.service)))
    ids = read_or_default(key_ids, ()) if wrapped else ()
    for key_id in sorted(set(ids).difference(key.id for key in wrapped)):
        messages.append(
            warning(
                "W033",
                f"The encryption key {key_id} is in plain text, although others are wrapped.",
                hint="Remove it as soon as google_link_rotate_keys reports that 0 are left.",
            )
        )
    return messages


def _read_wrapped_keys() -> list[WrappedKey]:
    return read_or_default(list_wrapped_keys, [])


def _check_default_client() -> Iterator[CheckMessage]:
    names = _read_clients()
    if names and "default" not in names and "CLIENT_RESOLVER" not in conf.keys:
        yield warning(
            "W005",
            "There is no client 'default', which is used wherever no client is named.",
            hint=f"Rename one of {', '.join(names)}, or name a client wherever you use one.",
        )


def _check_repeated_keys() -> Iterator[CheckMessage]:
    keys = _read_encryption_keys()
    for position, key in enumerate(keys, start=1):
        first = keys.index(key) + 1
        if first != position:
            yield warning(
                "W035",
                f"Encryption key {position} is the same as key {first}.",
                hint="Remove one of them; manage.py google_link_generate_key generates another.",
            )


def _is_weak(key: Secret) -> bool:
    """Return whether the bytes repeat or are ASCII text: 32 random bytes are neither."""
    data = None if is_wrapped(key) else read_or_default(partial(decode_key, key), None)
    return data is not None and (len(set(data)) < 16 or data.isascii())
