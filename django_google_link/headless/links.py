"""Starts and completes links for front ends. As for pages, ``accounts.linking`` decides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.views.decorators.debug import sensitive_variables

from ..accounts.authorization_requests import PendingAuthorization, start_authorization
from ..accounts.authorize_links import AuthorizeRequest
from ..accounts.linking import complete_authorization
from ..accounts.lookup import choose_account
from ..accounts.spent_states import read_declined
from ..accounts.tickets import (
    LONGEST_TICKET,
    Ticket,
    issue_ticket,
    open_ticket,
    without_pkce,
)
from ..conf.clients import OAuthClient, get_client, name_provider_of
from ..conf.front_ends import (
    IDENTITY_SERVICES,
    MOBILE,
    MODES,
    POSTMESSAGE,
    REDIRECT,
    get_front_end,
    require_own_address,
)
from ..conf.scope_rules import missing_scopes
from ..conf.settings import conf
from ..exceptions import (
    AuthorizationDeniedError,
    GoogleLinkError,
    KeyServiceError,
    NoRefreshTokenError,
    OtherAccountError,
    StateError,
)
from ..models import GoogleAccount
from ..operations.scopes import finish_retirements
from ..scopes import IDENTITY_SCOPES, parse_scopes
from ..secret import Secret
from .accounts import describe_account, find_account, require_user
from .bodies import check_object
from .errors import FrontEndError
from .failures import describe_failure
from .fields import read_flag, read_text, refuse_field, refuse_unknown

if TYPE_CHECKING:
    from django.http import HttpRequest

    from .accounts import User

logger = logging.getLogger("django_google_link")

_STARTING = {"link_request", "account", "add", "mode", "redirect_uri", "origin"}
# Like a ticket, a link request contains all requested scopes.
_LONGEST_REQUEST = LONGEST_TICKET


def start_link(
    user: User, data: Mapping[str, Any], *, host: str, client: str = "default"
) -> dict[str, Any]:
    """Start a link, and return what the front end needs to send the user to Google.

    Args:
        user: the user whom the site's own authentication has identified.
        data: the front end's data: ``link_request`` (from a 403), or ``account`` (the id of an
            account to link again), or ``add`` (whether to link an additional account); ``mode``;
            ``redirect_uri`` or ``origin``, if the client has several.
        host: the host of the site, with its port: the ``Host`` header, validated by Django.
        client: the name of the OAuth client, if neither a link request nor an account names it.

    Raises:
        FrontEndError: if the data is invalid, or nothing needs to be linked.
        SettingsError: (an ``ImproperlyConfigured``) if the client's settings are invalid.
    """
    require_user(user)
    check_object(data)
    refuse_unknown(data, _STARTING)
    mode = read_text(data, "mode") or REDIRECT
    if mode not in MODES:
        raise refuse_field("mode", f"must be one of {', '.join(MODES)}")
    wanted = _read_wanted(user, data, host=host, client=client)
    oauth_client = get_client(wanted.client)
    address, origin = _choose_address(oauth_client, mode, data)
    try:
        finish_retirements(user, client=wanted.client)
        pending = start_authorization(user, wanted, oauth_client, redirect_uri=address)
        if pending is None:
            raise _refuse_repeat(user, wanted)
        return _hand_out(pending, mode=mode, origin=origin)
    except FrontEndError:
        raise
    except GoogleLinkError as error:
        raise describe_failure(error, client=wanted.client) from None


@sensitive_variables()
def complete_link(
    user: User, data: Mapping[str, Any], *, host: str, request: HttpRequest | None = None
) -> dict[str, Any]:
    """Complete a link with the authorization response, and return the account.

    The ticket is marked as spent, in a separate transaction, before Google is asked.

    Args:
        user: the user whom the site's own authentication has identified; the one who started.
        data: the front end's data: ``ticket``; ``code``, ``state``, ``iss`` or ``error`` as
            received; ``redirect_uri``, the address at which they were received.
        host: the host of the site, as for :func:`start_link`.
        request: passed to the receivers of signals.

    Raises:
        FrontEndError: if no account was linked; it says how to go on.
        RuntimeError: inside a transaction of the caller's. The ticket is not spent then.
        SettingsError: (an ``ImproperlyConfigured``) if the client's settings are invalid.
    """
    require_user(user)
    check_object(data)
    code, response = _read_response(data)
    address = read_text(data, "redirect_uri")
    try:
        ticket = open_ticket(read_text(data, "ticket", longest=LONGEST_TICKET), user=str(user.pk))
        ticket.check_state(response.pop("state", ""))
    except (StateError, KeyServiceError) as error:
        logger.warning("A ticket was rejected: %s", error)
        raise describe_failure(error, client="") from None
    before = read_declined(owner=ticket.pending.user, client=ticket.pending.client)
    if not ticket.spend():
        raise _refuse_spent(user, ticket)
    flow = _Completion(ticket, host=host, declined=before)
    try:
        return flow.run(user, response, code, address=address, request=request)
    finally:
        ticket.finish(account=flow.account, declined=flow.declined)


class _Completion:
    """A single use of a ticket, and the result to store with it.

    Attributes:
        account: the id of the linked account.
        declined: the scopes that the user was asked for but has not granted, now or before.
    """

    def __init__(self, ticket: Ticket, *, host: str, declined: frozenset[str]) -> None:
        self._ticket = ticket
        self._host = host
        self.account = ""
        self.declined = declined

    @sensitive_variables()
    def run(
        self,
        user: User,
        response: Mapping[str, str],
        code: Secret,
        *,
        address: str,
        request: HttpRequest | None,
    ) -> dict[str, Any]:
        pending = self._ticket.pending
        try:
            self._ticket.check_address(address)
            outcome = complete_authorization(user, pending, response, code, request=request)
        except StateError as error:
            logger.warning("An authorization response was rejected: %s", error)
            raise self._describe(error) from None
        except GoogleLinkError as error:
            raise self._explain(error) from None
        if isinstance(outcome, PendingAuthorization):
            raise FrontEndError(
                409,
                "consent_required",
                f"{name_provider_of(pending.client)} has to ask for consent again: send the user "
                "there with this link.",
                link=self._ask_again(outcome),
            )
        self.account = str(outcome.pk)
        granted = (*IDENTITY_SCOPES, *outcome.granted_scopes)
        self._remember(asked=pending.scopes, granted=granted)
        return {
            "account": describe_account(outcome),
            "missing_scopes": sorted(missing_scopes(pending.scopes, outcome.granted_scopes)),
        }

    def _explain(self, error: GoogleLinkError) -> FrontEndError:
        match error:
            case AuthorizationDeniedError(is_users=True):
                # The user declined everything that was requested.
                self._remember(asked=(*IDENTITY_SCOPES, *self._ticket.pending.scopes), granted=())
            case OtherAccountError():
                self._remember(asked=self._ticket.pending.required, granted=())
                add = self._sign(account=error.sub)
                return self._describe(error, add_link_request=add)
        return self._describe(error)

    def _describe(self, error: GoogleLinkError, **more: Any) -> FrontEndError:
        return describe_failure(error, client=self._ticket.pending.client, **self._retry(), **more)

    def _remember(self, *, asked: Any, granted: Any) -> None:
        self.declined = missing_scopes(self.declined | set(asked), granted)

    def _retry(self) -> dict[str, str]:
        return {"link_request": self._sign()}

    def _sign(self, *, account: str | None = None) -> str:
        """Return a signed request for the same link, or for the account with the given ``sub``."""
        pending = self._ticket.pending
        return AuthorizeRequest(
            user=pending.user,
            host=self._host,
            client=pending.client,
            scopes=tuple(pending.scopes),
            required=tuple(pending.required),
            return_url=pending.return_url,
            account=pending.account if account is None else account,
            add=pending.add,
            # The account was to be linked again, and still is.
            renew=bool(pending.account) and account is None,
        ).sign()

    def _ask_again(self, pending: PendingAuthorization) -> dict[str, Any]:
        """Return a link for another attempt, with ``prompt=consent``.

        Google's script does not support ``prompt``, so the user is redirected to Google instead.
        A mobile app uses the redirect too if it has a page for it; otherwise its SDK can force
        consent.

        Raises:
            FrontEndError: if there is no page for users of Google's script.
        """
        ticket = self._ticket
        if ticket.mode == REDIRECT:
            return _hand_out(pending, mode=REDIRECT)
        pages = get_front_end(pending.client).redirect_uris
        if pages:
            near = [
                page for page in pages if ticket.origin and page.startswith(f"{ticket.origin}/")
            ]
            return _hand_out(replace(pending, redirect_uri=(near or pages)[0]), mode=REDIRECT)
        if ticket.mode == MOBILE:
            return _hand_out(pending, mode=MOBILE)
        raise self._describe(NoRefreshTokenError())


def _read_wanted(
    user: User, data: Mapping[str, Any], *, host: str, client: str
) -> AuthorizeRequest:
    """Return what to link: from a signed link request, or else from the settings."""
    signed = read_text(data, "link_request", longest=_LONGEST_REQUEST)
    account, add = read_text(data, "account"), read_flag(data, "add")
    if sum(map(bool, (signed, account, add))) > 1:
        raise FrontEndError(
            400, "invalid_request", "Send only one of link_request, account and add, or none."
        )
    if signed:
        return _unsign(signed, user=user, host=host)
    row = find_account(user, account) if account else None
    name = row.client if row else client
    if row and name not in conf.clients:
        raise FrontEndError(
            409, "client_gone", "This account was linked through a client that no longer exists."
        )
    known = get_client(name)
    scopes, granted = known.scopes, row.granted_scopes if row else ()
    asked = parse_scopes((*known.identity_scopes, *scopes, *granted))
    return AuthorizeRequest(
        user=str(user.pk),
        host=host,
        client=name,
        scopes=asked,
        required=asked if row else scopes,
        return_url="",
        account=row.sub if row else "",
        add=add,
        renew=bool(row and row.is_active),
    )


def _unsign(signed: str, *, user: User, host: str) -> AuthorizeRequest:
    try:
        wanted = AuthorizeRequest.unsign(signed, user=str(user.pk), host=host)
    except StateError as error:
        raise FrontEndError(400, "link_request_invalid", str(error)) from None
    if wanted.client not in conf.clients:
        raise FrontEndError(400, "link_request_invalid", "Its client no longer exists.")
    return wanted


def _choose_address(client: OAuthClient, mode: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the redirect URI for the token request, and the origin of the page, if any."""
    front_end = get_front_end(client.name)
    page, origin = read_text(data, "redirect_uri"), read_text(data, "origin")
    if page and mode != REDIRECT:
        raise refuse_field("redirect_uri", f"is not allowed in the mode {mode}")
    if origin and mode != IDENTITY_SERVICES:
        raise refuse_field("origin", f"is not allowed in the mode {mode}")
    if mode == REDIRECT:
        uri = _choose(page, front_end.redirect_uris, field="redirect_uri")
        require_own_address(client, uri)
        return uri, ""
    if mode not in front_end.modes or not client.is_google:
        raise FrontEndError(
            400,
            "mode_not_allowed",
            f"The client's settings do not allow the mode {mode}.",
            field="mode",
        )
    if mode == MOBILE:
        return "", ""
    if front_end.sends_postmessage and not front_end.origins:
        return POSTMESSAGE, ""
    chosen = _choose(origin, front_end.origins, field="origin")
    return (POSTMESSAGE if front_end.sends_postmessage else chosen), chosen


