"""The settings of a client's front ends: redirect URIs, origins and modes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..exceptions import SettingsError
from .clients import OAuthClient, find_client_settings, get_client
from .settings import conf
from .validators import read_or_default

#: Google redirects to a page of the front end, in the same window or a popup.
REDIRECT = "redirect"
#: Google's script (``initCodeClient``) passes the code to the page.
IDENTITY_SERVICES = "identity_services"
#: Google's SDKs for Android and iOS pass a server auth code to the app.
MOBILE = "mobile"

MODES = (REDIRECT, IDENTITY_SERVICES, MOBILE)

#: The redirect URI that Google's libraries send for a code from Google's script.
POSTMESSAGE = "postmessage"

_ORIGIN = re.compile(r"https?://[^/?#@\s\\]+")


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """The settings of the front ends of one client.

    Args:
        redirect_uris: the pages to which responses may be sent, compared exactly.
        origins: the origins of the pages that may run Google's script.
        modes: the modes that are allowed in addition to the redirect.
        sends_postmessage: whether a code from Google's script is exchanged with the redirect URI
            ``postmessage`` instead of the page's origin.
    """

    redirect_uris: tuple[str, ...]
    origins: tuple[str, ...]
    modes: frozenset[str]
    sends_postmessage: bool

    @property
    def is_there(self) -> bool:
        """Whether front ends may link at all."""
        return bool(self.redirect_uris or self.modes)


def get_front_end(name: str) -> FrontEnd:
    """Return the front end settings of a client.

    Args:
        name: a key of ``GOOGLE_LINK["CLIENTS"]``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if a setting is missing or invalid.
    """
    settings = find_client_settings(name)
    redirect_uris = _read_strings(name, settings, "FRONT_END_REDIRECT_URIS", id="E044")
    origins = _read_strings(name, settings, "FRONT_END_ORIGINS", id="E045")
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                "E045",
                f"FRONT_END_ORIGINS of the client {name!r} has {origin!r}, which is not an origin.",
                hint='Use scheme, host and port only, such as "https://app.example.com".',
            )
    modes = _read_strings(name, settings, "FRONT_END_MODES", id="E046")
    unknown = sorted(set(modes) - {IDENTITY_SERVICES, MOBILE})
    if unknown:
        raise SettingsError(
            "E046",
            f"FRONT_END_MODES of the client {name!r} has {unknown[0]!r}.",
            hint=f'Use "{IDENTITY_SERVICES}" and "{MOBILE}"; the redirect is always allowed.',
        )
    return FrontEnd(
        redirect_uris=redirect_uris,
        origins=origins,
        modes=frozenset(modes),
        sends_postmessage=_read_postmessage(name, settings),
    )


def _read_strings(name: str, settings: Mapping[str, Any], key: str, *, id: str) -> tuple[str, ...]:
    value = settings.get(key, ())
    if isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value):
        return tuple(dict.fromkeys(value))
    raise SettingsError(
        id,
        f"{key} of the client {name!r} is not a list of strings.",
        hint='Use a list: ["…"].',
    )


def _read_postmessage(name: str, settings: Mapping[str, Any]) -> bool:
    value = settings.get("IDENTITY_SERVICES_REDIRECT_URI", "origin")
    if value in {"origin", POSTMESSAGE}:
        return bool(value == POSTMESSAGE)
    raise SettingsError(
        "E046",
        f"IDENTITY_SERVICES_REDIRECT_URI of the client {name!r} is {value!r}.",
        hint=f'Use "origin" (the page\'s) or "{POSTMESSAGE}".',
    )


def require_own_address(client: OAuthClient, uri: str) -> None:
    """Reject a redirect URI that several authorization servers share (RFC 9700 section 4.4).

    Args:
        client: the client that requests an authorization.
        uri: its redirect URI.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if another issuer has the same redirect URI.
    """
    for name in conf.clients:
        other = read_or_default(partial(get_client, name), None)
        front_end = read_or_default(partial(get_front_end, name), None)
        if other is None or front_end is None or other.issuer == client.issuer:
            continue
        if uri in {*front_end.redirect_uris, *other.redirect_uris, other.redirect_uri}:
            raise SettingsError(
                "E029",
                f"The redirect URI {uri} is used for several issuers: "
                f"{', '.join(sorted({client.issuer, other.issuer}))}.",
                hint="Use a different one for each issuer.",
            )
