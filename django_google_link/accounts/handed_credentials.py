"""Linking an account with the credentials of a project's own OAuth flow.

google-auth-oauthlib's ``Flow`` and ``InstalledAppFlow`` return google-auth credentials. What these
state about themselves is not trusted: the refresh token is used once, and the response shows
whether Google accepts it, whose account it is and what was granted. For a provider that issues no
refresh tokens, the account is identified with the access token, in the way that the client's
settings name.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.views.decorators.debug import sensitive_variables

from ..conf import clock
from ..conf.clients import OAuthClient, get_client, list_clients
from ..encryption import keyring
from ..exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantLostError,
    IDTokenError,
    NoRefreshTokenError,
    RefreshUnavailableError,
    SettingsError,
)
from ..models import GoogleAccount, is_unexpired
from ..oauth import endpoints
from ..oauth.authorization_response import identify_user
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import read_unverified_identity
from ..oauth.metadata import with_endpoints
from ..scopes import parse_scopes
from ..secret import Secret
from .access_tokens import check_grant
from .answers import end_grant, hold_grant
from .ended_grants import note_moment
from .grants import is_held
from .held_grants import release_in_the_end
from .labels import clean_label, store_label
from .linking import is_alive, store_grant

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from google.oauth2.credentials import Credentials

    from ..oauth.id_token import Identity

    User = AbstractBaseUser | AnonymousUser

logger = logging.getLogger("django_google_link")


@sensitive_variables()
def link_handed_credentials(
    user: User, credentials: Credentials, *, client: str, label: str
) -> GoogleAccount:
    """Verify credentials from another OAuth flow, and store them as a link.

    Credentials that cannot be used at all are refused before Google is asked, and left valid. After
    that, the grant is either stored or revoked, as at the end of our own flow. The exception is a
    transient failure that leaves the given refresh token valid: it may be tried again.

    Args:
        user: the user to link the account to.
        credentials: google-auth credentials, as ``flow.credentials`` returns them.
        client: the name of the OAuth client to which they were issued.
        label: the user's label for the account; empty to leave it unchanged.

    Raises:
        TypeError, ValueError: when the user cannot have links, or the credentials are of another
            kind.
        SettingsError: (an ``ImproperlyConfigured``) when they were issued to another client.
        NoRefreshTokenError: when they contain no refresh token.
        GrantLostError: when Google does not accept them.
        IDTokenError: when the account cannot be verified.
        GrantNotStoredError: when they could not be stored.
        TokenEndpointError: as :func:`..oauth.endpoints.refresh` says.
    """
    _require_user(user)
    label = _read_label(label)
    _require_credentials(credentials)
    oauth_client = with_endpoints(get_client(client))
    _require_client(oauth_client, credentials)
    refresh_token = _read_refresh_token(oauth_client, credentials)
    _require_openid(oauth_client, credentials)
    _require_no_transaction()
    keyring.require_key()  # Without a key, the response could not be stored.
    if refresh_token and (known := _find_holder(user, oauth_client, refresh_token)):
        return _check_again(known, label)
    started = note_moment()
    if refresh_token:
        answer = _ask_provider(user, oauth_client, credentials, refresh_token)
    else:
        answer = _read_access_token(user, oauth_client, credentials)
    account = _turn_into_link(
        user,
        oauth_client,
        credentials,
        answer,
        label=label,
        is_replaced=answer.refresh_token != refresh_token,
    )
    if not is_alive(oauth_client, account, started=started):
        raise GrantLostError(account=account)
    return account


def _require_user(user: User) -> None:
    if not hasattr(user, "is_authenticated"):
        raise TypeError(f"The user is a {type(user).__name__}: pass a user of this site.")
    if not user.is_authenticated:
        raise ValueError("The user is anonymous: only a logged-in user can link an account.")
    if user.pk is None or user._state.adding:
        raise ValueError("The user is not saved yet: save the user first.")


def _read_label(label: str) -> str:
    if not isinstance(label, str):
        raise TypeError(f"The label is a {type(label).__name__}: pass a string.")
    text = clean_label(label)
    longest: Any = GoogleAccount._meta.get_field("label").max_length
    if len(text) > longest:
        raise ValueError(
            f"The label has {len(text)} characters, but at most {longest} are allowed."
        )
    return text


def _require_credentials(credentials: object) -> None:
    from google.oauth2.credentials import Credentials
    from google.oauth2.service_account import Credentials as ServiceAccountCredentials

    if isinstance(credentials, Credentials):
        return
    if credentials is None:
        advice = "Call flow.fetch_token() first, and pass flow.credentials."
    elif isinstance(credentials, ServiceAccountCredentials):
        advice = (
            'A service account cannot be linked: configure it in GOOGLE_LINK["SERVICE_ACCOUNTS"].'
        )
    elif isinstance(credentials, str):
        advice = "A bare token does not state its client: pass flow.credentials."
    else:
        advice = "Pass what flow.credentials returns: google.oauth2.credentials.Credentials."
    # Only the type: the value may be a token.
    kind = "None" if credentials is None else f"a {type(credentials).__name__}"
    raise TypeError(f"The credentials are {kind}. {advice}")


def _require_client(client: OAuthClient, credentials: Credentials) -> None:
    """Check that the credentials were issued to this client: no other may see its refresh token.

    Raises:
        SettingsError: when they were not.
    """
    given_to = str(credentials.client_id or "nobody"), str(credentials.token_uri or "no endpoint")
    if client.is_given(*given_to):
        return
    named = [other.name for other in list_clients() if other.is_given(*given_to)]
    hint = (
        f"Pass client={named[0]!r}."
        if named
        else 'Create the flow with the client id and secret in GOOGLE_LINK["CLIENTS"], or '
        "add the other client there."
    )
    raise SettingsError(
        "E002",
        f"The credentials were issued to {given_to[0]} at {given_to[1]}, but the client "
        f"{client.name!r} is {client.client_id} at {client.token_endpoint}.",
        hint=hint,
    )


@sensitive_variables()
def _read_refresh_token(client: OAuthClient, credentials: Credentials) -> Secret | None:
    """Return the refresh token; ``None`` for a client whose provider issues none."""
    if not client.gives_refresh_tokens:
        return None
    if credentials.refresh_token:
        return Secret(str(credentials.refresh_token))
    if client.is_google:
        advice = 'Call flow.authorization_url(access_type="offline", prompt="consent").'
    else:
        advice = f"If the provider issues none, set REFRESH_TOKENS of {client.name!r} to False."
    raise NoRefreshTokenError(f"The credentials contain no refresh token. {advice}")


def _require_openid(client: OAuthClient, credentials: Credentials) -> None:
    if client.identity != "id_token":
        return
    if not credentials.id_token and "openid" not in (_read_scopes(credentials) or ()):
        raise IDTokenError(
            'The credentials do not identify the account: add "openid" to the scopes of the flow.'
        )


def _require_no_transaction() -> None:
    """Refuse to run inside the caller's transaction, which may be rolled back later."""
    try:
        with transaction.atomic(using=router.db_for_write(GoogleAccount), durable=True):
            pass
    except RuntimeError:
        raise RuntimeError(
            "link_credentials() was called inside a transaction. If that is rolled back, the grant "
            "stays valid at Google and can no longer be revoked. Call it outside atomic(); in a "
            "view, use @transaction.non_atomic_requests."
        ) from None


