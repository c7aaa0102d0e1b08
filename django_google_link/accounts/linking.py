"""Turning an authorization into a link, for views, commands and front ends.

Nothing here depends on a request or a session. ``authorization_requests`` says what to ask for,
:func:`complete_authorization` processes the response, and the callers turn the outcome into a page,
a line on a terminal, or JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import router
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import OAuthClient, get_client, name_provider_of
from ..conf.scope_rules import missing_scopes
from ..conf.settings import conf
from ..encryption import keyring
from ..exceptions import (
    AuthorizationDeniedError,
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantLostError,
    GrantNotStoredError,
    NoRefreshTokenError,
    OtherAccountError,
    StateError,
)
from ..models import ActorKind, GoogleAccount
from ..oauth.authorization_response import check_issuer, exchange_code, identify_user
from ..secret import Secret
from .access_tokens import check_grant
from .answers import (
    end_grant,
    end_grant_on_failure,
    hold_grant,
    store_answer,
)
from .authorization_requests import PendingAuthorization
from .database_errors import DATABASE_FAILURES
from .ended_grants import has_ended_since, note_moment
from .grants import save_grant
from .held_grants import HeldGrant, release_in_the_end
from .history import acting_as
from .labels import store_label
from .revocations import has_living_link
from .transactions import run_durably

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.http import HttpRequest

    from ..exceptions import TokenEndpointError
    from ..oauth.endpoints import TokenResponse
    from ..oauth.id_token import Identity

    User = AbstractBaseUser | AnonymousUser

logger = logging.getLogger("django_google_link")

#: With less, the user would be sent to the consent page again before the page is shown.
_SHORTEST_LINK = timedelta(minutes=1)


@sensitive_variables()
def complete_authorization(
    user: User,
    pending: PendingAuthorization,
    response: Mapping[str, str],
    code: Secret,
    *,
    request: HttpRequest | None = None,
) -> GoogleAccount | PendingAuthorization:
    """Turn an authorization response into a link (RFC 6749 section 4.1.2).

    Args:
        user: the user who started the authorization and brings the response.
        pending: the pending authorization. The caller has checked that it may still be used.
        response: the parameters other than the code: ``error``, ``iss``.
        code: the authorization code; empty if there is none.
        request: passed on to signal receivers.

    Returns:
        The account; or a second authorization to send the user to, because no refresh token was
        issued for what was granted, or because the grant was revoked at the same moment.

    Raises:
        AuthorizationDeniedError: when the user or the provider refused.
        OtherAccountError: when the user chose another account than the expected one.
        NoRefreshTokenError: when no refresh token was issued twice.
        GrantNotStoredError: when the response could not be stored.
        StateError, IDTokenError, TokenEndpointError: as the functions of ``oauth`` say.
    """
    client = get_client(pending.client)
    check_issuer(client, response.get("iss"))
    if "error" in response:
        _refuse_authorization(user, pending, response["error"], request)
    keyring.require_key()  # A code works once, so the response must be storable.
    started = note_moment()
    try:
        answer = exchange_code(
            client,
            code=code,
            redirect_uri=pending.redirect_uri,
            code_verifier=pending.code_verifier,
        )
    except ClientMisconfiguredError as error:
        logger.error("%s refuses the client %r: %s", client.display_name, client.name, error)
        raise
    except GoogleLinkError as error:
        logger.warning("Linking through the client %r failed: %s", client.name, error)
        raise
    if answer.problem:
        _refuse_answer(client, pending, answer, answer.problem)
    held = hold_grant(
        client,
        answer.unverified_sub,
        answer.refresh_token or answer.access_token,
        owner=pending.user,
        is_linked=pending.is_further,
        using=_choose_database(),
    )
    try:
        with acting_as(ActorKind.USER, user.pk):
            outcome = _turn_into_link(user, client, pending, answer, held=held, request=request)
    finally:
        release_in_the_end(held)
    if isinstance(outcome, GoogleAccount) and not is_alive(client, outcome, started=started):
        return pending.repeated(account=outcome.sub)
    return outcome


@sensitive_variables()
def _refuse_answer(
    client: OAuthClient,
    pending: PendingAuthorization,
    answer: TokenResponse,
    problem: TokenEndpointError,
) -> NoReturn:
    """Revoke what was granted by a response that cannot be used."""
    logger.warning("Linking through the client %r failed: %s", client.name, problem)
    token = answer.refresh_token or answer.access_token
    if token:
        end_grant(
            client,
            answer.unverified_sub,
            token,
            owner=pending.user,
            is_linked=pending.is_further,
        )
    raise problem


@sensitive_variables()
def _turn_into_link(
    user: User,
    client: OAuthClient,
    pending: PendingAuthorization,
    answer: TokenResponse,
    *,
    held: HeldGrant,
    request: HttpRequest | None,
) -> GoogleAccount | PendingAuthorization:
    identity = _identify_account(client, pending, answer)
    is_known = client.identity != "none"
    if is_known and pending.account and identity.sub != pending.account:
        _refuse_other_account(user, client, pending, answer, identity)
    try:
        if not answer.refresh_token and _needs_consent(user, client, pending, answer, identity):
            return pending.repeated(account=identity.sub if is_known else pending.account)
        return store_grant(
            user,
            client,
            answer,
            identity,
            owner=pending.user,
            requested_scopes=pending.scopes,
            is_linked=pending.is_further,
            held=held,
            request=request,
        )
    except NoRefreshTokenError:
        # A user who does not return must not leave a grant that is not known here.
        delay = timedelta() if pending.consent_repeated else _time_to_decide()
        end_grant(client, identity.sub, answer.access_token, owner=pending.user, delay=delay)
        if not pending.consent_repeated:
            return pending.repeated(account=identity.sub if is_known else pending.account)
        # The grant is revoked by now, so the next attempt is a new grant, with a refresh token.
        logger.warning(
            "%s sent the client %r no refresh token, twice.", client.display_name, client.name
        )
        raise
    except GrantNotStoredError as error:
        if error.user_is_gone:
            raise StateError("The user no longer exists.") from None
        raise


def _refuse_authorization(
    user: User, pending: PendingAuthorization, error: str, request: HttpRequest | None
) -> NoReturn:
    problem = AuthorizationDeniedError(error)
    signals.authorization_denied.send_robust(
        GoogleAccount, user=user, client=pending.client, error=problem.error, request=request
    )
    if problem.is_users:
        logger.info("A user declined to link through the client %r.", pending.client)
    else:
        logger.warning(
            "%s refused to link through the client %r: %.100r",
            name_provider_of(pending.client),
            pending.client,
            error,
        )
    raise problem


@sensitive_variables()
def _identify_account(
    client: OAuthClient, pending: PendingAuthorization, answer: TokenResponse
) -> Identity:
    """Verify whose grant a response represents; revoke the grant if that is impossible."""
    try:
        return identify_user(client, answer, nonce=pending.nonce or None)
    except BaseException as error:
        if isinstance(error, GoogleLinkError):
            logger.warning("Linking through the client %r failed: %s", client.name, error)
        # The unverified ID token may still name the account: if an active link uses the same grant,
        # it must not be revoked.
        end_grant(
            client,
            answer.unverified_sub,
            answer.refresh_token or answer.access_token,
            owner=pending.user,
            is_linked=pending.is_further,
        )
        raise error


@sensitive_variables()
def _refuse_other_account(
    user: User,
    client: OAuthClient,
    pending: PendingAuthorization,
    answer: TokenResponse,
    identity: Identity,
) -> NoReturn:
    """Offer the account as a further one; the grant is revoked unless the user accepts in time."""
    end_grant(
        client,
        identity.sub,
        answer.refresh_token or answer.access_token,
        owner=pending.user,
        is_linked=True,
        delay=_time_to_decide(),
    )
    raise OtherAccountError(
        sub=identity.sub,
        name=identity.email or identity.name or identity.sub,
        account=_find_row(user, client, pending.account),
        client=client.name,
    )


def _time_to_decide() -> timedelta:
    return timedelta(seconds=2 * conf.state_max_age)


@sensitive_variables()
def _needs_consent(
    user: User,
    client: OAuthClient,
    pending: PendingAuthorization,
    answer: TokenResponse,
    identity: Identity,
) -> bool:
    """Return whether the stored refresh token lacks scopes that were requested and granted now.

    Google does not document whether an existing refresh token gains scopes granted later, so it is
    tried. Scopes that were not requested (``include_granted_scopes`` adds them) or were declined
    are no reason to ask again.

    Raises:
        NoRefreshTokenError: when no usable refresh token is stored.
        GrantNotStoredError: when the database cannot be read.
    """
    if not client.gives_refresh_tokens:
        if _ends_at_once(answer):
            raise NoRefreshTokenError
        return False
    with end_grant_on_failure(
        client, identity.sub, answer.access_token, owner=pending.user, is_linked=pending.is_further
    ):
        row = run_durably(lambda: _find_row(user, client, identity.sub), using=_choose_database())
    if row is None or not row.is_active or not client.has_issued(row):
        raise NoRefreshTokenError
    granted = pending.scopes if answer.scopes is None else answer.scopes
    new = set(granted).intersection(pending.scopes)
    if not missing_scopes(new, row.refresh_token_scopes):
        return False
    try:
        check_grant(row)
        row.refresh_from_db(fields=["refresh_token_scopes"])
    except (GoogleLinkError, *DATABASE_FAILURES):
        return not pending.consent_repeated  # Only a new token is sure to cover them.
    lost = missing_scopes(new, row.refresh_token_scopes)
    if lost and pending.consent_repeated:
        # The user has been asked twice, and is not asked again: the stored token has to do.
        logger.warning(
            "%s sent the client %r no refresh token for the granted scopes, twice: %s",
            client.display_name,
            client.name,
            " ".join(sorted(lost)),
        )
    return bool(lost) and not pending.consent_repeated


@sensitive_variables()
def _ends_at_once(answer: TokenResponse) -> bool:
    """Return whether a link that lasts as long as this access token would be too short-lived."""
    expires_at = answer.access_token_expires_at
    return expires_at is not None and expires_at < clock.now() + _SHORTEST_LINK


@sensitive_variables()
def store_grant(
    user: User,
    client: OAuthClient,
    answer: TokenResponse,
    identity: Identity,
    *,
    owner: str,
    requested_scopes: Iterable[str],
    is_linked: bool,
    held: HeldGrant,
    request: HttpRequest | None = None,
    label: str = "",
) -> GoogleAccount:
    """Store a grant, or revoke it at the provider.

    Args:
        user: the user to link the account to.
        client: the OAuth client to which the tokens were issued.
        answer: the response of the token endpoint.
        identity: the verified identity of the account.
        owner: the primary key of the user, as text.
        requested_scopes: taken as granted if the response names no scopes (RFC 6749 section 5.1).
        is_linked: whether to assume an active link on the same grant if the database cannot tell.
        held: the outbox entry that holds the grant until it is stored.
        request: passed on to signal receivers.
        label: the user's label for the account; empty to leave it unchanged.

    Raises:
        NoRefreshTokenError, ClientMisconfiguredError: as :func:`~.grants.save_grant` says.
        GrantNotStoredError: when the grant could not be stored.
    """

    def save() -> GoogleAccount:
        account = save_grant(
            user, client, identity, answer, requested_scopes=requested_scopes, request=request
        )
        if label:
            store_label(account, label)
        return account

    # Without a new refresh token, the stored one still represents the grant.
    token = answer.refresh_token
    with end_grant_on_failure(client, identity.sub, token, owner=owner, is_linked=is_linked):
        # Queried beforehand: the database may be unavailable once storing has failed.
        is_linked = run_durably(
            lambda: has_living_link(client, sub=identity.sub, owner=owner),
            using=_choose_database(),
        )
    account = store_answer(
        partial(held.store, save),
        client=client,
        sub=identity.sub,
        owner=owner,
        token=token,
        is_linked=is_linked,
        using=_choose_database(),
        held=held,
    )
    logger.info("The account %s was linked.", account.pk)
    return account


def is_alive(client: OAuthClient, account: GoogleAccount, *, started: float) -> bool:
    """Return whether a grant that has just been stored is valid at Google.

    It is, unless another token of the same grant was revoked meanwhile. If that cannot be found out
    now, the next refresh shows it.
    """
    try:
        if has_ended_since(client, sub=account.sub, started=started):
            check_grant(account, wait=True)
    except GrantLostError:
        return False
    except (GoogleLinkError, *DATABASE_FAILURES) as error:
        logger.warning(
            "Whether the grant of the account %s was revoked meanwhile is unknown: %s",
            account.pk,
            type(error).__name__,
        )
    return True


def _find_row(user: User, client: OAuthClient, sub: str) -> GoogleAccount | None:
    owner: Any = user.pk
    rows = GoogleAccount.objects.using(_choose_database())
    return rows.filter(user_id=owner, client=client.name, sub=sub).first()


def _choose_database() -> str:
    return router.db_for_write(GoogleAccount)
