"""Authorized API clients for a linked or a service account: in a view, a task or the shell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, overload

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from .accounts.access_tokens import fresh_access_token, refresh_leeway, stored_access_token
from .api_clients.service_account_tokens import service_token
from .conf.clients import get_api_endpoint, get_client, get_issuing_client
from .conf.service_accounts import ServiceAccount, get_service_account
from .exceptions import (
    AccountChoiceRequiredError,
    ConsentRequiredError,
    GrantLostError,
    MissingScopesError,
    NotLinkedError,
)
from .models import GoogleAccount
from .scopes import parse_scopes

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from google.auth.transport.requests import AuthorizedSession
    from googleapiclient.discovery import Resource

    from .api_clients.credentials import AccountCredentials, ServiceAccountCredentials

    LinkOwner = AbstractBaseUser | AnonymousUser | GoogleAccount
    Owner = LinkOwner | ServiceAccount
    Credentials = AccountCredentials | ServiceAccountCredentials

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

    The discovery document is parsed once per process; the client is yours alone, since its
    HTTP connection may not be shared between threads.

    Args:
        owner: a user, one of their ``GoogleAccount`` rows, or a ``ServiceAccount``.
        name: of the API, ``"calendar"``.
        version: of the API, ``"v3"``.
        scopes: that the call needs.
        client: the OAuth client through which the account was linked, for a user as the owner.
        kwargs: for ``googleapiclient.discovery.build_from_document``.

    Raises:
        ConsentRequiredError: when the user must act first; which of its kinds says why.
        SubjectNotAllowedError: when the service account may not act for this user.
        ImproperlyConfigured: when the extra ``api`` is not installed.
        ValueError: when googleapiclient knows no such API.
    """
    credentials, api_endpoint = _credentials_and_endpoint(owner, scopes=scopes, client=client)
    document = _document(name, version, api_endpoint)
    from googleapiclient.discovery import build_from_document

    from .api_clients.discovery import ServiceBatch, ServiceHttp

    service: Resource = build_from_document(document, credentials=credentials, **kwargs)
    # In place of google-auth's own, which googleapiclient has made as the environment wants it.
    service._http = ServiceHttp(credentials, http=service._http.http)
    batch_uri = document["rootUrl"] + document.get("batchPath", "batch")
    service.new_batch_http_request = partial(ServiceBatch, batch_uri=batch_uri)
    return service


def authorized_session(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> AuthorizedSession:
    """Return a ``requests`` session that sends the account's access token.

    Arguments and errors as :func:`credentials_for`.
    """
    credentials, api_endpoint = _credentials_and_endpoint(owner, scopes=scopes, client=client)
    from .api_clients.sessions import ApiSession

    return ApiSession(credentials, api_endpoint=api_endpoint)


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
    if isinstance(owner, ServiceAccount):
        from .api_clients.credentials import ServiceAccountCredentials

        return ServiceAccountCredentials.of(owner, parse_scopes(scopes))
    from .api_clients.credentials import AccountCredentials

    return AccountCredentials.of(get_account(owner, scopes=scopes, client=client))


def access_token(owner: Owner, *, scopes: Scopes = (), client: str = "default") -> str:
    """Return a fresh access token, for anything else that speaks HTTP.

    Use it at once and do not keep it. Arguments and errors as :func:`credentials_for`, and those
    of a refresh: ``RefreshUnavailableError``, ``ClientMisconfiguredError``.
    """
    if isinstance(owner, ServiceAccount):
        return service_token(owner, parse_scopes(scopes)).value.reveal()
    account = get_account(owner, scopes=scopes, client=client)
    stored = stored_access_token(account, leeway=refresh_leeway())
    return (stored or fresh_access_token(account)).value.reveal()


async def aaccess_token(owner: Owner, *, scopes: Scopes = (), client: str = "default") -> str:
    """Return a fresh access token; the asynchronous :func:`access_token`."""
    return await sync_to_async(access_token)(owner, scopes=scopes, client=client)


async def acredentials_for(
    owner: Owner, *, scopes: Scopes = (), client: str = "default"
) -> Credentials:
    """Return google-auth credentials that hold a fresh token; see :func:`credentials_for`.

    A later refresh asks the database, so use them in a thread or for less than an hour.
    """
    return await sync_to_async(_fresh_credentials)(owner, scopes=scopes, client=client)


def get_account(owner: LinkOwner, *, scopes: Scopes = (), client: str = "default") -> GoogleAccount:
    """Return the linked account to use, ready and with all the scopes.

    For a user it is the default one, or the only one that has the scopes.

    Raises:
        ConsentRequiredError: when there is none.
        SettingsError: (an ``ImproperlyConfigured``) when the client is not configured.
        TypeError: when the owner is something else.
    """
    required = parse_scopes(scopes)
    if isinstance(owner, GoogleAccount):
        return require_ready(owner, required)
    if not hasattr(owner, "is_authenticated"):
        raise TypeError(
            f"The owner is {owner!r}: pass a user, a GoogleAccount or a ServiceAccount."
        )
    if not owner.is_authenticated:
        raise NotLinkedError(missing_scopes=required, client=client)
    try:
        return choose_account(linked_accounts(owner, client=client), required)
    except ConsentRequiredError as error:
        if isinstance(error, NotLinkedError):
            get_client(client)  # A name that is not configured is no matter of the user's.
        error.client, error.user_id = client, owner.pk
        raise


def linked_accounts(
    user: AbstractBaseUser | AnonymousUser, *, client: str
) -> Sequence[GoogleAccount]:
    """Return what a user has linked through a client, the default one first."""
    using = router.db_for_write(GoogleAccount)  # A replica may not have what was just linked.
    owner = GoogleAccount._meta.get_field("user").get_db_prep_value(user.pk, connections[using])
    rows = GoogleAccount.objects.using(using).raw(_accounts_query(using), [owner, client])
    return sorted(rows, key=lambda row: (not row.is_default, row.linked_at, row.pk))


@cache
def _accounts_query(using: str) -> str:
    """Return the one query of a view. Django takes longer to write it than it takes to run."""
    quote = connections[using].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in GoogleAccount._meta.concrete_fields)
    table, user, client = quote(GoogleAccount._meta.db_table), quote("user_id"), quote("client")
    return f"SELECT {columns} FROM {table} WHERE {user} = %s AND {client} = %s"  # noqa: S608


