"""OAuth clients: this site's registrations with Google or another provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from ..exceptions import ClientMisconfiguredError, SettingsError
from ..scopes import IDENTITY_SCOPES
from ..secret import Secret
from .client_values import (
    ANY_DOMAIN,
    describe_client,
    read_client_id,
    read_credentials,
    read_hosted_domains,
    read_include_granted_scopes,
    read_params,
    read_scopes,
    read_secret,
    require_storable,
)
from .provider_values import (
    AUTH_METHODS,
    PROVIDER_KEYS,
    AuthMethod,
    IdentityKind,
    read_auth_method,
    read_display_name,
    read_identity_kind,
    read_identity_scopes,
    read_refresh_tokens,
    read_scope_separator,
    read_subject_member,
    refuse_foreign_domain,
)
from .providers import (
    DEFAULT_ENDPOINTS,
    GOOGLE_ISSUER,
    GOOGLE_TOKEN_ENDPOINTS,
    are_google_endpoints,
    counts_as_google,
    discovers_endpoints,
    google_project_number,
    read_endpoints,
    refuse_mixture,
    require_endpoint,
    without_empty,
)
from .settings import conf
from .validators import read_optional_url, read_or_default

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
        "INCLUDE_GRANTED_SCOPES",
        "PROVIDER",
        "FRONT_END_REDIRECT_URIS",
        "FRONT_END_ORIGINS",
        "FRONT_END_MODES",
        "IDENTITY_SERVICES_REDIRECT_URI",
        *DEFAULT_ENDPOINTS,
        *PROVIDER_KEYS,
    }
)


@dataclass(frozen=True, kw_only=True)
class OAuthClient:
    """A client in ``GOOGLE_LINK["CLIENTS"]``, with its settings validated."""

    name: str
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...]
    #: Empty, like the token endpoint, until the issuer's metadata has been fetched.
    authorization_endpoint: str
    token_endpoint: str
    #: ``None`` if the provider has none: then tokens cannot be revoked there.
    revocation_endpoint: str | None
    #: ``None`` if none is configured: then ID tokens cannot be verified.
    jwks_uri: str | None
    #: Identifies, together with the client id, whom a token was issued by and to. The token
    #: endpoint, if no issuer is configured.
    issuer: str
    #: Whether the provider is Google, or a fake Google on loopback.
    is_google: bool
    api_endpoint: str | None
    redirect_uri: str | None
    redirect_uris: tuple[str, ...]
    #: ``"web"`` or ``"installed"``, as in the secrets file; ``None`` without one.
    type: str | None
    #: The accepted ``hd`` claims, or ``("*",)`` for any; empty if every account is accepted.
    hosted_domains: tuple[str, ...]
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    #: Whether to request the scopes granted before as well (incremental authorization).
    include_granted_scopes: bool = True
    #: The provider's name for users.
    display_name: str = "Google"
    #: How a linked account is identified.
    identity: IdentityKind = "id_token"
    #: Requested at every link, but never required.
    identity_scopes: tuple[str, ...] = IDENTITY_SCOPES
    #: Set if ``identity`` is ``"userinfo"``.
    userinfo_endpoint: str | None = None
    #: The member of the userinfo response that identifies the account, such as ``"data.id"``.
    subject_member: str = "sub"
    #: How the client authenticates; ``None`` if the issuer's metadata decides.
    token_endpoint_auth_method: AuthMethod | None = None
    #: The separator of scopes in an authorization request.
    scope_separator: str = " "
    #: Whether the provider issues refresh tokens. If not, a link ends with its access token.
    gives_refresh_tokens: bool = True
    #: Whether the endpoints are read from the issuer's metadata.
    discovers_endpoints: bool = False
    #: The algorithms with which the issuer signs ID tokens; ``None`` if not known.
    signing_algorithms: tuple[str, ...] | None = None
    #: Whether the issuer includes ``iss`` in its authorization responses (RFC 9207).
    sends_issuer: bool = False

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted values of ``iss``: Google's ID tokens may omit the scheme."""
        if self.issuer == GOOGLE_ISSUER:
            return (GOOGLE_ISSUER, GOOGLE_ISSUER.removeprefix("https://"))
        return (self.issuer,)

    @property
    def combines_scopes(self) -> bool:
        """Whether an authorization includes the scopes granted before.

        See https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth.
        """
        return self.is_google and self.include_granted_scopes

    @property
    def authenticates_by_header(self) -> bool:
        """Whether it authenticates with HTTP Basic, not in the body (RFC 6749 section 2.3.1)."""
        return self.token_endpoint_auth_method == AUTH_METHODS[1]

    @property
    def callback_args(self) -> tuple[str, ...]:
        """The arguments of the callback URL: the client's name, unless its provider is Google.

        Each authorization server has its own redirect URI, so that a response from one cannot be
        mistaken for a response from another (RFC 9700 section 4.4.2.2).
        """
        return () if self.is_google else (self.name,)

    def is_given(self, client_id: str, token_endpoint: str) -> bool:
        """Return whether a token issued to this client id at that endpoint is this client's.

        A client id alone does not suffice: another provider may issue the same one.
        """
        if client_id != self.client_id:
            return False
        return self.is_used_at(token_endpoint)

    def is_used_at(self, token_endpoint: str) -> bool:
        """Return whether a token endpoint belongs to this client's provider.

        Google's token endpoint has had several addresses.
        """
        if token_endpoint in GOOGLE_TOKEN_ENDPOINTS:
            return self.is_google
        return token_endpoint == self.token_endpoint

    @property
    def hd(self) -> str:
        """The ``hd`` parameter: one domain, or ``"*"`` to offer accounts of any Workspace domain.

        See https://developers.google.com/identity/openid-connect/openid-connect#hd-param.
        """
        if not self.hosted_domains:
            return ""
        return self.hosted_domains[0] if len(self.hosted_domains) == 1 else "*"

    def accepts_domain(self, domain: object) -> bool:
        """Return whether an account with this ``hd`` claim may be linked."""
        if not self.hosted_domains:
            return True
        is_any = self.hosted_domains == ANY_DOMAIN
        return (
            isinstance(domain, str) and bool(domain) and (is_any or domain in self.hosted_domains)
        )

    def has_issued(self, row: Issued) -> bool:
        """Return whether the tokens of a row were issued to this client."""
        return (row.issuer, row.client_id) == (self.issuer, self.client_id)