@sensitive_variables()
def _find_holder(user: User, client: OAuthClient, refresh_token: Secret) -> GoogleAccount | None:
    """Return the link that already stores this refresh token, if any."""
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    owner: Any = user.pk
    rows = rows.filter(user_id=owner, issuer=client.issuer, client_id=client.client_id)
    for row in rows.filter(client=client.name):
        if is_held(refresh_token, rows.filter(pk=row.pk)):
            return row
    return None


def _check_again(account: GoogleAccount, label: str) -> GoogleAccount:
    """Check that a link is still valid. Its refresh token is not revoked, whatever goes wrong."""
    check_grant(account)
    if label:
        store_label(account, label)
    account.refresh_from_db()
    return account


@sensitive_variables()
def _ask_provider(
    user: User, client: OAuthClient, credentials: Credentials, refresh_token: Secret
) -> TokenResponse:
    """Use the refresh token once; return the token response to store."""
    try:
        response = endpoints.refresh(client, refresh_token=refresh_token)
    except GrantLostError as error:
        raise _make_lost_error(user, client, error.reason) from None
    except ClientMisconfiguredError as error:
        logger.error("%s refuses the client %r: %s", client.display_name, client.name, error)
        raise
    scopes = _read_scopes(credentials) if response.scopes is None else response.scopes
    return replace(
        response,
        refresh_token=response.refresh_token or refresh_token,
        id_token=response.id_token or _read_id_token(credentials),
        scopes=scopes,
    )


