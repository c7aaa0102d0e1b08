"""Linking, started and completed by a front end: ``accounts.linking`` decides, as for pages."""

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
# It has all scopes that are asked, as a ticket has.
_LONGEST_REQUEST = LONGEST_TICKET


def start_link(
    user: User, data: Mapping[str, Any], *, host: str, client: str = "default"
) -> dict[str, Any]:
    """Start a link, and return what the front end needs to send its user to Google.

    Args:
        user: as the site's own authentication knows them.
        data: as the front end has sent it: ``link_request`` (from a 403), or ``account`` (the id
            of one to link again) or ``add`` (a further one); ``mode``; ``redirect_uri`` or
            ``origin``, where the client has several.
        host: of the site, with its port, as in the ``Host`` header that Django has checked.
        client: the name of the OAuth client, where neither a link request nor an account says so.

    Raises:
        FrontEndError: when that cannot be.
        SettingsError: (an ``ImproperlyConfigured``) when the client cannot work.
    """
    require_user(user)
    check_object(data)
    refuse_unknown(data, _STARTING)
    mode = read_text(data, "mode") or REDIRECT
    if mode not in MODES:
        raise refuse_field("mode", f"is none of {', '.join(MODES)}")
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
    """Complete a link with what came back, and return the account.

    The ticket is spent in a transaction of its own before Google is asked.

    Args:
        user: as the site's own authentication knows them: the one who has started.
        data: as the front end has sent it: ``ticket``; ``code``, ``state``, ``iss`` or ``error``
            as they came back; ``redirect_uri``, the address at which they arrived.
        host: of the site, as for :func:`start_link`.
        request: handed on to the receivers of signals.

    Raises:
        FrontEndError: when no link came of it; it says what to do next.
        RuntimeError: inside a transaction of the caller's. Nothing has been spent then.
        SettingsError: (an ``ImproperlyConfigured``) when the client cannot work.
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
    """One use of a ticket, and what there is to remember of it.

    Attributes:
        account: the id of the account that was linked.
        declined: what the user was asked for and has not granted, now or before.
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
                f"{name_provider_of(pending.client)} has to ask once more: send the user there "
                "with this link.",
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
                # Nothing was linked, whatever was asked.
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
        """Return a request for the same again; for the given account, if another is meant."""
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
            # Whoever wanted an account linked again still does.
            renew=bool(pending.account) and account is None,
        ).sign()

    def _ask_again(self, pending: PendingAuthorization) -> dict[str, Any]:
        """Return a link for the same, with ``prompt=consent``.

        Google's script takes no ``prompt``: there the user is sent to Google by redirect. So they
        are from a mobile app, unless that has no page to come back to; its SDK can ask with forced
        consent.

        Raises:
            FrontEndError: when Google's script has no page to fall back on.
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
    """Return what is to be linked: signed by us, or else what the settings say."""
    signed = read_text(data, "link_request", longest=_LONGEST_REQUEST)
    account, add = read_text(data, "account"), read_flag(data, "add")
    if sum(map(bool, (signed, account, add))) > 1:
        raise FrontEndError(
            400, "invalid_request", "Send one of link_request, account and add, or none."
        )
    if signed:
        return _unsign(signed, user=user, host=host)
    row = find_account(user, account) if account else None
    name = row.client if row else client
    if row and name not in conf.clients:
        raise FrontEndError(
            409, "client_gone", "This account was linked through a client that is gone."
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
        raise FrontEndError(400, "link_request_invalid", "Its client is gone.")
    return wanted


def _choose_address(client: OAuthClient, mode: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the redirect URI of the exchange, and the origin of the page that runs a script."""
    front_end = get_front_end(client.name)
    page, origin = read_text(data, "redirect_uri"), read_text(data, "origin")
    if page and mode != REDIRECT:
        raise refuse_field("redirect_uri", f"means nothing in the mode {mode}")
    if origin and mode != IDENTITY_SERVICES:
        raise refuse_field("origin", f"means nothing in the mode {mode}")
    if mode == REDIRECT:
        uri = _choose(page, front_end.redirect_uris, field="redirect_uri")
        require_own_address(client, uri)
        return uri, ""
    if mode not in front_end.modes or not client.is_google:
        raise FrontEndError(
            400,
            "mode_not_allowed",
            f"The settings do not allow the mode {mode} here.",
            field="mode",
        )
    if mode == MOBILE:
        return "", ""
    if front_end.sends_postmessage and not front_end.origins:
        return POSTMESSAGE, ""
    chosen = _choose(origin, front_end.origins, field="origin")
    return (POSTMESSAGE if front_end.sends_postmessage else chosen), chosen


def _choose(value: str, allowed: tuple[str, ...], *, field: str) -> str:
    """Return what is allowed, exactly; the only one, if none is named."""
    if value in allowed:
        return value
    if not value and len(allowed) == 1:
        return allowed[0]
    setting = "FRONT_END_REDIRECT_URIS" if field == "redirect_uri" else "FRONT_END_ORIGINS"
    word = "redirect_uri_unknown" if field == "redirect_uri" else "origin_unknown"
    detail = f"{field} is not among the {setting} of the client, exactly as they are written."
    if not value and allowed:
        detail = f"The client has several {setting}: send {field}."
    raise FrontEndError(400, word, detail, field=field)


def _refuse_repeat(user: User, wanted: AuthorizeRequest) -> FrontEndError:
    linked = list(GoogleAccount.objects.for_user(user, client=wanted.client))
    account = choose_account(linked, wanted.required)
    return FrontEndError(
        409,
        "already_linked",
        "Nothing is missing. For a further account send add, to renew this one send account.",
        account=describe_account(account),
    )


def _refuse_spent(user: User, ticket: Ticket) -> FrontEndError:
    linked = ticket.await_account()
    row = GoogleAccount.objects.for_user(user).filter(pk=linked).first() if linked else None
    return FrontEndError(
        409,
        "ticket_used",
        "This attempt was completed before.",
        account=describe_account(row) if row else None,
    )


def _hand_out(pending: PendingAuthorization, *, mode: str, origin: str = "") -> dict[str, Any]:
    """Return what a front end needs, with the ticket."""
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
    """Return what came back. What else Google adds means nothing (RFC 6749 section 4.1.2)."""
    names = ("state", "error", "iss")
    response = {name: read_text(data, name) for name in names if data.get(name) is not None}
    code = Secret(read_text(data, "code"))
    if not response.get("error"):
        response.pop("error", None)
    if not code and "error" not in response:
        raise FrontEndError(400, "invalid_request", "Send the code or the error that came back.")
    return code, response
