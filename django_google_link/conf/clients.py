"""OAuth clients: this site's registrations at Google, with the endpoints they talk to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from ..exceptions import ClientMisconfiguredError, SettingsError
from ..scopes import parse_scopes
from ..secret import Secret
from .json_file import explain_failure
from .secrets_file import read_secrets_file
from .settings import conf
from .validators import is_loopback, read_optional_url, read_or_default

GOOGLE_ISSUER = "https://accounts.google.com"

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

#: What the columns hold that say whose a token is.
_MAX_LENGTH = 255

KEYS = frozenset(
    {
        "CLIENT_SECRETS_FILE",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "SCOPES",
        "API_ENDPOINT",
        "REDIRECT_URI",
        "HOSTED_DOMAIN",
        "AUTHORIZATION_PARAMS",
        "PROVIDER",
        *DEFAULT_ENDPOINTS,
    }
)

#: What the flow itself sets: overriding these would break it or its protection.
RESERVED_PARAMS = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)

GOOGLE_CLIENT_ID_SUFFIX = ".apps.googleusercontent.com"


@dataclass(frozen=True, kw_only=True)
class OAuthClient:
    """One client of ``GOOGLE_LINK["CLIENTS"]``, ready for use."""

    name: str
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...]
    authorization_endpoint: str
    token_endpoint: str
    #: ``None`` where the provider has none: then nothing is revoked there.
    revocation_endpoint: str | None
    #: ``None`` where none is configured: then no ID token can be verified.
    jwks_uri: str | None
    #: With the client id, it says whose a token is. Where no issuer is configured, the token
    #: endpoint stands for it.
    issuer: str
    #: Whether the provider is Google, or a fake of it on loopback.
    is_google: bool
    api_endpoint: str | None
    redirect_uri: str | None
    redirect_uris: tuple[str, ...]
    #: ``"web"`` or ``"installed"``, where a secrets file says so.
    type: str | None
    hosted_domain: str | None
    authorization_params: Mapping[str, str] = field(default_factory=dict)

    @property
    def issuers(self) -> tuple[str, ...]:
        """The values of ``iss`` to accept: Google's ID tokens may leave the scheme out."""
        if self.issuer == GOOGLE_ISSUER:
            return (GOOGLE_ISSUER, GOOGLE_ISSUER.removeprefix("https://"))
        return (self.issuer,)

    @property
    def combines_scopes(self) -> bool:
        """Whether an authorization is for the scopes that were granted before as well.

        See https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth.
        """
        return (
            self.is_google
            and self.authorization_params.get("include_granted_scopes", "true") == "true"
        )

    @property
    def callback_args(self) -> tuple[str, ...]:
        """What the address of the callback names: the client, unless it is Google's.

        Each authorization server gets a redirect URI of its own, so that what one of them sends
        back cannot be taken for another's (RFC 9700 section 4.4.2.2).
        """
        return () if self.is_google else (self.name,)

    def has_issued(self, row: Issued) -> bool:
        """Return whether the tokens of a row were issued to this client."""
        return (row.issuer, row.client_id) == (self.issuer, self.client_id)


class Issued(Protocol):
    """A row with tokens, which says to whom they were issued."""

    @property
    def issuer(self) -> str:
        """Who issued them."""

    @property
    def client_id(self) -> str:
        """To which client."""


