"""Authorized API clients for a linked account or a service account: in a view, a task or the shell.

Each function finds the owner's account, checks that it can be used, and passes it to the module of
``api_clients`` that makes the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.views.decorators.debug import sensitive_variables

from .accounts.authorize_links import LONGEST_AGE, AuthorizeRequest
from .accounts.handed_credentials import link_handed_credentials
from .accounts.lookup import get_account
from .api_clients.tokens import get_token
from .conf.clients import get_client
from .conf.scope_spelling import find_scope_mistake
from .conf.service_accounts import ServiceAccount
from .exceptions import ConsentRequiredError
from .models import GoogleAccount
from .scopes import parse_scopes
from .secret import Secret

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials as GoogleCredentials
    from googleapiclient.discovery import Resource

    from .accounts.lookup import LinkOwner
    from .api_clients.authorized_http import AuthorizedHttp
    from .api_clients.credentials import AccountCredentials, ServiceAccountCredentials
    from .api_clients.httpx_auth import HttpxAuth

    Owner = LinkOwner | ServiceAccount
    Credentials = AccountCredentials | ServiceAccountCredentials

__all__ = [
    "ServiceAccount",
    "aaccess_token",
    "access_token",
    "acredentials_for",
    "alink_credentials",
    "authorize_url",
    "authorized_http",
    "authorized_session",
    "build_service",
    "credentials_for",
    "httpx_auth",
    "link_credentials",
]

Scopes = str | Iterable[str]


def build_service(
    owner: Owner,
    name: str,
    version: str,
    *,
    scopes: Scopes = (),
    client: str = "default",
    **kwargs: Any,
) -> Resource:
    """Return a googleapiclient service for an API, authorized for the account.

    The discovery document is parsed once per process. The service uses the connections that the
    process shares, and is thread-safe.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        name: the name of the API, such as ``"calendar"``.
        version: the version of the API, such as ``"v3"``.
        scopes: the scopes that the call needs.
        client: if the owner is a user, the name of the OAuth client of the linked account.
        kwargs: arguments of ``googleapiclient.discovery.build()``, except ``http`` and
            ``credentials``. ``static_discovery=False`` fetches the discovery document from Google,
            and the process keeps it unless ``cache_discovery`` is false.

    Raises:
        ConsentRequiredError: if the user must act first; the subclass says why.
        SubjectNotAllowedError: if the service account may not impersonate this user.
        ImproperlyConfigured: if the extra ``api`` is not installed.
        TypeError: if there is no such argument.
        ValueError: if there is no such API, version or scope; the message suggests one.
    """
    from .api_clients.discovery import build_service_for

    required = parse_scopes(scopes)
    account = _find_account(owner, required, client)
    return build_service_for(account, name, version, scopes=required, **kwargs)


def authorized_session(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> AuthorizedSession:
    """Return a ``requests`` session that sends the account's access token.

    It sends to https addresses only, over the connections that the process shares. Arguments and
    exceptions are those of :func:`credentials_for`.
    """
    from .api_clients.sessions import open_session_for

    required = parse_scopes(scopes)
    return open_session_for(_find_account(owner, required, client), scopes=required)


def authorized_http(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> AuthorizedHttp:
    """Return an object with httplib2's interface that sends the account's access token.

    For ``request.execute(http=…)`` with a service that is built once per module. It is thread-safe,
    and uses the connections that the process shares.

    Arguments and exceptions are those of :func:`build_service`.
    """
    from .api_clients.authorized_http import open_http_for

    required = parse_scopes(scopes)
    return open_http_for(_find_account(owner, required, client), scopes=required)


def httpx_auth(owner: Owner, *, scopes: Scopes = (), client: str = "default") -> HttpxAuth:
    """Return an ``httpx.Auth`` that sends the account's access token.

    For ``Client`` and ``AsyncClient``; pass it to each call: ``client.get(url, auth=…)``. The
    account is looked up when the first request is sent, which is also when the exceptions are
    raised, so that this function can be called in an event loop.

    Arguments and exceptions are those of :func:`access_token`.

    Raises:
        ImproperlyConfigured: if the extra ``httpx`` is not installed.
    """
    from .api_clients.httpx_auth import HttpxAuth

    required = parse_scopes(scopes)
    return HttpxAuth(partial(_find_account, owner, required, client), scopes=required)


@overload
def credentials_for(
    owner: LinkOwner, *, scopes: Scopes = (), client: str = "default"
) -> AccountCredentials: ...
@overload
def credentials_for(
    owner: ServiceAccount, *, scopes: Scopes = (), client: str = "default"
) -> ServiceAccountCredentials: ...
@overload
def credentials_for(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> Credentials: ...
def credentials_for(owner: Owner, *, scopes: Scopes = (), client: str = "default") -> Credentials:
    """Return google-auth credentials, for ``google-cloud-*`` and gRPC clients.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        scopes: the scopes that the call needs.
        client: if the owner is a user, the name of the OAuth client of the linked account.

    Raises:
        ConsentRequiredError: if the user must act first; the subclass says why.
        SubjectNotAllowedError: if the service account may not impersonate this user.
    """
    from .api_clients.credentials import make_credentials_for

    required = parse_scopes(scopes)
    return make_credentials_for(_find_account(owner, required, client), scopes=required)


@sensitive_variables()
def access_token(
    owner: Owner, *, scopes: Scopes = (), client: str = "default", rejected: str | None = None
) -> str:
    """Return a fresh access token, for any other HTTP client.

    Use it immediately and do not store it. If an API responds with 401, call this function again
    with that token as ``rejected``: the result is a different token, which another worker has
    stored or Google issues now. At most one rejected token per minute and account is replaced;
    within that minute the same token is returned, and another attempt is useless.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        scopes: the scopes that the call needs.
        client: if the owner is a user, the name of the OAuth client of the linked account.
        rejected: the token that an API has just rejected.

    Raises:
        ConsentRequiredError: if the user must act first; the subclass says why.
        SubjectNotAllowedError: if the service account may not impersonate this user.
        RefreshUnavailableError: if Google cannot be reached and the stored token has expired.
        ClientMisconfiguredError: if Google rejects the client or the service account.
    """
    required = parse_scopes(scopes)
    account = _find_account(owner, required, client)
    refused = Secret(rejected) if rejected else None
    return get_token(account, scopes=required, rejected=refused).value.reveal()


@sensitive_variables()
async def aaccess_token(
    owner: Owner, *, scopes: Scopes = (), client: str = "default", rejected: str | None = None
) -> str:
    """Return a fresh access token; the asynchronous :func:`access_token`."""
    ask = sync_to_async(access_token)
    return await ask(owner, scopes=scopes, client=client, rejected=rejected)


async def acredentials_for(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> Credentials:
    """Return google-auth credentials that hold a fresh token; see :func:`credentials_for`.

    Refreshing them blocks the event loop: let a thread do it.
    """
    return await sync_to_async(_make_fresh_credentials)(owner, scopes=scopes, client=client)


@sensitive_variables()
def link_credentials(
    user: AbstractBaseUser | AnonymousUser,
    credentials: GoogleCredentials,
    *,
    client: str = "default",
    label: str = "",
) -> GoogleAccount:
    """Link the account that was authorized in a flow of your own.

    For google-auth-oauthlib's ``Flow`` and ``InstalledAppFlow``, and any other flow that results in
    google-auth credentials. The refresh token is used once; the response identifies the account and
    lists the granted scopes. They are stored, and signals are sent, as by this app's own pages. Do
    not use or keep the credentials afterwards.

    Call it outside of transactions: a rollback would lose tokens that Google has issued.

    Args:
        user: the user of this site to whom the account is linked.
        credentials: the credentials from ``flow.credentials``, with a refresh token.
        client: the name of the OAuth client that the flow used.
        label: the user's own name for the account.

    Raises:
        TypeError, ValueError: if the user cannot have links, or the credentials are unsuitable.
        RuntimeError: inside a transaction.
        SettingsError: if the credentials were issued to a different client.
        NoRefreshTokenError: if they have no refresh token.
        GrantLostError: if the refresh token is revoked or has expired.
        IDTokenError: if the account cannot be verified; the flow has to request ``openid``.
        RefreshUnavailableError: if Google cannot be reached: try again.
        ClientMisconfiguredError: if Google rejects the client.
        GrantNotStoredError: if the grant could not be stored. It is revoked then.
    """
    return link_handed_credentials(user, credentials, client=client, label=label)


@sensitive_variables()
async def alink_credentials(
    user: AbstractBaseUser | AnonymousUser,
    credentials: GoogleCredentials,
    *,
    client: str = "default",
    label: str = "",
) -> GoogleAccount:
    """Link an account authorized in a flow of your own; the async :func:`link_credentials`."""
    link = sync_to_async(link_credentials)
    return await link(user, credentials, client=client, label=label)


def authorize_url(
    user: AbstractBaseUser | AnonymousUser,
    *,
    site: str,
    scopes: Scopes = (),
    client: str = "default",
    account: GoogleAccount | None = None,
    return_url: str = "",
    max_age: timedelta = timedelta(days=1),
) -> str:
    """Return the absolute URL at which a user links an account, for an e-mail or a task.

    The URL is signed for this user and this site: it works only on that host, and only while this
    user is logged in.

    Args:
        user: the user who is to link an account.
        site: scheme and host, such as ``"https://daybook.example"``.
        scopes: the required scopes; by default the client's ``SCOPES``.
        client: the name of the OAuth client; ignored if an account is given.
        account: the account to link again, with the scopes it has been granted.
        return_url: a path on the site to which the user returns; by default ``REDIRECT_URL``.
        max_age: how long the URL is valid; at most 30 days.

    Raises:
        ValueError: if ``site`` or ``max_age`` is invalid.
        SettingsError: (an ``ImproperlyConfigured``) if the client is not configured.
    """
    parts = urlsplit(site)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise ValueError(
            f"site must be a scheme and host, such as https://daybook.example, not {site!r}."
        )
    seconds = int(max_age.total_seconds())
    if not 0 < seconds <= LONGEST_AGE:
        raise ValueError(
            f"max_age must be positive and at most {LONGEST_AGE // 86_400} days, not {max_age}."
        )
    known = get_client(account.client if account else client)
    required, granted = parse_scopes(scopes) or known.scopes, ()
    if account:
        granted = account.granted_scopes
    path = AuthorizeRequest(
        user=str(user.pk),
        host=parts.netloc,
        client=known.name,
        scopes=parse_scopes((*known.identity_scopes, *required, *known.scopes, *granted)),
        required=parse_scopes((*required, *granted)),
        return_url=return_url,
        account=account.sub if account else "",
        max_age=seconds,
    ).url()
    return f"{parts.scheme}://{parts.netloc}{path}"


def _make_fresh_credentials(owner: Owner, *, scopes: Scopes, client: str) -> Credentials:
    credentials = credentials_for(owner, scopes=scopes, client=client)
    if not credentials.valid:
        credentials.refresh(None)
    return credentials


def _find_account(
    owner: Owner, required: tuple[str, ...], client: str
) -> GoogleAccount | ServiceAccount:
    """Return the owner's account after checking, once and for all callees, that it can be used."""
    if isinstance(owner, ServiceAccount):
        return owner
    try:
        return get_account(owner, scopes=required, client=client)
    except ConsentRequiredError:
        _require_scopes(
            required, client=owner.client if isinstance(owner, GoogleAccount) else client
        )
        raise


def _require_scopes(required: tuple[str, ...], *, client: str) -> None:
    """Reject scopes that do not exist, instead of asking a user to grant them.

    Raises:
        ValueError: suggesting the scope that may be meant.
    """
    for scope in required:
        if mistake := find_scope_mistake(scope, is_google=get_client(client).is_google):
            raise ValueError(mistake) from None
