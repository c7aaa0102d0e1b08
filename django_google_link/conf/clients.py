"""OAuth clients: this site's registrations at Google, with the endpoints they talk to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..exceptions import ClientMisconfiguredError, SettingsError
from ..scopes import parse_scopes
from ..secret import Secret
from .json_file import explain_failure
from .secrets_file import read_secrets_file
from .settings import conf
from .validators import read_optional_url, read_or_default, read_url

GOOGLE_ISSUER = "https://accounts.google.com"

DEFAULT_ENDPOINTS = {
    "AUTHORIZATION_ENDPOINT": "https://accounts.google.com/o/oauth2/v2/auth",
    "TOKEN_ENDPOINT": "https://oauth2.googleapis.com/token",
    "REVOCATION_ENDPOINT": "https://oauth2.googleapis.com/revoke",
    "JWKS_URI": "https://www.googleapis.com/oauth2/v3/certs",
    "ISSUER": GOOGLE_ISSUER,
}

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
    revocation_endpoint: str
    jwks_uri: str
    issuer: str
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
    endpoints = {
        key.lower(): read_url(
            settings.get(key) or secrets.get(key) or default, key=key, owner=owner
        )
        for key, default in DEFAULT_ENDPOINTS.items()
    }
    return OAuthClient(
        name=name,
        client_id=_read_text(name, "CLIENT_ID", secrets["CLIENT_ID"]),
        client_secret=_read_secret(name, secrets["CLIENT_SECRET"]),
        scopes=_read_scopes(name, settings.get("SCOPES", ())),
        api_endpoint=read_optional_url(settings, key="API_ENDPOINT", owner=owner),
        redirect_uri=read_optional_url(settings, key="REDIRECT_URI", owner=owner),
        redirect_uris=tuple(secrets.get("REDIRECT_URIS", ())),
        type=secrets.get("TYPE"),
        hosted_domain=_read_hosted_domain(name, settings.get("HOSTED_DOMAIN")),
        authorization_params=_read_params(name, settings.get("AUTHORIZATION_PARAMS", {})),
        **endpoints,
    )


def get_issuing_client(name: str, client_id: str) -> OAuthClient:
    """Return the configured client of that name, if it is still the one that was given a token.

    Google would call another client's grant invalid, and any other provider would keep it.

    Args:
        name: a key of ``GOOGLE_LINK["CLIENTS"]``.
        client_id: to which the token was given.

    Raises:
        ClientMisconfiguredError: when it has another client id now.
        SettingsError: as :func:`get_client`.
    """
    client = get_client(name)
    if client.client_id != client_id:
        raise ClientMisconfiguredError(
            "client_id_changed",
            f"linked through {client_id}: put that back as {name!r}, or let the user link it anew",
        )
    return client


def get_api_endpoint(name: str) -> str | None:
    """Return the ``API_ENDPOINT`` of a client, without reading all of it. Errors as above."""
    return read_optional_url(_find_settings(name), key="API_ENDPOINT", owner=_describe_client(name))


def to_emulator(url: str, api_endpoint: str | None) -> str:
    """Return an address of Google's APIs at the emulator, if there is one; others as they are."""
    parts = urlsplit(url)
    if not api_endpoint or not (parts.hostname or "").endswith(".googleapis.com"):
        return url
    return api_endpoint.rstrip("/") + urlunsplit(("", "", *parts[2:]))


def get_revoking_client(name: str, client_id: str) -> OAuthClient:
    """Return a client by which to revoke a token, whatever is configured under its name by now.

    Google asks for no client to revoke, so its own endpoint will do for any client id of Google's.

    Arguments and errors as :func:`get_issuing_client`.
    """
    for other in (name, *conf.clients):
        client = read_or_default(partial(get_client, other), None)
        if client and client.client_id == client_id:
            return client
    if not google_project_number(client_id):
        return get_issuing_client(name, client_id)
    return replace(
        get_client(name),
        client_id=client_id,
        client_secret=Secret(""),
        revocation_endpoint=DEFAULT_ENDPOINTS["REVOCATION_ENDPOINT"],
    )


def google_project_number(client_id: str) -> str:
    """Return the number of the Google Cloud project that a client id is of, or nothing.

    Google gives a grant to a project, so that its clients share it:
    https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth
    """
    project, _, rest = client_id.partition("-")
    is_googles = project.isdecimal() and rest.endswith(GOOGLE_CLIENT_ID_SUFFIX)
    return project if is_googles else ""


def clients_sharing_endpoint(name: str) -> list[str]:
    """Return the names of all clients that revoke where this one does, and its own."""
    mine = _find_revocation_endpoint(name)
    others = (other for other in conf.clients if other != name)
    return [name, *(other for other in others if mine and _find_revocation_endpoint(other) == mine)]


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


def _read_text(name: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(
            "E012", f"{key} of the Google client {name!r} is not a string.", hint="Use a string."
        )
    return value


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


def _find_revocation_endpoint(name: str) -> str:
    """Return where a client revokes; nothing while its settings are broken."""
    client = read_or_default(partial(get_client, name), None)
    return client.revocation_endpoint if client else ""


def _describe_client(name: str) -> str:
    return f"the Google client {name!r}"