def choose_account(accounts: Sequence[GoogleAccount], required: Sequence[str]) -> GoogleAccount:
    """Return the one of a user's accounts that is to be used: never by guessing.

    Args:
        accounts: the default one first.
        required: the scopes that it must have.

    Raises:
        NotLinkedError: when there are none.
        GrantLostError, MissingScopesError: when the one that would be used cannot be.
        AccountChoiceRequiredError: when there are several, and nothing says which.
    """
    if not accounts:
        raise NotLinkedError(missing_scopes=required)
    ready = [account for account in accounts if account.is_ready(*required)]
    if ready and (len(ready) == 1 or ready[0].is_default):
        return ready[0]
    if ready or (len(accounts) > 1 and not accounts[0].is_default):
        raise AccountChoiceRequiredError
    return require_ready(accounts[0], required)


def require_ready(account: GoogleAccount, required: Sequence[str]) -> GoogleAccount:
    """Return this account if it can be used.

    Raises:
        GrantLostError: when it must be linked again.
        MissingScopesError: when it lacks a scope.
    """
    if account.is_ready(*required):
        return account
    missing = account.missing_scopes(*required)
    if account.is_active:
        raise MissingScopesError(missing_scopes=missing, account=account)
    reason = account.status_reason or "no_refresh_token"
    raise GrantLostError(reason=reason, missing_scopes=missing, account=account)


def _credentials_and_endpoint(
    owner: Owner, *, scopes: Scopes, client: str
) -> tuple[Credentials, str | None]:
    if isinstance(owner, ServiceAccount):
        credentials = credentials_for(owner, scopes=scopes)
        return credentials, get_service_account(owner.name).api_endpoint
    account = get_account(owner, scopes=scopes, client=client)
    api_endpoint = get_api_endpoint(account.client)
    if api_endpoint:
        # Nobody but Google is to see a token of Google's, whatever the row says.
        get_issuing_client(account.client, account.client_id)
    return credentials_for(account, scopes=scopes), api_endpoint


def _fresh_credentials(owner: Owner, *, scopes: Scopes, client: str) -> Credentials:
    credentials = credentials_for(owner, scopes=scopes, client=client)
    if not credentials.valid:
        credentials.refresh(None)
    return credentials


@lru_cache(maxsize=64)
def _document(name: str, version: str, api_endpoint: str | None) -> Mapping[str, Any]:
    """Return the parsed discovery document that comes with googleapiclient, ready to be shared."""
    try:
        from googleapiclient.discovery_cache import get_static_doc
    except ImportError as error:
        raise ImproperlyConfigured(
            'build_service needs google-api-python-client: pip install "django-google-link[api]".'
        ) from error
    text = get_static_doc(name, version)
    if text is None:
        raise ValueError(f"googleapiclient knows no API {name!r} in version {version!r}.")
    document: dict[str, Any] = json.loads(text)
    if api_endpoint:
        # Media uploads start from rootUrl, which client_options.api_endpoint does not reach.
        document["rootUrl"] = api_endpoint.rstrip("/") + "/"
        document.pop("mtlsRootUrl", None)
    _touch_every_method(document)
    return document


def _touch_every_method(document: dict[str, Any]) -> None:
    """Let googleapiclient complete the document now: it does so in place, at the first use."""
    import httplib2
    from googleapiclient.discovery import build_from_document, fix_method_name

    def walk(resource: Any, description: Mapping[str, Any]) -> None:
        for name, nested in description.get("resources", {}).items():
            walk(getattr(resource, fix_method_name(name))(), nested)

    walk(build_from_document(document, http=httplib2.Http()), document)