def get_client(name: str = "default") -> OAuthClient:
    """Return the configured client of that name.

    Args:
        name: a key of ``GOOGLE_LINK["CLIENTS"]``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is missing or cannot work.
    """
    settings = _find_settings(name)
    secrets = _read_credentials(name, settings)
    owner = _describe_client(name)
    endpoints = _read_endpoints({**_without_empty(secrets), **_without_empty(settings)}, owner)
    is_google = _is_google(name, settings.get("PROVIDER"), endpoints)
    if _are_google_endpoints(endpoints):
        endpoints = {key: endpoints[key] or default for key, default in DEFAULT_ENDPOINTS.items()}
    _refuse_mixture(name, endpoints)
    if not is_google and ("/" in name or name in {".", ".."}):
        raise SettingsError(
            "E002",
            f"The client {name!r} is not Google's, and its name cannot stand in an address.",
            hint="Name it without a slash, and not with points alone: the name stands in the "
            "address of its callback.",
        )
    token_endpoint = _require_endpoint(name, "TOKEN_ENDPOINT", endpoints)
    return OAuthClient(
        name=name,
        client_id=_read_client_id(name, secrets["CLIENT_ID"]),
        client_secret=_read_secret(name, secrets["CLIENT_SECRET"]),
        scopes=_read_scopes(name, settings.get("SCOPES", ())),
        api_endpoint=read_optional_url(settings, key="API_ENDPOINT", owner=owner),
        redirect_uri=read_optional_url(settings, key="REDIRECT_URI", owner=owner),
        redirect_uris=tuple(secrets.get("REDIRECT_URIS", ())),
        type=secrets.get("TYPE"),
        hosted_domain=_read_hosted_domain(name, settings.get("HOSTED_DOMAIN")),
        authorization_params=_read_params(name, settings.get("AUTHORIZATION_PARAMS", {})),
        authorization_endpoint=_require_endpoint(name, "AUTHORIZATION_ENDPOINT", endpoints),
        token_endpoint=token_endpoint,
        revocation_endpoint=endpoints["REVOCATION_ENDPOINT"],
        jwks_uri=endpoints["JWKS_URI"],
        issuer=_require_storable(name, "ISSUER", endpoints["ISSUER"] or token_endpoint),
        is_google=is_google,
    )


def get_issuing_client(row: ClientRow) -> OAuthClient:
    """Return the configured client of a row, if it is still the one that was given the tokens.

    Google would call another client's grant invalid, and any other provider would keep it.

    Args:
        row: which names the client, and to whom its tokens were issued.

    Raises:
        ClientMisconfiguredError: when another issuer or client id has that name now.
        SettingsError: as :func:`get_client`.
    """
    client = get_client(row.client)
    if client.has_issued(row):
        return client
    if client.issuer != row.issuer:
        what, was = "issuer_changed", f"the issuer {row.issuer}"
    else:
        what, was = "client_id_changed", row.client_id
    raise ClientMisconfiguredError(
        what, f"linked through {was}: put that back as {row.client!r}, or let the user link it anew"
    )


class ClientRow(Issued, Protocol):
    """A row that names its client, too."""

    @property
    def client(self) -> str:
        """Its name in the settings."""


def get_api_endpoint(name: str) -> str | None:
    """Return the ``API_ENDPOINT`` of a client, without reading all of it. Errors as above."""
    return read_optional_url(_find_settings(name), key="API_ENDPOINT", owner=_describe_client(name))


def to_emulator(url: str, api_endpoint: str | None) -> str:
    """Return an address of Google's APIs at the emulator, if there is one; others as they are."""
    parts = urlsplit(url)
    if not api_endpoint or not (parts.hostname or "").endswith(".googleapis.com"):
        return url
    return api_endpoint.rstrip("/") + urlunsplit(("", "", *parts[2:]))


def get_revoking_client(row: ClientRow) -> OAuthClient:
    """Return a client by which to revoke the tokens of a row, whatever bears its name by now.

    Google asks for no client to revoke, so its own endpoint will do for any client id of Google's.

    Arguments and errors as :func:`get_issuing_client`.
    """
    configured = _list_clients()
    for client in configured:
        if client.has_issued(row):
            return client
    for client in configured:
        if client.is_google and client.issuer == row.issuer:
            return replace(client, client_id=row.client_id, client_secret=Secret(""))
    if row.issuer == GOOGLE_ISSUER:
        return _make_google_client(row.client, row.client_id)
    return get_issuing_client(row)


def share_grant(one: Issued, other: Issued) -> bool:
    """Return whether two clients share the grant of a user: at Google the clients of a project do.

    See https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth.
    """
    if one.issuer != other.issuer:
        return False
    if one.client_id == other.client_id:
        return True
    project = google_project_number(one.client_id)
    return (
        bool(project)
        and project == google_project_number(other.client_id)
        and is_google_issuer(one.issuer)
    )