class Issued(Protocol):
    """A row with tokens, which names the issuer and the client they were issued to."""

    @property
    def issuer(self) -> str:
        """The issuer of the tokens."""

    @property
    def client_id(self) -> str:
        """The client id to which they were issued."""


def get_client(name: str = "default") -> OAuthClient:
    """Return the configured client of that name.

    Args:
        name: a key of ``GOOGLE_LINK["CLIENTS"]``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if it is missing or invalid.
    """
    settings = find_client_settings(name)
    secrets = read_credentials(name, settings)
    owner = describe_client(name)
    endpoints = read_endpoints({**without_empty(secrets), **without_empty(settings)}, owner)
    is_google = counts_as_google(name, settings.get("PROVIDER"), endpoints)
    if are_google_endpoints(endpoints):
        endpoints = {key: endpoints[key] or default for key, default in DEFAULT_ENDPOINTS.items()}
    userinfo_endpoint = read_optional_url(settings, key="USERINFO_ENDPOINT", owner=owner)
    refuse_mixture(name, {**endpoints, "USERINFO_ENDPOINT": userinfo_endpoint})
    if not is_google and ("/" in name or name in {".", ".."}):
        raise SettingsError(
            "E002",
            f"The client {name!r} is not Google's, and its name cannot be part of a URL.",
            hint="Use a name without slashes that does not consist of dots: it is part of the "
            "callback URL.",
        )
    is_discovered = discovers_endpoints(endpoints)
    if not is_discovered:
        require_endpoint(name, "TOKEN_ENDPOINT", endpoints)
        require_endpoint(name, "AUTHORIZATION_ENDPOINT", endpoints)
    issuer = endpoints["ISSUER"] or endpoints["TOKEN_ENDPOINT"] or ""
    hosted_domains = read_hosted_domains(name, settings.get("HOSTED_DOMAIN"))
    refuse_foreign_domain(name, hosted_domains, is_google=is_google)
    identity = read_identity_kind(name, settings, is_google=is_google)
    return OAuthClient(
        name=name,
        client_id=read_client_id(name, secrets["CLIENT_ID"]),
        client_secret=read_secret(name, secrets["CLIENT_SECRET"]),
        scopes=read_scopes(name, settings.get("SCOPES", ())),
        api_endpoint=read_optional_url(settings, key="API_ENDPOINT", owner=owner),
        redirect_uri=read_optional_url(settings, key="REDIRECT_URI", owner=owner),
        redirect_uris=tuple(secrets.get("REDIRECT_URIS", ())),
        type=secrets.get("TYPE"),
        hosted_domains=hosted_domains,
        authorization_params=read_params(name, settings.get("AUTHORIZATION_PARAMS", {})),
        include_granted_scopes=read_include_granted_scopes(
            name, settings.get("INCLUDE_GRANTED_SCOPES", True)
        ),
        authorization_endpoint=endpoints["AUTHORIZATION_ENDPOINT"] or "",
        token_endpoint=endpoints["TOKEN_ENDPOINT"] or "",
        revocation_endpoint=endpoints["REVOCATION_ENDPOINT"],
        jwks_uri=endpoints["JWKS_URI"],
        issuer=require_storable(name, "ISSUER", issuer),
        is_google=is_google,
        display_name=read_display_name(
            name, settings, issuer=issuer, default="Google" if is_google else ""
        ),
        identity=identity,
        identity_scopes=read_identity_scopes(name, settings, kind=identity),
        userinfo_endpoint=userinfo_endpoint,
        subject_member=read_subject_member(
            name,
            settings,
            kind=identity,
            userinfo_endpoint=userinfo_endpoint,
            discovers_endpoints=is_discovered,
        ),
        token_endpoint_auth_method=read_auth_method(name, settings),
        scope_separator=read_scope_separator(name, settings, is_google=is_google),
        gives_refresh_tokens=read_refresh_tokens(name, settings, is_google=is_google),
        discovers_endpoints=is_discovered,
    )


