"""The linking flow: the redirect to Google, and the callback (RFC 6749 section 4.1)."""

from __future__ import annotations

import logging
from urllib.parse import urlencode, urljoin

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from ..accounts.authorization_requests import PendingAuthorization, start_authorization
from ..accounts.authorize_links import AuthorizeRequest
from ..accounts.linking import complete_authorization
from ..accounts.spent_states import await_location, finish_state, spend_state
from ..conf.clients import get_client, name_provider_of
from ..conf.django import django_conf
from ..encryption import keyring
from ..exceptions import (
    AuthorizationDeniedError,
    GoogleLinkError,
    NoRefreshTokenError,
    OtherAccountError,
    StateError,
)
from ..models import GoogleAccount
from ..operations.scopes import finish_retirements
from ..scopes import IDENTITY_SCOPES, parse_scopes
from ..secret import Secret
from ..web.access import client_name, default_return_url, is_safe_url
from ..web.pages import confirm
from ..web.pending import holds_pending, pop_pending, remember_outcome, stash_pending
from ..web.reauthentication import ask_to_reauthenticate
from ..web.redirect_uri import choose_redirect_uri, find_other_host
from . import pages
from .page import no_referrer, page, refuse_prefetch

logger = logging.getLogger("django_google_link")

#: The other parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207).
_RESPONSE_PARAMS = ("state", "error", "iss")
_BOUNCED = "bounced"


# No transaction may be open while Google is asked to revoke a retired grant.
@transaction.non_atomic_requests
@transaction.non_atomic_requests(using=router.db_for_write(GoogleAccount))
@page("GET")
@refuse_prefetch
@no_referrer
def authorize(request: HttpRequest) -> HttpResponse:
    """Redirect the user to Google, or to their destination if no scope is missing."""
    try:
        wanted = _read_request(request)
    except StateError as error:
        return pages.failure(request, error)
    client = get_client(wanted.client)
    try:
        # Without an encryption key the tokens could not be stored.
        keyring.require_key()
        finish_retirements(request.user, client=client.name)
    except GoogleLinkError as error:
        try_url = request.get_full_path()
        return pages.failure(request, error, client=client.name, try_url=try_url)
    redirect_uri = choose_redirect_uri(request, client)
    if host := find_other_host(request, redirect_uri):
        return _send_to_host(request, host, redirect_uri, wanted)
    pending = start_authorization(request.user, wanted, client, redirect_uri=redirect_uri)
    if pending is None:
        return HttpResponseRedirect(_choose_return_url(request, wanted.return_url))
    return ask_to_reauthenticate(request) or _redirect_to_google(request, pending)


# No transaction may be open while Google is asked, and a used state must stay used.
@transaction.non_atomic_requests
@transaction.non_atomic_requests(using=router.db_for_write(GoogleAccount))
@login_not_required  # LoginRequiredMiddleware would put the code into the URL of the login page.
@require_http_methods(["GET"])
@never_cache
@refuse_prefetch
@no_referrer
@sensitive_variables()
def callback(request: HttpRequest, client: str = "") -> HttpResponse:
    """Receive an authorization response, once, for the user who requested it.

    Args:
        client: the name of the client in the URL; every authorization server except Google has its
            own callback URL.
    """
    query, code = _take_query(request)
    if not request.user.is_authenticated:
        if _came_without_cookie(request) and query.pop(_BOUNCED, None) is None:
            return _bounce_browser(request, query, code, client=client or "default")
        return redirect_to_login(reverse("google_link:accounts"))
    state, user = query.get("state", ""), str(request.user.pk)
    # A repeated request leaves the session alone, since the first one may be writing to it.
    if not holds_pending(request.session, state) or not spend_state(state, owner=user):
        return _follow_first(request, state)
    location = ""
    try:
        response = _complete_linking(request, _take_pending(request, state, client), query, code)
        location = response.get("Location", "")
        return response
    except StateError as error:
        return _fail_state(error)
    finally:
        finish_state(state, location=location)


@login_not_required
@require_http_methods(["GET", "HEAD"])
@never_cache
@no_referrer
def failed(request: HttpRequest) -> HttpResponse:
    """Show that an authorization response was rejected, at a URL without its code."""
    return pages.failure(request, StateError())


def _take_pending(request: HttpRequest, state: str, client: str) -> PendingAuthorization:
    """Return the pending authorization of an authorization response.

    Raises:
        StateError: if it must not be used.
    """
    pending = pop_pending(request.session, state, user=str(request.user.pk))
    # Each authorization server has its own callback URL: a response received at another one is
    # from another server (RFC 9700 section 4.4).
    if get_client(pending.client).callback_args != ((client,) if client else ()):
        raise StateError("The response was received at another authorization server's callback.")
    return pending


def _follow_first(request: HttpRequest, state: str) -> HttpResponse:
    """Redirect a repeated request like the first one: browsers retry, and users click twice."""
    location = await_location(state, owner=str(request.user.pk))
    if location:
        return HttpResponseRedirect(location)
    return _fail_state(StateError("The state is unknown in this session, or was used before."))


def _fail_state(error: StateError) -> HttpResponse:
    """Redirect to a URL without the code, which may not have been used."""
    logger.warning("An authorization response was rejected: %s", error)
    return HttpResponseRedirect(reverse("google_link:failed"))


