"""Authorized API clients for a linked or a service account: in a view, a task or the shell.

A façade: it turns an owner into an account that is ready, and hands it to what makes the client.
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
    """Return googleapiclient's client of an API, authorized for the linked account.

    The discovery document is parsed once per process, and connections are shared by the process.
    Threads may share the client.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        name: of the API, ``"calendar"``.
        version: of the API, ``"v3"``.
        scopes: that the call needs.
        client: the OAuth client through which the account was linked, for a user as the owner.
        kwargs: as those of ``googleapiclient.discovery.build``: ``static_discovery=False`` fetches
            the discovery document from Google, and the process keeps it unless
            ``cache_discovery`` is false. ``http`` and ``credentials`` are the account's.

    Raises:
        ConsentRequiredError: when the user must act first; which of its kinds says why.
        SubjectNotAllowedError: when the service account may not act for this user.
        ImproperlyConfigured: when the extra ``api`` is not installed.
        TypeError: when there is no such argument.
        ValueError: when there is no such API, version or scope; the message names the one that may
            be meant.
    """
    from .api_clients.discovery import build_service_for

    required = parse_scopes(scopes)
    account = _find_account(owner, required, client)
    return build_service_for(account, name, version, scopes=required, **kwargs)


def authorized_session(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> AuthorizedSession:
    """Return a ``requests`` session that sends the account's access token.

    It speaks https only, and shares the connections of the process. Arguments and errors as
    :func:`credentials_for`.
    """
    from .api_clients.sessions import open_session_for

    required = parse_scopes(scopes)
    return open_session_for(_find_account(owner, required, client), scopes=required)


def authorized_http(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> AuthorizedHttp:
    """Return an object with httplib2's interface that sends the account's access token.

    For ``request.execute(http=…)`` with a service that a module builds once. It shares the
    connections of the process, and threads may share it.

    Arguments and errors as :func:`build_service`.
    """
    from .api_clients.authorized_http import open_http_for

    required = parse_scopes(scopes)
    return open_http_for(_find_account(owner, required, client), scopes=required)


def httpx_auth(owner: Owner, *, scopes: Scopes = (), client: str = "default") -> HttpxAuth:
    """Return an ``httpx.Auth`` that sends the account's access token.

    For ``Client`` and ``AsyncClient``; hand it to each call: ``client.get(url, auth=…)``. The
    account is looked up with the first request, so that this may be called in an event loop, and
    the errors come from there.

    Arguments and errors as :func:`access_token`.

    Raises:
        ImproperlyConfigured: when the extra ``httpx`` is not installed.
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
        scopes: that the call needs.
        client: the OAuth client through which the account was linked, for a user as the owner.

    Raises:
        ConsentRequiredError: when the user must act first; which of its kinds says why.
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    from .api_clients.credentials import make_credentials_for

    required = parse_scopes(scopes)
    return make_credentials_for(_find_account(owner, required, client), scopes=required)


@sensitive_variables()
def access_token(
    owner: Owner, *, scopes: Scopes = (), client: str = "default", rejected: str | None = None
) -> str:
    """Return a fresh access token, for anything else that speaks HTTP.

    Use it at once and do not keep it. Where an API answers with 401, hand back the token that it
    refused: the result is another one, from whoever has got one meanwhile or from Google. Google
    is asked so once a minute for each account; until then the result is the token that was
    refused, and to try again is of no use.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        scopes: that the call needs.
        client: the OAuth client through which the account was linked, for a user as the owner.
        rejected: the token that an API has just refused.

    Raises:
        ConsentRequiredError: when the user must act first; which of its kinds says why.
        SubjectNotAllowedError: when the service account may not act for this user.
        RefreshUnavailableError: when Google cannot be reached, and no other token lives.
        ClientMisconfiguredError: when Google refuses the client or the service account.
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

    They may be refreshed in the event loop, which waits for it: better in a thread.
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
    """Link the account whose consent a flow of your own has got: ``flow.credentials``.

    For google-auth-oauthlib's ``Flow`` and ``InstalledAppFlow``, and for whatever else ends with
    google-auth's credentials. The refresh token is used once: the answer says whose it is and what
    was granted, which is stored as by this app's own pages, with the same signals. Do not use or
    keep the credentials afterwards.

    It is to be called outside of transactions: what Google has answered must not be undone.

    Args:
        user: of this site, whose link it becomes.
        credentials: as ``flow.credentials`` returns them, with a refresh token.
        client: the OAuth client with which the flow was made.
        label: what the user calls the account.

    Raises:
        TypeError, ValueError: when the user cannot have a link, or these are no such credentials.
        RuntimeError: inside a transaction.
        SettingsError: when they were given to another client than the one that is named.
        NoRefreshTokenError: when they hold none.
        GrantLostError: when they are revoked.
        IDTokenError: when it cannot be verified whose they are; ``openid`` has to be among the
            scopes of the flow.
        RefreshUnavailableError: when Google cannot be reached: try again.
        ClientMisconfiguredError: when Google refuses the client.
        GrantNotStoredError: when they could not be stored. The grant is ended then.
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
    """Link the account of a flow of your own; the asynchronous :func:`link_credentials`."""
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
    """Return the absolute address where this user links, for a mail or a task without a request.

    It is signed for this user, who has to be logged in to follow it, and works on this site alone.

    Args:
        user: who is to link.
        site: scheme and host, such as ``"https://daybook.example"``.
        scopes: that are required; by default the client's ``SCOPES``.
        client: the name of the OAuth client; that of the account, if one is given.
        account: to be linked again, with all that it has been granted.
        return_url: a path on the site where the user goes afterwards; by default
            ``REDIRECT_URL``.
        max_age: for how long the address is good, a day if not given; at most 30 days.

    Raises:
        ValueError: when the site or the time cannot be.
        SettingsError: (an ``ImproperlyConfigured``) when the client is not configured.
    """
    parts = urlsplit(site)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise ValueError(f"site is scheme and host, such as https://daybook.example, not {site!r}.")
    seconds = int(max_age.total_seconds())
    if not 0 < seconds <= LONGEST_AGE:
        raise ValueError(f"max_age is at most {LONGEST_AGE // 86_400} days, not {max_age}.")
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
    """Return the account of an owner, judged here and nowhere below."""
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
    """Refuse scopes that nobody can grant, before a user is asked for them.

    Raises:
        ValueError: naming the one that is meant.
    """
    for scope in required:
        if mistake := find_scope_mistake(scope, is_google=get_client(client).is_google):
            raise ValueError(mistake) from None
