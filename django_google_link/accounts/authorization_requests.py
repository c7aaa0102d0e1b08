"""What a user is to be asked for at Google, and what is remembered until they are back."""

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

    JSON primitives only, and no token: it may be kept in a cookie.

    Args:
        user: the primary key, as text, of the user who started.
        client: the name of the OAuth client.
        scopes: all that is asked for.
        required: those without which the page behind ``return_url`` does not work.
        return_url: where the user wanted to go.
        redirect_uri: as sent; the exchange has to repeat it.
        prompt: as sent.
        account: the ``sub`` of the account that is expected, or nothing.
        add: that a further account is wanted, though one is linked.
        is_further: that this user had linked an account before, through this client.
        consent_repeated: that this is the second attempt, with ``prompt=consent``.
        include_granted_scopes: that what was granted before is asked for as well.
        login_hint: the account that the user is likely to choose, where none is expected.
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
        """Whether its time has not run out: ``STATE_MAX_AGE``."""
        return clock.timestamp() - self.created_at <= conf.state_max_age

    def authorization_url(self, state: str) -> str:
        """Return the address at Google where the user gives consent.

        Args:
            state: comes back unchanged; whoever brings it must be told by it.

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
        """Return a fresh second attempt at the same, for the account that now is known."""
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
    ``prompt=consent``; only with it a refresh token is sure to come, and only a new one is sure to
    stand for the new scopes. Where nothing new is asked no consent is: each mints one more of the
    hundred refresh tokens that Google keeps for an account and a client, and the oldest dies.

    Args:
        request: what is wanted.
        client: of that name.
        redirect_uri: to which Google is to send the user back.
    """
    linked = list(GoogleAccount.objects.for_user(user, client=client.name))
    account = _find_expected(client, request, linked)
    scopes = choose_scopes(request.scopes, required=request.required)
    if account is None:
        usable = [row for row in linked if row.is_active and client.has_issued(row)]
        prompt = "consent"
        if usable and not request.account:
            # The user may choose an account that is linked, and lacks some of what is asked.
            lacks = any(missing_scopes(scopes, row.refresh_token_scopes) for row in usable)
            prompt = "select_account consent" if lacks else "select_account"
    else:
        is_usable = account.is_active and client.has_issued(account)
        # Where nothing tells accounts apart, a further one takes the place of this one.
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
    """Return the address or the ``sub`` by which the site knows this user at Google, if it does."""
    hint = conf.login_hint(user) if conf.login_hint else None
    if hint is None or isinstance(hint, str):
        return hint or ""
    raise SettingsError(
        "E047",
        'The function in GOOGLE_LINK["LOGIN_HINT"] did not return text.',
        hint="It has to return an e-mail address, a sub, or None.",
    )


def _add_granted_scopes(
    request: AuthorizeRequest, client: OAuthClient, account: GoogleAccount, *, is_usable: bool
) -> tuple[str, ...]:
    """Return what to ask, so that what was granted before stays, and is not asked anew."""
    granted = account.granted_scopes
    if not client.combines_scopes:
        return choose_scopes((*request.scopes, *granted), required=(*request.required, *granted))
    return choose_scopes(
        request.scopes, required=request.required, granted=granted if is_usable else ()
    )


def _find_expected(
    client: OAuthClient, request: AuthorizeRequest, linked: list[GoogleAccount]
) -> GoogleAccount | None:
    """Return the account that a request is about; none for a further one."""
    if client.identity == "none":
        # A further one could not be told from it, so that it takes its place.
        return linked[0] if linked else None
    if request.account:
        return next((row for row in linked if row.sub == request.account), None)
    if request.add:
        return None
    try:
        return choose_account(linked, request.required)
    except ConsentRequiredError as error:
        return error.account