@sensitive_variables()
def _complete_linking(
    request: HttpRequest, pending: PendingAuthorization, query: dict[str, str], code: Secret
) -> HttpResponse:
    try:
        outcome = complete_authorization(request.user, pending, query, code, request=request)
    except StateError:
        raise  # The response was not for this authorization: its code may still be usable.
    except GoogleLinkError as error:
        return _explain_failure(request, pending, error)
    if isinstance(outcome, PendingAuthorization):
        return _redirect_to_google(request, outcome)
    granted = (*IDENTITY_SCOPES, *outcome.granted_scopes)
    remember_outcome(request.session, pending.client, asked=pending.scopes, granted=granted)
    _confirm_link(request, outcome)
    return HttpResponseRedirect(_choose_return_url(request, pending.return_url))


def _confirm_link(request: HttpRequest, account: GoogleAccount) -> None:
    if account.is_new_link:
        text = _("{account} has been linked.")
    elif account.added_scopes:
        text = _("{account} has been linked, and this site has the additional permissions.")
    else:
        text = _("{account} has been linked again.")
    confirm(request, text.format(account=account.full_display_name))


def _explain_failure(
    request: HttpRequest, pending: PendingAuthorization, error: GoogleLinkError
) -> HttpResponse:
    """Return the error page, with a link for another attempt."""
    try_url, client = _make_retry_url(request, pending), pending.client
    match error:
        case AuthorizationDeniedError(is_users=True):
            # Only scopes that the user has declined are not requested again automatically. The
            # user declined everything that was requested.
            asked = (*IDENTITY_SCOPES, *pending.scopes)
            remember_outcome(request.session, pending.client, asked=asked, granted=())
            return pages.denied(request, pending, try_url=try_url)
        case AuthorizationDeniedError():
            return pages.refused(request, error.error, client=client, try_url=try_url)
        case OtherAccountError():
            remember_outcome(request.session, pending.client, asked=pending.required, granted=())
            add_url = _make_retry_url(request, pending, account=error.sub)
            return pages.other_account(request, error, try_url=try_url, add_url=add_url)
        case NoRefreshTokenError():
            return pages.no_refresh_token(request, client=client, try_url=try_url)
    return pages.failure(request, error, client=client, try_url=try_url)


def _came_without_cookie(request: HttpRequest) -> bool:
    return (
        django_conf.session_cookie_is_strict
        and django_conf.session_cookie_name not in request.COOKIES
    )


@sensitive_variables()
def _bounce_browser(
    request: HttpRequest, query: dict[str, str], code: Secret, *, client: str
) -> HttpResponse:
    """Make the browser repeat the request from a page of this site, which sends strict cookies."""
    known = {name: query[name] for name in _RESPONSE_PARAMS if name in query}
    if code:
        known["code"] = code.reveal()
    url = f"{request.path}?{urlencode({**known, _BOUNCED: '1'})}"
    return pages.bounce(request, url, client=client)


def _take_query(request: HttpRequest) -> tuple[dict[str, str], Secret]:
    """Remove the query from the request, so that no log or error report contains the code."""
    # A parameter must not be repeated (RFC 6749 section 3.1): joined values match nothing.
    query = {name: " ".join(map(str, values)) for name, values in request.GET.lists()}
    code = Secret(query.pop("code", ""))
    request.GET = QueryDict()
    request.META["QUERY_STRING"] = ""
    # Servers use their own copies for the access log.
    for copy in ("RAW_URI", "REQUEST_URI"):
        if copy in request.META:
            request.META[copy] = request.path
    scope = getattr(request, "scope", None)
    if isinstance(scope, dict):
        scope["query_string"] = b""
    return query, code


def _read_request(request: HttpRequest) -> AuthorizeRequest:
    signed = request.GET.get("request")
    if signed:
        return AuthorizeRequest.unsign(signed, user=str(request.user.pk), host=request.get_host())
    client = get_client(client_name(request))
    return AuthorizeRequest(
        user=str(request.user.pk),
        host=request.get_host(),
        client=client.name,
        scopes=parse_scopes((*client.identity_scopes, *client.scopes)),
        required=client.scopes,
        return_url=default_return_url(),
    )


def _send_to_host(
    request: HttpRequest, host: str, redirect_uri: str, wanted: AuthorizeRequest
) -> HttpResponse:
    """Tell the user which host of this site to use for linking."""
    logger.warning(
        "A user at %s was not sent to %s, because the redirect URI is at %s, where the "
        "browser has another session. Redirect one host to the other, or set "
        "SESSION_COOKIE_DOMAIN for both.",
        request.get_host(),
        name_provider_of(wanted.client),
        host,
    )
    path = _choose_return_url(request, wanted.return_url)
    url = urljoin(redirect_uri, path)
    return pages.other_host(request, host, client=wanted.client, url=url)


def _redirect_to_google(request: HttpRequest, pending: PendingAuthorization) -> HttpResponse:
    state = stash_pending(request.session, pending)
    try:
        return HttpResponseRedirect(pending.authorization_url(state))
    except GoogleLinkError as error:  # The issuer's metadata may be needed for the URL.
        logger.warning("Linking through the client %r failed: %s", pending.client, error)
        try_url = _make_retry_url(request, pending)
        return pages.failure(request, error, client=pending.client, try_url=try_url)


def _make_retry_url(
    request: HttpRequest, pending: PendingAuthorization, *, account: str | None = None
) -> str:
    """Return the URL for the same link again, or for the account with the given ``sub``."""
    return AuthorizeRequest(
        user=pending.user,
        host=request.get_host(),
        client=pending.client,
        scopes=tuple(pending.scopes),
        required=tuple(pending.required),
        return_url=pending.return_url,
        account=pending.account if account is None else account,
        add=pending.add,
    ).url()


def _choose_return_url(request: HttpRequest, url: str) -> str:
    return url if is_safe_url(request, url) else default_return_url()