def is_google_issuer(issuer: str) -> bool:
    """Return whether tokens of this issuer are Google's, or those of a configured fake of it."""
    return issuer == GOOGLE_ISSUER or any(
        client.is_google and client.issuer == issuer for client in _list_clients()
    )


def is_of_another_provider(settings: Mapping[str, Any]) -> bool:
    """Return whether the settings of a client, as written, name another provider than Google."""
    named = {key: settings.get(key) or None for key in ("ISSUER", "TOKEN_ENDPOINT")}
    former = {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in named.items()}
    return settings.get("PROVIDER") is None and not _are_google_endpoints(former)


def google_project_number(client_id: str) -> str:
    """Return the number of the Google Cloud project that a client id is of, or nothing.

    Any provider may give out client ids that look like Google's: ask for the issuer first.
    """
    project, _, rest = client_id.partition("-")
    is_googles = project.isdecimal() and rest.endswith(GOOGLE_CLIENT_ID_SUFFIX)
    return project if is_googles else ""


def _find_settings(name: str) -> Mapping[str, Any]:
    clients = conf.clients
    if name in clients:
        return clients[name]
    raise SettingsError(
        "E002",
        f"There is no Google client {name!r}.",
        hint=f'Add it to GOOGLE_LINK["CLIENTS"], which has {", ".join(sorted(clients))}.',
    )


def _read_credentials(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    path = settings.get("CLIENT_SECRETS_FILE")
    if path:
        return _read_file(name, path)
    if settings.get("CLIENT_ID") and settings.get("CLIENT_SECRET"):
        return settings
    raise SettingsError(
        "E012",
        f"The Google client {name!r} has no credentials.",
        hint="Give it CLIENT_SECRETS_FILE, or both CLIENT_ID and CLIENT_SECRET.",
    )


def _read_file(name: str, path: Any) -> Mapping[str, Any]:
    if isinstance(path, Secret):
        raise SettingsError(
            "E013",
            f"CLIENT_SECRETS_FILE of the Google client {name!r} is the content of a file.",
            hint="Give the path of the file, or CLIENT_ID and CLIENT_SECRET.",
        )
    try:
        return read_secrets_file(path)
    except FileNotFoundError:
        raise SettingsError(
            "E013",
            f"There is no secrets file {path} for the Google client {name!r}.",
            hint="Put the JSON file from the Google console there, or correct the path.",
        ) from None
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(
            "E013",
            f"The secrets file {path} of the Google client {name!r} cannot be used: "
            f"{explain_failure(error)}.",
            hint="Download the JSON file again from the Google console: "
            'Clients, the client of type "Web application", its download button.',
        ) from None


def _read_client_id(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(
            "E012",
            f"CLIENT_ID of the Google client {name!r} is not a string.",
            hint="Use a string.",
        )
    return _require_storable(name, "CLIENT_ID", value)


def _require_storable(name: str, key: str, value: str) -> str:
    """Refuse what is longer than its column: databases would refuse the link, or cut it off."""
    if len(value) <= _MAX_LENGTH:
        return value
    raise SettingsError(
        "E012",
        f"{key} of the Google client {name!r} is longer than {_MAX_LENGTH} characters.",
        hint="Copy it again: each link stores it.",
    )


def _read_secret(name: str, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    raise SettingsError(
        "E012",
        f"CLIENT_SECRET of the Google client {name!r} is not a string.",
        hint="Use a string.",
    )


def _read_scopes(name: str, value: Any) -> tuple[str, ...]:
    try:
        return parse_scopes(value)
    except TypeError:
        raise SettingsError(
            "E014",
            f"SCOPES of the Google client {name!r} is not a list of scopes.",
            hint='Use ["https://www.googleapis.com/auth/calendar.readonly"].',
        ) from None


def _read_hosted_domain(name: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and "@" not in value):
        return value
    raise SettingsError(
        "E016",
        f"HOSTED_DOMAIN of the Google client {name!r} is {value!r}.",
        hint='Use a domain such as "example.com", or leave it out.',
    )


def _read_params(name: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(item, str) for key, item in value.items()
    ):
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the Google client {name!r} is not a dict of strings.",
            hint='Use a dict such as {"hl": "de"}.',
        )
    reserved = sorted(RESERVED_PARAMS.intersection(value))
    if reserved:
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the Google client {name!r} sets {', '.join(reserved)}.",
            hint="Leave these out: the flow sets them itself.",
        )
    if "none" in value.get("prompt", "").split():
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the Google client {name!r} forbids to ask for consent.",
            hint='Leave "none" out of prompt.',
        )
    return value


