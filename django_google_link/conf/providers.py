"""Decides, for every client, whether its provider is Google."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..exceptions import SettingsError
from .validators import is_loopback, read_optional_url

GOOGLE_ISSUER = "https://accounts.google.com"
GOOGLE_CLIENT_ID_SUFFIX = ".apps.googleusercontent.com"

DEFAULT_ENDPOINTS = {
    "AUTHORIZATION_ENDPOINT": "https://accounts.google.com/o/oauth2/v2/auth",
    "TOKEN_ENDPOINT": "https://oauth2.googleapis.com/token",
    "REVOCATION_ENDPOINT": "https://oauth2.googleapis.com/revoke",
    "JWKS_URI": "https://www.googleapis.com/oauth2/v3/certs",
    "ISSUER": GOOGLE_ISSUER,
}

#: Google's current and former token endpoints; older secrets files name the former ones.
GOOGLE_TOKEN_ENDPOINTS = frozenset(
    {
        DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"],
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v3/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)

#: Former endpoints in secrets files from Google's console, with their present addresses.
_FORMER_ENDPOINTS = {
    "https://accounts.google.com/o/oauth2/auth": DEFAULT_ENDPOINTS["AUTHORIZATION_ENDPOINT"],
    **dict.fromkeys(GOOGLE_TOKEN_ENDPOINTS, DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"]),
}


def counts_as_google(name: str, provider: Any, endpoints: Mapping[str, str | None]) -> bool:
    """Return whether the provider is Google: by its endpoints, or as a fake on loopback.

    No other provider may claim to be Google: clients of Google's are trusted to share the grants
    of a project, and are sent tokens that were issued to other clients of Google's.
    """
    if provider is None:
        return are_google_endpoints(endpoints)
    if provider == "google" and all(url and is_loopback(url) for url in endpoints.values()):
        return True
    raise SettingsError(
        "E026",
        f"PROVIDER of the client {name!r} is {provider!r}.",
        hint='Remove it. Only a fake Google, with all its endpoints on loopback, uses "google".',
    )


def read_endpoints(settings: Mapping[str, Any], owner: str) -> dict[str, str | None]:
    """Return the configured endpoints, with Google's former ones replaced by the present ones."""
    given = {key: read_optional_url(settings, key=key, owner=owner) for key in DEFAULT_ENDPOINTS}
    return {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in given.items()}


def discovers_endpoints(endpoints: Mapping[str, str | None]) -> bool:
    """Return whether the endpoints are to be read from the issuer's metadata.

    That is never the case for an issuer at Google, which is a misspelt ``GOOGLE_ISSUER``.
    """
    issuer, needed = endpoints["ISSUER"], ("AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT")
    if not issuer or is_at_google(issuer):
        return False
    return not any(endpoints[key] for key in needed)


def require_endpoint(name: str, key: str, endpoints: Mapping[str, str | None]) -> None:
    """Raise a ``SettingsError`` if an endpoint that every provider has is missing."""
    if endpoints[key]:
        return
    raise SettingsError(
        "E027",
        f"The client {name!r} is not Google's, but has no {key}.",
        hint=f"Add its {key}: only clients of Google's have a default. Or set ISSUER and neither "
        "of the two endpoints, to read them from its metadata. For a client of Google's, remove "
        "ISSUER and TOKEN_ENDPOINT.",
    )


def is_of_another_provider(settings: Mapping[str, Any]) -> bool:
    """Return whether the settings of a client, as written, are for a provider other than Google."""
    named = {key: settings.get(key) or None for key in ("ISSUER", "TOKEN_ENDPOINT")}
    former = {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in named.items()}
    return settings.get("PROVIDER") is None and not are_google_endpoints(former)


def google_project_number(client_id: str) -> str:
    """Return the number of the Google Cloud project of a client id, or an empty string.

    Check the issuer first: any provider may issue client ids that look like Google's.
    """
    project, _, rest = client_id.partition("-")
    is_googles = project.isdecimal() and rest.endswith(GOOGLE_CLIENT_ID_SUFFIX)
    return project if is_googles else ""


def refuse_mixture(name: str, endpoints: Mapping[str, str | None]) -> None:
    """Reject a client with endpoints of two providers: each would be sent the other's tokens."""
    given = {key: url for key, url in endpoints.items() if url}
    at_google = sorted(key for key, url in given.items() if is_at_google(url))
    elsewhere = sorted(given.keys() - set(at_google))
    if at_google and elsewhere:
        raise SettingsError(
            "E030",
            f"Some endpoints of the client {name!r} are Google's: {', '.join(at_google)}; others "
            f"are another provider's: {', '.join(elsewhere)}.",
            hint="Set all endpoints of that provider, or none: if neither ISSUER nor "
            "TOKEN_ENDPOINT is set, missing endpoints are Google's.",
        )


def is_at_google(url: str) -> bool:
    """Return whether an address is in one of Google's domains."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host.endswith((".google.com", ".googleapis.com"))


def are_google_endpoints(endpoints: Mapping[str, str | None]) -> bool:
    """Return whether issuer and token endpoint are Google's or not set."""
    keys = ("ISSUER", "TOKEN_ENDPOINT")
    return all(endpoints[key] in {None, DEFAULT_ENDPOINTS[key]} for key in keys)


def without_empty(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without empty values, which count as not set."""
    return {key: value for key, value in settings.items() if value}
