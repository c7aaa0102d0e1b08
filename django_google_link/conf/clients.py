"""OAuth clients: this site's registrations at Google, with the endpoints they talk to."""

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
    """One client of ``GOOGLE_LINK["CLIENTS"]``, ready for use."""

    name: str
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...]
    #: Empty, like the token endpoint, until the issuer's metadata is read.
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
    #: Those that accounts must be of, or ``("*",)``; none, where they need not be of a Workspace.
    hosted_domains: tuple[str, ...]
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    #: Whether an authorization asks for the scopes that were granted before as well.
    include_granted_scopes: bool = True
    #: What users call the provider.
    display_name: str = "Google"
    #: By what it is known whose account was linked.
    identity: IdentityKind = "id_token"
    #: Asked at every link, and never required.
    identity_scopes: tuple[str, ...] = IDENTITY_SCOPES
    #: Where ``identity`` is ``"userinfo"``.
    userinfo_endpoint: str | None = None
    #: The member of the userinfo answer that is the subject, such as ``"data.id"``.
    subject_member: str = "sub"
    #: How the client shows its secret; ``None`` where the settings leave that to the metadata.
    token_endpoint_auth_method: AuthMethod | None = None
    #: What stands between the scopes of an authorization request.
    scope_separator: str = " "
    #: Whether the provider gives refresh tokens: a link lasts as long as its access token if not.
    gives_refresh_tokens: bool = True
    #: Whether the endpoints are those that the issuer's metadata names.
    discovers_endpoints: bool = False
    #: What the issuer says that it signs ID tokens with; ``None`` where it has not been asked.
    signing_algorithms: tuple[str, ...] | None = None
    #: Whether the issuer says that each of its authorization responses names it (RFC 9207).
    sends_issuer: bool = False

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
        return self.is_google and self.include_granted_scopes

    @property
    def authenticates_by_header(self) -> bool:
        """Whether it shows its secret in the header, and not in the body (RFC 6749 2.3.1)."""
        return self.token_endpoint_auth_method == AUTH_METHODS[1]

    @property
    def callback_args(self) -> tuple[str, ...]:
        """What the address of the callback names: the client, unless it is Google's.

        Each authorization server gets a redirect URI of its own, so that what one of them sends
        back cannot be taken for another's (RFC 9700 section 4.4.2.2).
        """
        return () if self.is_google else (self.name,)

    def is_given(self, client_id: str, token_endpoint: str) -> bool:
        """Return whether what was given to this client id, at that endpoint, is this client's.

        A client id means nothing without its provider: any other may give out the same.
        """
        if client_id != self.client_id:
            return False
        return self.is_used_at(token_endpoint)

    def is_used_at(self, token_endpoint: str) -> bool:
        """Return whether a token endpoint is of this client's provider.

        Google's has had several addresses over the years.
        """
        if token_endpoint in GOOGLE_TOKEN_ENDPOINTS:
            return self.is_google
        return token_endpoint == self.token_endpoint

    @property
    def hd(self) -> str:
        """What Google's screens are asked to offer: accounts of one domain, or of any Workspace.

        See https://developers.google.com/identity/openid-connect/openid-connect#hd-param.
        """
        if not self.hosted_domains:
            return ""
        return self.hosted_domains[0] if len(self.hosted_domains) == 1 else "*"

    def accepts_domain(self, domain: object) -> bool:
        """Return whether accounts of a domain may be linked, by the ``hd`` of their ID token."""
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
            f"The client {name!r} is not Google's, and its name cannot stand in an address.",
            hint="Name it without a slash, and not with points alone: the name stands in the "
            "address of its callback.",
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
    return read_optional_url(
        find_client_settings(name), key="API_ENDPOINT", owner=describe_client(name)
    )


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
    """Return the clients of Google's that are configured and can work."""
    return [client for client in list_clients() if client.is_google]


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


def name_provider(row: ClientRow) -> str:
    """Return what users call the provider of a row, whatever has become of its client."""
    client = read_or_default(partial(get_client, row.client), None)
    if client is not None and row.issuer in {"", client.issuer}:
        return client.display_name
    if row.issuer in {"", GOOGLE_ISSUER}:
        return "Google"
    return urlsplit(row.issuer).hostname or row.issuer


def has_subject(row: ClientRow) -> bool:
    """Return whether the subject of a row means anything: where nothing says it, it is made up."""
    client = read_or_default(partial(get_client, row.client), None)
    return client is None or client.identity != "none"


def name_provider_of(client: str) -> str:
    """Return what users call the provider of the client with this name."""
    found = read_or_default(partial(get_client, client), None)
    return found.display_name if found else "Google"


def is_google_issuer(issuer: str) -> bool:
    """Return whether tokens of this issuer are Google's, or those of a configured fake of it."""
    return issuer == GOOGLE_ISSUER or any(
        client.is_google and client.issuer == issuer for client in list_clients()
    )


def find_client_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a client as written. Errors as :func:`get_client`."""
    clients = conf.clients
    if name in clients:
        return clients[name]
    raise SettingsError(
        "E002",
        f"There is no client {name!r}.",
        hint=f'Add it to GOOGLE_LINK["CLIENTS"], which has {", ".join(sorted(clients))}.',
    )


def list_clients() -> list[OAuthClient]:
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
        hosted_domains=(),
        is_google=True,
        **{key.lower(): url for key, url in DEFAULT_ENDPOINTS.items()},  # type: ignore[arg-type]
    )
