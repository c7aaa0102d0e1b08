"""The authorization endpoint: shows the consent page, and redirects to the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from werkzeug.wrappers import Request, Response

from . import pages
from .authorization import (
    AuthorizationCode,
    AuthorizationRequest,
    ConsentTicket,
    parse_authorization_request,
)
from .errors import OAuthError
from .responses import NO_STORE
from .scopes import IDENTITY, merge_scopes

if TYPE_CHECKING:
    from .behaviour import Behaviour
    from .identities import FakeUser
    from .provider import Provider


def authorize(provider: Provider, request: Request) -> Response:
    """Show the consent page, or redirect immediately if there is nothing to ask."""
    with provider.lock:
        try:
            asked = parse_authorization_request(request.args, provider.directory)
        except OAuthError as error:
            return pages.error_page(error)
        if provider.authorization_errors:
            return _send_error(provider, asked, provider.authorization_errors.popleft())
        accounts = provider.directory.users_in(asked.hosted_domain)
        user = _find_known_user(provider, asked, accounts)
        if user and not asked.prompt - {"none"} and _has_granted_all(provider, asked, user):
            return _grant_scopes(provider, asked, user, asked.scopes, prompt="none")
        if "none" in asked.prompt:
            return _send_error(provider, asked, OAuthError("interaction_required"))
        ticket = provider.tickets.put(
            ConsentTicket(asked=asked, accounts=tuple(accounts)), provider.now()
        )
    return pages.consent_page(asked, accounts=accounts, selected=user, ticket=ticket)


def decide(provider: Provider, request: Request) -> Response:
    """Process the user's choices, and redirect to the client with a code or an error.

    The form sends ``ticket``, ``decision`` (``allow`` or ``cancel``), ``account`` (a ``sub``) and a
    ``scope`` for each ticked box.
    """
    with provider.lock:
        ticket = provider.tickets.pop(request.form.get("ticket", ""), provider.now())
        if ticket is None:
            return pages.error_page(OAuthError("invalid_request", "This page has expired."))
        if request.form.get("decision") != "allow":
            return _send_error(provider, ticket.asked, OAuthError("access_denied"))
        sub = request.form.get("account")
        user = next((account for account in ticket.accounts if account.sub == sub), None)
        if user is None:
            return pages.error_page(OAuthError("invalid_request", "No account was chosen."))
        kept = IDENTITY.union(request.form.getlist("scope"))
        scopes = tuple(scope for scope in ticket.asked.scopes if scope in kept)
        if not scopes and ticket.asked.scopes:
            return _send_error(provider, ticket.asked, OAuthError("access_denied"))
        return _grant_scopes(provider, ticket.asked, user, scopes, prompt="consent")


def _find_known_user(
    provider: Provider, asked: AuthorizationRequest, accounts: list[FakeUser]
) -> FakeUser | None:
    hinted = provider.directory.find_user(asked.login_hint)
    if hinted in accounts:
        return hinted
    return accounts[0] if len(accounts) == 1 else None


def _has_granted_all(provider: Provider, asked: AuthorizationRequest, user: FakeUser) -> bool:
    granted = provider.grants.scopes(user, asked.client)
    return granted is not None and set(asked.scopes) <= set(granted)


def _grant_scopes(
    provider: Provider,
    asked: AuthorizationRequest,
    user: FakeUser,
    scopes: tuple[str, ...],
    *,
    prompt: str,
) -> Response:
    earlier = provider.grants.scopes(user, asked.client)
    provider.grants.add(user, asked.client, scopes)
    if asked.include_granted_scopes:
        # Google's "combined authorization" includes the scopes of all clients of the project.
        scopes = merge_scopes(scopes, earlier or ())
    code = AuthorizationCode(
        user=user,
        client=asked.client,
        redirect_uri=asked.redirect_uri,
        scopes=scopes,
        nonce=asked.nonce,
        code_challenge=asked.code_challenge,
        is_popup=asked.is_popup,
        with_refresh_token=_brings_refresh_token(provider.behaviour, asked, earlier, scopes),
    )
    params = {
        "code": provider.codes.put(code, provider.now()),
        "scope": asked.client.scope_separator.join(scopes),
        "authuser": "0",
        "prompt": prompt,
    }
    if user.hosted_domain:
        params["hd"] = user.hosted_domain
    return _send_back(provider, asked, params)


def _brings_refresh_token(
    behaviour: Behaviour,
    asked: AuthorizationRequest,
    earlier: tuple[str, ...] | None,
    scopes: tuple[str, ...],
) -> bool:
    if not asked.client.gives_refresh_tokens:
        return False
    if not asked.client.speaks_openid:
        return True
    if asked.client.speaks_google and not asked.offline:
        return False
    if earlier is None or behaviour.always_sends_refresh_token:
        return True
    if behaviour.prompt_consent_sends_refresh_token and "consent" in asked.prompt:
        return True
    return behaviour.new_scopes_send_refresh_token and not set(scopes) <= set(earlier)


def _send_error(provider: Provider, asked: AuthorizationRequest, error: OAuthError) -> Response:
    description = {"error_description": error.description} if error.description else {}
    return _send_back(provider, asked, {"error": error.error, **description})


def _send_back(provider: Provider, asked: AuthorizationRequest, params: dict[str, str]) -> Response:
    state = {} if asked.state is None else {"state": asked.state}
    issuer = {"iss": provider.issuer} if provider.behaviour.sends_iss else {}
    if asked.is_popup:
        # Google's script passes the response on, but without the iss of RFC 9207.
        return pages.relay_page(_add_query(asked.redirect_uri, [*state.items(), *params.items()]))
    location = _add_query(asked.redirect_uri, [*state.items(), *issuer.items(), *params.items()])
    return Response(status=302, headers={**NO_STORE, "Location": location})


def _add_query(url: str, params: Iterable[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    added = urlencode(list(params), quote_via=quote)
    return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()
