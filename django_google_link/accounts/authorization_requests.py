"""What to ask the user for at the provider, and what to remember until the response arrives."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..conf import clock
from ..conf.clients import OAuthClient, get_client
from ..conf.scope_rules import choose_scopes, missing_scopes
from ..conf.settings import conf
from ..exceptions import ConsentRequiredError, SettingsError
from ..models import GoogleAccount, Reason
from ..oauth.authorization_request import write_authorization_url
from .lookup import choose_account

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from .authorize_links import AuthorizeRequest


@dataclass(frozen=True, kw_only=True)
class PendingAuthorization:
    """What must be remembered between the authorization request and its response.

    It consists of JSON primitives and contains no token, so it may be kept in a cookie.

    Args:
        user: the primary key, as text, of the user who started the authorization.
        client: the name of the OAuth client.
        scopes: all requested scopes.
        required: the scopes without which the page behind ``return_url`` does not work.
        return_url: where the user wanted to go.
        redirect_uri: as sent; the token request has to repeat it (RFC 6749 section 4.1.3).
        prompt: as sent.
        account: the ``sub`` of the expected account; empty if any account will do.
        add: whether a further account is wanted although one is linked.
        is_further: whether the user had already linked an account through this client.
        consent_repeated: whether this is the second attempt, with ``prompt=consent``.
        include_granted_scopes: whether to request incremental authorization.
        login_hint: the account that the user is likely to choose, if none is expected.
    """

    user: str
    client: str
    scopes: list[str]
    required: list[str]
    return_url: str
    redirect_uri: str
    prompt: str = ""
    account: str = ""
    add: bool = False
    is_further: bool = False
    consent_repeated: bool = False
    include_granted_scopes: bool = True
    login_hint: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    code_verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)
    created_at: float = field(default_factory=clock.timestamp)

    @property
    def is_live(self) -> bool:
        """Whether ``STATE_MAX_AGE`` has not passed yet."""
        return clock.timestamp() - self.created_at <= conf.state_max_age

    def authorization_url(self, state: str) -> str:
        """Return the URL of the authorization request (RFC 6749 section 4.1.1).

        Args:
            state: returned unchanged in the response, which is recognized by it.

        Raises:
            RefreshUnavailableError, ClientMisconfiguredError: as ``endpoints.authorization_url``.
        """
        return write_authorization_url(
            get_client(self.client),
            redirect_uri=self.redirect_uri,
            scopes=self.scopes,
            state=state,
            nonce=self.nonce,
            code_verifier=self.code_verifier,
            prompt=self.prompt,
            login_hint=self.account or self.login_hint,
            include_granted_scopes=self.include_granted_scopes,
        )

    def repeated(self, *, account: str) -> PendingAuthorization:
        """Return a second attempt with ``prompt=consent``, now for a known account."""
        return replace(
            self,
            account=account,
            prompt="consent",
            consent_repeated=True,
            nonce=secrets.token_urlsafe(32),
            code_verifier=secrets.token_urlsafe(64),
            created_at=clock.timestamp(),
        )


def start_authorization(
    user: AbstractBaseUser | AnonymousUser,
    request: AuthorizeRequest,
    client: OAuthClient,
    *,
    redirect_uri: str,
) -> PendingAuthorization | None:
    """Return the authorization that a user needs, or ``None`` if nothing is missing.

    Google shows its consent page for scopes that were not granted yet, with or without
    ``prompt=consent``. Only with it is a refresh token sure to be issued, and only a new one is
    sure to cover the new scopes. Without new scopes no consent is requested: each consent issues
    another of the 100 refresh tokens that Google keeps per account and client, and the oldest is
    invalidated (https://developers.google.com/identity/protocols/oauth2#expiration).

    Args:
        user: the user who links the account.
        request: what is to be authorized.
        client: the OAuth client that the request names.
        redirect_uri: where the provider sends the user back to.
    """
    linked = list(GoogleAccount.objects.for_user(user, client=client.name))
    account = _find_expected(client, request, linked)
    scopes = choose_scopes(request.scopes, required=request.required)
    if account is None:
        usable = [row for row in linked if row.is_active and client.has_issued(row)]
        prompt = "consent"
        if usable and not request.account:
            # The user may choose a linked account that lacks some of the requested scopes.
            lacks = any(missing_scopes(scopes, row.refresh_token_scopes) for row in usable)
            prompt = "select_account consent" if lacks else "select_account"
    else:
        is_usable = account.is_active and client.has_issued(account)
        # Without an identity, accounts cannot be told apart: a further one replaces this one.
        renew = request.renew or (request.add and client.identity == "none")
        if is_usable and account.is_ready(*request.required) and not renew:
            return None
        scopes = _add_granted_scopes(request, client, account, is_usable=is_usable)
        is_granted = not missing_scopes(scopes, account.refresh_token_scopes)
        prompt = "" if is_usable and is_granted and not renew else "consent"
    return PendingAuthorization(
        user=request.user,
        client=client.name,
        scopes=list(scopes),
        required=list(request.required),
        return_url=request.return_url,
        redirect_uri=redirect_uri,
        prompt=prompt,
        account=account.sub if account else request.account,
        add=request.add,
        is_further=bool(linked),
        include_granted_scopes=client.include_granted_scopes
        and not any(
            row.status_reason == Reason.RETIRED for row in ([account] if account else linked)
        ),
        login_hint="" if account or request.account or request.add else _guess_account(user),
    )


def _guess_account(user: AbstractBaseUser | AnonymousUser) -> str:
    """Return the user's e-mail address or ``sub`` at Google, as ``LOGIN_HINT`` knows it."""
    hint = conf.login_hint(user) if conf.login_hint else None
    if hint is None or isinstance(hint, str):
        return hint or ""
    raise SettingsError(
        "E047",
        'The function in GOOGLE_LINK["LOGIN_HINT"] did not return text.',
        hint="It must return an e-mail address, a sub, or None.",
    )


def _add_granted_scopes(
    request: AuthorizeRequest, client: OAuthClient, account: GoogleAccount, *, is_usable: bool
) -> tuple[str, ...]:
    """Return the scopes to request so that those granted before are kept."""
    granted = account.granted_scopes
    if not client.combines_scopes:
        return choose_scopes((*request.scopes, *granted), required=(*request.required, *granted))
    return choose_scopes(
        request.scopes, required=request.required, granted=granted if is_usable else ()
    )


def _find_expected(
    client: OAuthClient, request: AuthorizeRequest, linked: list[GoogleAccount]
) -> GoogleAccount | None:
    """Return the account that a request is about; ``None`` for a further one."""
    if client.identity == "none":
        # A further one could not be told apart from it, and replaces it.
        return linked[0] if linked else None
    if request.account:
        return next((row for row in linked if row.sub == request.account), None)
    if request.add:
        return None
    try:
        return choose_account(linked, request.required)
    except ConsentRequiredError as error:
        return error.account