def get_issuing_client(row: ClientRow) -> OAuthClient:
    """Return the client of a row, if the row's tokens were issued to it.

    With a different client, Google would report the grant as invalid, and another provider might
    even accept and store the tokens.

    Args:
        row: names the client, and the issuer and client id of its tokens.

    Raises:
        ClientMisconfiguredError: if the client has a different issuer or client id now.
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
        what, f"linked through {was}: restore it for {row.client!r}, or let the user link again"
    )


class ClientRow(Issued, Protocol):
    """A row that also names its client."""

    @property
    def client(self) -> str:
        """The client's name in the settings."""


def get_api_endpoint(name: str) -> str | None:
    """Return the ``API_ENDPOINT`` of a client without reading its other settings."""
    return read_optional_url(
        find_client_settings(name), key="API_ENDPOINT", owner=describe_client(name)
    )


def to_emulator(url: str, api_endpoint: str | None) -> str:
    """Return the emulator's address for an address of a Google API, if there is an emulator."""
    parts = urlsplit(url)
    if not api_endpoint or not (parts.hostname or "").endswith(".googleapis.com"):
        return url
    return api_endpoint.rstrip("/") + urlunsplit(("", "", *parts[2:]))


def get_revoking_client(row: ClientRow) -> OAuthClient:
    """Return a client that can revoke the tokens of a row, even if its own client was replaced.

    Google does not authenticate clients at its revocation endpoint, so any of Google's will do.

    Arguments and exceptions are those of :func:`get_issuing_client`.
    """
    configured = list_clients()
    for client in configured:
        if client.has_issued(row):
            return client
    for client in configured:
        if client.is_google and client.issuer == row.issuer:
            return replace(client, client_id=row.client_id, client_secret=Secret(""))
    if row.issuer == GOOGLE_ISSUER:
        return _make_google_client(row.client, row.client_id)
    return get_issuing_client(row)


def list_google_clients() -> list[OAuthClient]:
    """Return the valid clients whose provider is Google."""
    return [client for client in list_clients() if client.is_google]


def share_grant(one: Issued, other: Issued) -> bool:
    """Return whether two clients share a user's grant, as the clients of a Google project do.

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


def name_provider(row: ClientRow) -> str:
    """Return the provider's name for users, even if the client is no longer configured."""
    client = read_or_default(partial(get_client, row.client), None)
    if client is not None and row.issuer in {"", client.issuer}:
        return client.display_name
    if row.issuer in {"", GOOGLE_ISSUER}:
        return "Google"
    return urlsplit(row.issuer).hostname or row.issuer


def has_subject(row: ClientRow) -> bool:
    """Return whether the row's subject identifies the account; otherwise it is a random value."""
    client = read_or_default(partial(get_client, row.client), None)
    return client is None or client.identity != "none"


def name_provider_of(client: str) -> str:
    """Return the name for users of the provider of the client with this name."""
    found = read_or_default(partial(get_client, client), None)
    return found.display_name if found else "Google"


def is_google_issuer(issuer: str) -> bool:
    """Return whether an issuer is Google, or a fake Google that is configured."""
    return issuer == GOOGLE_ISSUER or any(
        client.is_google and client.issuer == issuer for client in list_clients()
    )


def find_client_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a client as written. Raises as :func:`get_client`."""
    clients = conf.clients
    if name in clients:
        return clients[name]
    raise SettingsError(
        "E002",
        f"There is no client {name!r}.",
        hint=f'Add it to GOOGLE_LINK["CLIENTS"]. Known clients: {", ".join(sorted(clients))}.',
    )


def list_clients() -> list[OAuthClient]:
    """Return the clients whose settings are valid."""
    names = read_or_default(lambda: list(conf.clients), [])
    found = [read_or_default(partial(get_client, name), None) for name in names]
    return [client for client in found if client]


def _make_google_client(name: str, client_id: str) -> OAuthClient:
    """Return a client of Google's for which only the client id is known."""
    return OAuthClient(
        name=name,
        client_id=client_id,
        client_secret=Secret(""),
        scopes=(),
        api_endpoint=None,
        redirect_uri=None,
        redirect_uris=(),
        type=None,
        hosted_domains=(),
        is_google=True,
        **{key.lower(): url for key, url in DEFAULT_ENDPOINTS.items()},  # type: ignore[arg-type]
    )