def _choose(value: str, allowed: tuple[str, ...], *, field: str) -> str:
    """Return the value if it is allowed; the only allowed one, if there is no value."""
    if value in allowed:
        return value
    if not value and len(allowed) == 1:
        return allowed[0]
    setting = "FRONT_END_REDIRECT_URIS" if field == "redirect_uri" else "FRONT_END_ORIGINS"
    word = "redirect_uri_unknown" if field == "redirect_uri" else "origin_unknown"
    detail = f"{field} is not in {setting} of the client. They are compared exactly."
    if not value and allowed:
        detail = f"The client has several {setting}: send {field}."
    raise FrontEndError(400, word, detail, field=field)


def _refuse_repeat(user: User, wanted: AuthorizeRequest) -> FrontEndError:
    linked = list(GoogleAccount.objects.for_user(user, client=wanted.client))
    account = choose_account(linked, wanted.required)
    return FrontEndError(
        409,
        "already_linked",
        "All scopes are granted. To link another account, send add; to link this one again, "
        "account.",
        account=describe_account(account),
    )


def _refuse_spent(user: User, ticket: Ticket) -> FrontEndError:
    linked = ticket.await_account()
    row = GoogleAccount.objects.for_user(user).filter(pk=linked).first() if linked else None
    return FrontEndError(
        409,
        "ticket_used",
        "This ticket was used before.",
        account=describe_account(row) if row else None,
    )


