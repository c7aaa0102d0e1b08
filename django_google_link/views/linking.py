"""The linking flow: off to Google, and back (RFC 6749 section 4.1)."""

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

#: What an authorization response carries besides the code: RFC 6749 section 4.1.2, RFC 9207.
_RESPONSE_PARAMS = ("state", "error", "iss")
_BOUNCED = "bounced"


# No transaction is open while Google is asked to revoke a grant that was retired.
@transaction.non_atomic_requests
@transaction.non_atomic_requests(using=router.db_for_write(GoogleAccount))
@page("GET")
@refuse_prefetch
@no_referrer
def authorize(request: HttpRequest) -> HttpResponse:
    """Send the user to Google, or straight on if nothing is missing."""
    try:
        wanted = _read_request(request)
    except StateError as error:
        return pages.failure(request, error)
    client = get_client(wanted.client)
    try:
        # Without a key there is nowhere to keep what the user would bring back.
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


# No transaction is open while Google is asked, and a used state stays used.
@transaction.non_atomic_requests
@transaction.non_atomic_requests(using=router.db_for_write(GoogleAccount))
@login_not_required  # LoginRequiredMiddleware would put the code into the login page's address.
@require_http_methods(["GET"])
@never_cache
@refuse_prefetch
@no_referrer
@sensitive_variables()
def callback(request: HttpRequest, client: str = "") -> HttpResponse:
    """Take what Google sends back: once, for the user who asked, and nothing else.

    Args:
        client: the name of the client at whose own address the response has arrived; each
            authorization server but Google has one.
    """
    query, code = _take_query(request)
    if not request.user.is_authenticated:
        if _came_without_cookie(request) and query.pop(_BOUNCED, None) is None:
            return _bounce_browser(request, query, code, client=client or "default")
        return redirect_to_login(reverse("google_link:accounts"))
    state, user = query.get("state", ""), str(request.user.pk)
    # A repeat leaves the session alone: what the first one writes there must not be overwritten.
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
    """Say that an authorization response was of no use, at an address without its code."""
    return pages.failure(request, StateError())


def _take_pending(request: HttpRequest, state: str, client: str) -> PendingAuthorization:
    """Return what was remembered of this authorization, for one exchange.

    Raises:
        StateError: when it must not be used.
    """
    pending = pop_pending(request.session, state, user=str(request.user.pk))
    # Each authorization server has an address of its own: what arrives elsewhere was sent by
    # another one than was asked (RFC 9700 section 4.4).
    if get_client(pending.client).callback_args != ((client,) if client else ()):
        raise StateError("The answer arrived at another authorization server's address.")
    return pending


def _follow_first(request: HttpRequest, state: str) -> HttpResponse:
    """Lead a repeat to where the first one led: browsers ask twice, and users click twice."""
    location = await_location(state, owner=str(request.user.pk))
    if location:
        return HttpResponseRedirect(location)
    return _fail_state(StateError("The state is unknown in this session, or was used before."))


def _fail_state(error: StateError) -> HttpResponse:
    """Leave the address, in which a code may stand that has not been used."""
    logger.warning("An authorization response was rejected: %s", error)
    return HttpResponseRedirect(reverse("google_link:failed"))


@sensitive_variables()
def _complete_linking(
    request: HttpRequest, pending: PendingAuthorization, query: dict[str, str], code: Secret
) -> HttpResponse:
    try:
        outcome = complete_authorization(request.user, pending, query, code, request=request)
    except StateError:
        raise  # What came was not for this authorization: its code may still be of use to somebody.
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
    """Return the page for what went wrong, with a way to try the same again."""
    try_url, client = _make_retry_url(request, pending), pending.client
    match error:
        case AuthorizationDeniedError(is_users=True):
            # Only what the user has refused is not asked again by itself. Nothing was linked,
            # whatever was asked.
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
    """Have the browser come again, from a page of ours: then a strict cookie comes along."""
    known = {name: query[name] for name in _RESPONSE_PARAMS if name in query}
    if code:
        known["code"] = code.reveal()
    url = f"{request.path}?{urlencode({**known, _BOUNCED: '1'})}"
    return pages.bounce(request, url, client=client)


def _take_query(request: HttpRequest) -> tuple[dict[str, str], Secret]:
    """Take the query out of the request, so that no log and no error report repeats the code."""
    # None may be given more than once (RFC 6749 section 3.1): one that is means nothing known.
    query = {name: " ".join(map(str, values)) for name, values in request.GET.lists()}
    code = Secret(query.pop("code", ""))
    request.GET = QueryDict()
    request.META["QUERY_STRING"] = ""
    # Servers read their own of these once more, for the access log.
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
    """Tell a user by which name of this site linking can be done."""
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
    except GoogleLinkError as error:  # Where its address is, only the issuer's metadata says.
        logger.warning("Linking through the client %r failed: %s", pending.client, error)
        try_url = _make_retry_url(request, pending)
        return pages.failure(request, error, client=pending.client, try_url=try_url)


def _make_retry_url(
    request: HttpRequest, pending: PendingAuthorization, *, account: str | None = None
) -> str:
    """Return the address that starts the same again; for the given account, if another is meant."""
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