def _is_google(name: str, provider: Any, endpoints: Mapping[str, str | None]) -> bool:
    """Return whether the provider is Google: by its endpoints, or since a fake on loopback says so.

    Elsewhere nobody may say so: what is Google's is trusted to share a grant among the clients of
    a project, and to be told of another client's token.
    """
    if provider is None:
        return _are_google_endpoints(endpoints)
    if provider == "google" and all(url and is_loopback(url) for url in endpoints.values()):
        return True
    raise SettingsError(
        "E026",
        f"PROVIDER of the Google client {name!r} is {provider!r}.",
        hint='Leave it out. Only a fake Google, with all its endpoints on loopback, says "google".',
    )


def _read_endpoints(settings: Mapping[str, Any], owner: str) -> dict[str, str | None]:
    """Return the endpoints that are given, those of Google's former ones by today's addresses."""
    given = {key: read_optional_url(settings, key=key, owner=owner) for key in DEFAULT_ENDPOINTS}
    return {key: _FORMER_ENDPOINTS.get(url or "", url) for key, url in given.items()}


def _refuse_mixture(name: str, endpoints: Mapping[str, str | None]) -> None:
    """Refuse a client that is Google's in part: the one would be sent the secrets of the other."""
    given = {key: url for key, url in endpoints.items() if url}
    at_google = sorted(key for key, url in given.items() if _is_at_google(url))
    elsewhere = sorted(given.keys() - set(at_google))
    if at_google and elsewhere:
        raise SettingsError(
            "E030",
            f"The client {name!r} is Google's in part: {', '.join(at_google)}; and another "
            f"provider's: {', '.join(elsewhere)}.",
            hint="Give all the endpoints of that provider, or none: what is left out is Google's "
            "where neither ISSUER nor TOKEN_ENDPOINT is another's.",
        )


def _is_at_google(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host.endswith((".google.com", ".googleapis.com"))


def _are_google_endpoints(endpoints: Mapping[str, str | None]) -> bool:
    keys = ("ISSUER", "TOKEN_ENDPOINT")
    return all(endpoints[key] in {None, DEFAULT_ENDPOINTS[key]} for key in keys)


def _require_endpoint(name: str, key: str, endpoints: Mapping[str, str | None]) -> str:
    url = endpoints[key]
    if url:
        return url
    raise SettingsError(
        "E027",
        f"The client {name!r} is not Google's, and has no {key}.",
        hint=f"Give its {key}: Google's is the default of Google's clients alone. For one of "
        "Google's, leave ISSUER and TOKEN_ENDPOINT out.",
    )


def _without_empty(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value}


def _list_clients() -> list[OAuthClient]:
    """Return all clients that are configured and can work."""
    names = read_or_default(lambda: list(conf.clients), [])
    found = [read_or_default(partial(get_client, name), None) for name in names]
    return [client for client in found if client]


def _make_google_client(name: str, client_id: str) -> OAuthClient:
    """Return a client of Google's of which nothing but the client id is known any more."""
    return OAuthClient(
        name=name,
        client_id=client_id,
        client_secret=Secret(""),
        scopes=(),
        api_endpoint=None,
        redirect_uri=None,
        redirect_uris=(),
        type=None,
        hosted_domain=None,
        is_google=True,
        **{key.lower(): url for key, url in DEFAULT_ENDPOINTS.items()},  # type: ignore[arg-type]
    )


def _describe_client(name: str) -> str:
    return f"the Google client {name!r}"