def _hand_out(pending: PendingAuthorization, *, mode: str, origin: str = "") -> dict[str, Any]:
    """Return the data that a front end needs, with a new ticket."""
    if mode != REDIRECT:
        pending = without_pkce(pending)
    ticket, state = issue_ticket(pending, mode=mode, origin=origin)
    client = get_client(pending.client)
    return {
        "ticket": ticket,
        "mode": mode,
        "authorization_url": pending.authorization_url(state) if mode == REDIRECT else None,
        "redirect_uri": pending.redirect_uri or None,
        "client_id": client.client_id,
        "scope": " ".join(pending.scopes),
        "state": state or None,
        "login_hint": pending.account or pending.login_hint,
        "prompt": pending.prompt,
        "hd": client.hd or None,
        "include_granted_scopes": pending.include_granted_scopes,
        "expires_in": conf.state_max_age,
    }


@sensitive_variables()
def _read_response(data: Mapping[str, Any]) -> tuple[Secret, dict[str, str]]:
    """Return the authorization response. Other members are ignored (RFC 6749 section 4.1.2)."""
    names = ("state", "error", "iss")
    response = {name: read_text(data, name) for name in names if data.get(name) is not None}
    code = Secret(read_text(data, "code"))
    if not response.get("error"):
        response.pop("error", None)
    if not code and "error" not in response:
        raise FrontEndError(400, "invalid_request", "Send the code or the error as received.")
    return code, response