@sensitive_variables()
def _read_access_token(user: User, client: OAuthClient, credentials: Credentials) -> TokenResponse:
    """Return a token response for credentials that have only an access token."""
    expires_at = None
    if credentials.expiry:  # Naive, in UTC.
        seconds = credentials.expiry.replace(tzinfo=UTC).timestamp() - clock.timestamp()
        expires_at = clock.now() + timedelta(seconds=seconds)
    if not credentials.token or not is_unexpired(expires_at):
        raise _make_lost_error(user, client, "expired")
    return TokenResponse(
        access_token=Secret(str(credentials.token)),
        access_token_expires_at=expires_at,
        refresh_token=None,
        refresh_token_expires_at=None,
        scopes=_read_scopes(credentials),
        id_token=_read_id_token(credentials),
    )


def _make_lost_error(user: User, client: OAuthClient, reason: str) -> GrantLostError:
    problem = GrantLostError(
        f"{client.display_name} no longer accepts these credentials: send the user "
        "through the flow again.",
        reason=reason,
        client=client.name,
    )
    problem.user_id = user.pk
    return problem


def _read_scopes(credentials: Credentials) -> tuple[str, ...] | None:
    """Return the granted scopes, or else the requested ones (RFC 6749 section 5.1)."""
    scopes = credentials.granted_scopes or credentials.scopes
    return parse_scopes(scopes) if scopes else None


def _read_id_token(credentials: Credentials) -> Secret | None:
    return Secret(str(credentials.id_token)) if credentials.id_token else None


@sensitive_variables()
def _turn_into_link(
    user: User,
    client: OAuthClient,
    credentials: Credentials,
    answer: TokenResponse,
    *,
    label: str,
    is_replaced: bool,
) -> GoogleAccount:
    token = answer.refresh_token or answer.access_token
    owner = str(user.pk)
    is_linked = GoogleAccount.objects.for_user(user, client=client.name).exists()
    held = hold_grant(
        client,
        answer.unverified_sub,
        token,
        owner=owner,
        is_linked=is_linked,
        using=router.db_for_write(GoogleAccount),
    )
    try:
        try:
            identity = _identify_account(client, credentials, answer)
        except BaseException as error:
            if isinstance(error, GoogleLinkError):
                logger.warning("Linking through the client %r failed: %s", client.name, error)
            if is_replaced or not isinstance(error, RefreshUnavailableError):
                sub = answer.unverified_sub
                end_grant(client, sub, token, owner=owner, is_linked=is_linked)
            raise
        return store_grant(
            user,
            client,
            answer,
            identity,
            owner=owner,
            requested_scopes=(),
            is_linked=is_linked,
            held=held,
            label=label,
        )
    finally:
        release_in_the_end(held)


@sensitive_variables()
def _identify_account(
    client: OAuthClient, credentials: Credentials, answer: TokenResponse
) -> Identity:
    if answer.problem:
        raise answer.problem
    identity = identify_user(client, answer, nonce=None)
    handed = _read_id_token(credentials)
    if handed and client.identity == "id_token":
        claimed = read_unverified_identity(handed)
        if claimed and claimed.sub != identity.sub:
            raise IDTokenError("The ID token and the refresh token belong to different accounts.")
    return identity
