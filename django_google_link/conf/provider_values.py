"""How a provider differs from Google: the settings of a client that say so, each read and checked.

Each function returns what it reads, and raises a ``SettingsError`` that names the client.
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
    """Return ``IDENTITY``: by what it is known whose account was linked."""
    kind = _read_choice(name, settings, "IDENTITY", _IDENTITY_KINDS, id="E036")
    if is_google and kind != "id_token":
        raise _make_mismatch(
            name,
            f"is Google's, and IDENTITY is {kind!r}",
            hint="Leave IDENTITY out: Google says by an ID token whose account it is.",
        )
    return cast("IdentityKind", kind)


def read_auth_method(name: str, settings: Mapping[str, Any]) -> AuthMethod | None:
    """Return ``TOKEN_ENDPOINT_AUTH_METHOD`` (RFC 7591 section 2); ``None`` where nothing is said.

    Then it is ``client_secret_post``, unless the issuer's metadata leaves no choice.
    """
    if settings.get("TOKEN_ENDPOINT_AUTH_METHOD") is None:
        return None
    method = _read_choice(name, settings, "TOKEN_ENDPOINT_AUTH_METHOD", AUTH_METHODS, id="E038")
    return cast("AuthMethod", method)


def read_scope_separator(name: str, settings: Mapping[str, Any], *, is_google: bool) -> str:
    """Return ``SCOPE_SEPARATOR``: what stands between the scopes of an authorization request."""
    separator = _read_choice(name, settings, "SCOPE_SEPARATOR", _SCOPE_SEPARATORS, id="E039")
    if is_google and separator != " ":
        raise _make_mismatch(
            name,
            f"is Google's, and SCOPE_SEPARATOR is {separator!r}",
            hint="Leave SCOPE_SEPARATOR out: Google separates scopes by spaces.",
        )
    return separator


def read_refresh_tokens(name: str, settings: Mapping[str, Any], *, is_google: bool) -> bool:
    """Return ``REFRESH_TOKENS``: whether the provider gives any."""
    value = settings.get("REFRESH_TOKENS", True)
    if not isinstance(value, bool):
        raise SettingsError(
            "E040",
            f"REFRESH_TOKENS of the client {name!r} is {value!r}.",
            hint="Use True or False: False for a provider that gives none, whose links last as "
            "long as their access token.",
        )
    if is_google and not value:
        raise _make_mismatch(
            name,
            "is Google's, and REFRESH_TOKENS is False",
            hint="Leave REFRESH_TOKENS out: Google gives refresh tokens.",
        )
    return value


def read_identity_scopes(
    name: str, settings: Mapping[str, Any], *, kind: IdentityKind
) -> tuple[str, ...]:
    """Return ``IDENTITY_SCOPES``, which are asked at every link and never required."""
    value = settings.get("IDENTITY_SCOPES")
    if value is None:
        return IDENTITY_SCOPES if kind == "id_token" else ()
    try:
        scopes = parse_scopes(value)
    except TypeError:
        raise SettingsError(
            "E041",
            f"IDENTITY_SCOPES of the client {name!r} is not a list of scopes.",
            hint='Use ["openid"], or [] for a provider that knows no OpenID.',
        ) from None
    if kind == "id_token" and "openid" not in scopes:
        raise _make_mismatch(
            name,
            'has no "openid" among its IDENTITY_SCOPES, without which no ID token comes',
            hint='Add "openid", or say by IDENTITY that the account is known in another way: '
            '"userinfo" or "none".',
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
    """Return ``SUBJECT_MEMBER``: the member of the userinfo answer that says whose account it is.

    Members of objects within have a point before them: ``"data.id"``.
    """
    value = settings.get("SUBJECT_MEMBER")
    if kind != "userinfo":
        needless = [
            key for key in ("USERINFO_ENDPOINT", "SUBJECT_MEMBER") if settings.get(key) is not None
        ]
        if needless:
            raise _make_mismatch(
                name,
                f"has {' and '.join(needless)}, and its IDENTITY is {kind!r}",
                hint='Set IDENTITY to "userinfo" to have them used, or leave them out.',
            )
        return "sub"
    if userinfo_endpoint is None and not discovers_endpoints:
        raise SettingsError(
            "E028",
            f"The client {name!r} has no USERINFO_ENDPOINT, and its IDENTITY is 'userinfo': nobody "
            "can link.",
            hint="Give the address at which the provider says whose access token it is.",
        )
    if value is None:
        return "sub"
    if not isinstance(value, str) or not all(value.split(".")) or not value.isprintable():
        raise SettingsError(
            "E037",
            f"SUBJECT_MEMBER of the client {name!r} is {value!r}.",
            hint='Name the member that is the account\'s lasting id: "sub", "id", or "data.id" for '
            "one within another.",
        )
    return value


def refuse_foreign_domain(name: str, hosted_domains: tuple[str, ...], *, is_google: bool) -> None:
    """Refuse ``HOSTED_DOMAIN`` where no provider would heed it: a restriction that is none."""
    if hosted_domains and not is_google:
        raise _make_mismatch(
            name,
            "is not Google's, and has HOSTED_DOMAIN",
            hint="Leave HOSTED_DOMAIN out: only Google says which Workspace an account is of.",
        )


def read_display_name(name: str, settings: Mapping[str, Any], *, issuer: str, default: str) -> str:
    """Return ``DISPLAY_NAME``: what users call the provider. By default, its host.

    Args:
        issuer: an address of the provider's.
        default: for Google, its own name; otherwise nothing.
    """
    value = settings.get("DISPLAY_NAME")
    if value is None:
        return default or urlsplit(issuer).hostname or name
    text = str(value) if isinstance(value, str | Promise) else ""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise SettingsError(
            "E042",
            f"DISPLAY_NAME of the client {name!r} is {value!r}.",
            hint=f"Use what people call the provider, in at most {_LONGEST_NAME} characters: "
            '"Dailymotion".',
        )
    return text


def _read_choice(
    name: str, settings: Mapping[str, Any], key: str, choices: tuple[str, ...], *, id: str
) -> str:
    """Return one of the choices; the first, where nothing is said."""
    value = settings.get(key)
    if value is None:
        return choices[0]
    if isinstance(value, str) and value in choices:
        return value
    raise SettingsError(
        id,
        f"{key} of the client {name!r} is {value!r}.",
        hint=f"Use one of {', '.join(map(repr, choices))}; {choices[0]!r} if it is left out.",
    )


def _make_mismatch(name: str, what: str, *, hint: str) -> SettingsError:
    return SettingsError("E043", f"The client {name!r} {what}.", hint=hint)
