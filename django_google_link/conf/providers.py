"""What counts as Google: decided here, for every client, and nowhere else."""

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

#: Where tokens of Google's have been used over the years; older secrets files name these.
GOOGLE_TOKEN_ENDPOINTS = frozenset(
    {
        DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"],
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v3/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)

#: What Google's console has written into secrets files, and what stands for it today.
_FORMER_ENDPOINTS = {
    "https://accounts.google.com/o/oauth2/auth": DEFAULT_ENDPOINTS["AUTHORIZATION_ENDPOINT"],
    **dict.fromkeys(GOOGLE_TOKEN_ENDPOINTS, DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"]),
}


def counts_as_google(name: str, provider: Any, endpoints: Mapping[str, str | None]) -> bool:
    """Return whether the provider is Google: by its endpoints, or since a fake on loopback says so.

    Elsewhere nobody may say so: what is Google's is trusted to share a grant among the clients of
    a project, and to be told of another client's token.
    """
    if provider is None:
        return are_google_endpoints(endpoints)
    if provider == "google" and all(url and is_loopback(url) for url in endpoints.values()):
        return True
    raise SettingsError(
        "E026",
        f"PROVIDER of the client {name!r} is {provider!r}.",
        hint='Leave it out. Only a fake Google, with all its endpoints on loopback, says "google".',
    )


def read_endpoints(settings: Mapping[str, Any], owner: str) -> dict[str, str | None]:
    """Return the endpoints that are given, those of Google's former ones by today's addresses."""
    given = {key: read_optional_url(settings, key=key, owner=owner) for key in DEFAULT_ENDPOINTS}
    return {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in given.items()}


def discovers_endpoints(endpoints: Mapping[str, str | None]) -> bool:
    """Return whether the endpoints are those of the issuer's metadata: nothing else is said.

    Of an issuer that is nearly Google's none is looked up: it is a slip of somebody who means it.
    """
    issuer, needed = endpoints["ISSUER"], ("AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT")
    if not issuer or is_at_google(issuer):
        return False
    return not any(endpoints[key] for key in needed)


def require_endpoint(name: str, key: str, endpoints: Mapping[str, str | None]) -> None:
    """Raise a ``SettingsError`` where an endpoint is missing that every provider has."""
    if endpoints[key]:
        return
    raise SettingsError(
        "E027",
        f"The client {name!r} is not Google's, and has no {key}.",
        hint=f"Give its {key}: Google's is the default of Google's clients alone. Or give ISSUER "
        "and neither of the two, to have them from its metadata. For a client of Google's, leave "
        "ISSUER and TOKEN_ENDPOINT out.",
    )


def is_of_another_provider(settings: Mapping[str, Any]) -> bool:
    """Return whether the settings of a client, as written, name another provider than Google."""
    named = {key: settings.get(key) or None for key in ("ISSUER", "TOKEN_ENDPOINT")}
    former = {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in named.items()}
    return settings.get("PROVIDER") is None and not are_google_endpoints(former)


def google_project_number(client_id: str) -> str:
    """Return the number of the Google Cloud project that a client id is of, or nothing.

    Any provider may give out client ids that look like Google's: ask for the issuer first.
    """
    project, _, rest = client_id.partition("-")
    is_googles = project.isdecimal() and rest.endswith(GOOGLE_CLIENT_ID_SUFFIX)
    return project if is_googles else ""


def refuse_mixture(name: str, endpoints: Mapping[str, str | None]) -> None:
    """Refuse a client that is Google's in part: the one would be sent the secrets of the other."""
    given = {key: url for key, url in endpoints.items() if url}
    at_google = sorted(key for key, url in given.items() if is_at_google(url))
    elsewhere = sorted(given.keys() - set(at_google))
    if at_google and elsewhere:
        raise SettingsError(
            "E030",
            f"The client {name!r} is Google's in part: {', '.join(at_google)}; and another "
            f"provider's: {', '.join(elsewhere)}.",
            hint="Give all the endpoints of that provider, or none: what is left out is Google's "
            "where neither ISSUER nor TOKEN_ENDPOINT is another's.",
        )


def is_at_google(url: str) -> bool:
    """Return whether an address is one of Google's."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host.endswith((".google.com", ".googleapis.com"))


def are_google_endpoints(endpoints: Mapping[str, str | None]) -> bool:
    """Return whether neither the issuer nor the token endpoint is another provider's."""
    keys = ("ISSUER", "TOKEN_ENDPOINT")
    return all(endpoints[key] in {None, DEFAULT_ENDPOINTS[key]} for key in keys)


def without_empty(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given: an empty value is as good as none."""
    return {key: value for key, value in settings.items() if value}
