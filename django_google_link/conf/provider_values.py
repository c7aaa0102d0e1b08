"""Readers of the settings with which a client of another provider differs from one of Google's.

Each function returns the value of one setting, or raises a ``SettingsError`` naming the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from django.utils.functional import Promise

from ..exceptions import SettingsError
from ..scopes import IDENTITY_SCOPES, parse_scopes

IdentityKind = Literal["id_token", "userinfo", "none"]
AuthMethod = Literal["client_secret_post", "client_secret_basic"]

PROVIDER_KEYS = frozenset(
    {
        "DISPLAY_NAME",
        "IDENTITY",
        "IDENTITY_SCOPES",
        "REFRESH_TOKENS",
        "SCOPE_SEPARATOR",
        "SUBJECT_MEMBER",
        "TOKEN_ENDPOINT_AUTH_METHOD",
        "USERINFO_ENDPOINT",
    }
)

_IDENTITY_KINDS = ("id_token", "userinfo", "none")
AUTH_METHODS = ("client_secret_post", "client_secret_basic")
_SCOPE_SEPARATORS = (" ", ",")
_LONGEST_NAME = 60


def read_identity_kind(name: str, settings: Mapping[str, Any], *, is_google: bool) -> IdentityKind:
    """Return ``IDENTITY``: how a linked account is identified."""
    kind = _read_choice(name, settings, "IDENTITY", _IDENTITY_KINDS, id="E036")
    if is_google and kind != "id_token":
        raise _make_mismatch(
            name,
            f"is Google's, but IDENTITY is {kind!r}",
            hint="Remove IDENTITY: Google identifies accounts by an ID token.",
        )
    return cast("IdentityKind", kind)


def read_auth_method(name: str, settings: Mapping[str, Any]) -> AuthMethod | None:
    """Return ``TOKEN_ENDPOINT_AUTH_METHOD`` (RFC 7591 section 2); ``None`` if it is not set.

    The method is then ``client_secret_post``, unless the issuer's metadata excludes it.
    """
    if settings.get("TOKEN_ENDPOINT_AUTH_METHOD") is None:
        return None
    method = _read_choice(name, settings, "TOKEN_ENDPOINT_AUTH_METHOD", AUTH_METHODS, id="E038")
    return cast("AuthMethod", method)


def read_scope_separator(name: str, settings: Mapping[str, Any], *, is_google: bool) -> str:
    """Return ``SCOPE_SEPARATOR``, the separator of scopes in an authorization request."""
    separator = _read_choice(name, settings, "SCOPE_SEPARATOR", _SCOPE_SEPARATORS, id="E039")
    if is_google and separator != " ":
        raise _make_mismatch(
            name,
            f"is Google's, but SCOPE_SEPARATOR is {separator!r}",
            hint="Remove SCOPE_SEPARATOR: Google separates scopes by spaces.",
        )
    return separator


def read_refresh_tokens(name: str, settings: Mapping[str, Any], *, is_google: bool) -> bool:
    """Return ``REFRESH_TOKENS``: whether the provider issues refresh tokens."""
    value = settings.get("REFRESH_TOKENS", True)
    if not isinstance(value, bool):
        raise SettingsError(
            "E040",
            f"REFRESH_TOKENS of the client {name!r} is {value!r}.",
            hint="Use True or False. With False, for a provider that issues none, a link lasts as "
            "long as its access token.",
        )
    if is_google and not value:
        raise _make_mismatch(
            name,
            "is Google's, but REFRESH_TOKENS is False",
            hint="Remove REFRESH_TOKENS: Google issues refresh tokens.",
        )
    return value


def read_identity_scopes(
    name: str, settings: Mapping[str, Any], *, kind: IdentityKind
) -> tuple[str, ...]:
    """Return ``IDENTITY_SCOPES``, which are requested at every link but never required."""
    value = settings.get("IDENTITY_SCOPES")
    if value is None:
        return IDENTITY_SCOPES if kind == "id_token" else ()
    try:
        scopes = parse_scopes(value)
    except TypeError:
        raise SettingsError(
            "E041",
            f"IDENTITY_SCOPES of the client {name!r} is not a list of scopes.",
            hint='Use ["openid"], or [] for a provider without OpenID Connect.',
        ) from None
    if kind == "id_token" and "openid" not in scopes:
        raise _make_mismatch(
            name,
            'has no "openid" among its IDENTITY_SCOPES, without which no ID token is issued',
            hint='Add "openid", or identify accounts in another way: set IDENTITY to "userinfo" or '
            '"none".',
        )
    return scopes


def read_subject_member(
    name: str,
    settings: Mapping[str, Any],
    *,
    kind: IdentityKind,
    userinfo_endpoint: str | None,
    discovers_endpoints: bool,
) -> str:
    """Return ``SUBJECT_MEMBER``: the member of the userinfo response that identifies the account.

    A member of a nested object is written with dots: ``"data.id"``.
    """
    value = settings.get("SUBJECT_MEMBER")
    if kind != "userinfo":
        needless = [
            key for key in ("USERINFO_ENDPOINT", "SUBJECT_MEMBER") if settings.get(key) is not None
        ]
        if needless:
            raise _make_mismatch(
                name,
                f"has {' and '.join(needless)}, but its IDENTITY is {kind!r}",
                hint='Set IDENTITY to "userinfo" if they are to be used, or remove them.',
            )
        return "sub"
    if userinfo_endpoint is None and not discovers_endpoints:
        raise SettingsError(
            "E028",
            f"The client {name!r} has no USERINFO_ENDPOINT, but its IDENTITY is 'userinfo': no "
            "account can be linked.",
            hint="Set it to the address at which the provider identifies the account of a token.",
        )
    if value is None:
        return "sub"
    if not isinstance(value, str) or not all(value.split(".")) or not value.isprintable():
        raise SettingsError(
            "E037",
            f"SUBJECT_MEMBER of the client {name!r} is {value!r}.",
            hint='Use the name of the account\'s permanent id: "sub", "id", or "data.id" in a '
            "nested object.",
        )
    return value


def refuse_foreign_domain(name: str, hosted_domains: tuple[str, ...], *, is_google: bool) -> None:
    """Reject ``HOSTED_DOMAIN`` for another provider, which would ignore it."""
    if hosted_domains and not is_google:
        raise _make_mismatch(
            name,
            "is not Google's, but has HOSTED_DOMAIN",
            hint="Remove HOSTED_DOMAIN: only Google states an account's Google Workspace domain.",
        )


def read_display_name(name: str, settings: Mapping[str, Any], *, issuer: str, default: str) -> str:
    """Return ``DISPLAY_NAME``, the provider's name for users; by default its host name.

    Args:
        issuer: the provider's issuer or another of its addresses.
        default: the name if ``DISPLAY_NAME`` is not set; empty for the host name.
    """
    value = settings.get("DISPLAY_NAME")
    if value is None:
        return default or urlsplit(issuer).hostname or name
    text = str(value) if isinstance(value, str | Promise) else ""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise SettingsError(
            "E042",
            f"DISPLAY_NAME of the client {name!r} is {value!r}.",
            hint=f"Use the provider's common name, of at most {_LONGEST_NAME} characters: "
            '"Dailymotion".',
        )
    return text


def _read_choice(
    name: str, settings: Mapping[str, Any], key: str, choices: tuple[str, ...], *, id: str
) -> str:
    """Return one of the choices; the first, if the key is not set."""
    value = settings.get(key)
    if value is None:
        return choices[0]
    if isinstance(value, str) and value in choices:
        return value
    raise SettingsError(
        id,
        f"{key} of the client {name!r} is {value!r}.",
        hint=f"Use one of {', '.join(map(repr, choices))}; the default is {choices[0]!r}.",
    )


def _make_mismatch(name: str, what: str, *, hint: str) -> SettingsError:
    return SettingsError("E043", f"The client {name!r} {what}.", hint=hint)
