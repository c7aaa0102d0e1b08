"""The linking flow: off to Google, and back (RFC 6749 section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.decorators import login_not_required, login_required
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from .. import signals
from ..accounts.authorize_links import AuthorizeRequest
from ..accounts.grants import save_grant
from ..accounts.lookup import choose_account
from ..accounts.revocations import end_grant
from ..conf.clients import OAuthClient, get_client
from ..conf.django import django_conf
from ..conf.validators import is_loopback
from ..encryption import keyring
from ..exceptions import (
    ClientMisconfiguredError,
    ConsentRequiredError,
    GoogleLinkError,
    SettingsError,
    StateError,
)
from ..models import GoogleAccount
from ..oauth import endpoints
from ..oauth.authorization_response import exchange
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import Identity
from ..scopes import IDENTITY_SCOPES, parse_scopes
from ..secret import Secret
from ..web import pending as state
from ..web.access import client_name, default_return_url, is_safe_url
from ..web.pending import PendingAuthorization
from . import pages

logger = logging.getLogger("django_google_link")

#: What an authorization response carries besides the code: RFC 6749 section 4.1.2, RFC 9207.
_RESPONSE_PARAMS = ("state", "error", "iss")
_BOUNCED = "bounced"


def no_referrer(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep the address of this page, with the code in it, from whatever page comes next."""

    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        response = view(request)
        response["Referrer-Policy"] = "no-referrer"
        return response

    return wrapper


@require_http_methods(["GET"])
@never_cache
@no_referrer
@login_required
def authorize(request: HttpRequest) -> HttpResponse:
    """Send the user to Google, or straight on if nothing is missing."""
    try:
        wish = _wish(request)
    except StateError as error:
        return pages.failure(request, error)
    client = get_client(wish.client)
    keyring.key_ids()  # Without a key there is nowhere to keep what the user would bring back.
    linked = list(GoogleAccount.objects.for_user(request.user, client=client.name))
    expected, prompt = _expected(wish, linked, client)
    if expected and _is_ours(expected, client) and expected.is_ready(*wish.required):
        return HttpResponseRedirect(_return_url(request, wish.return_url))
    sub = expected.sub if expected else wish.account
    pending = PendingAuthorization(
        user=wish.user,
        client=client.name,
        scopes=list(wish.scopes),
        required=list(wish.required),
        return_url=wish.return_url,
        redirect_uri=_redirect_uri(request, client),
        account=sub,
        add=wish.add,
    )
    return _to_google(request, client, pending, prompt=prompt)


# No transaction is open while Google is asked, and a used state stays used.
@transaction.non_atomic_requests
@transaction.non_atomic_requests(using=router.db_for_write(GoogleAccount))
@login_not_required  # LoginRequiredMiddleware would put the code into the login page's address.
@require_http_methods(["GET"])
@never_cache
@no_referrer
@sensitive_variables()
def callback(request: HttpRequest) -> HttpResponse:
    """Take what Google sends back: once, for the user who asked, and nothing else."""
    query, code = _take_query(request)
    if not request.user.is_authenticated:
        if _came_without_cookie(request) and query.pop(_BOUNCED, None) is None:
            return _bounce(request, query, code)
        return redirect_to_login(reverse("google_link:accounts"))
    try:
        pending = state.pop(request.session, query.get("state", ""), user=str(request.user.pk))
    except StateError as error:
        return pages.failure(request, error)
    if "error" in query:
        return _refused(request, pending, query["error"])
    return _accepted(request, get_client(pending.client), pending, code, query.get("iss"))


def _came_without_cookie(request: HttpRequest) -> bool:
    return (
        django_conf.session_cookie_is_strict
        and django_conf.session_cookie_name not in request.COOKIES
    )


@sensitive_variables()
def _bounce(request: HttpRequest, query: dict[str, str], code: Secret) -> HttpResponse:
    """Have the browser come again, from a page of ours: then a strict cookie comes along."""
    known = {name: query[name] for name in _RESPONSE_PARAMS if name in query}
    if code:
        known["code"] = code.reveal()
    url = f"{reverse('google_link:callback')}?{urlencode({**known, _BOUNCED: '1'})}"
    return pages.bounce(request, url)


@sensitive_variables()
def _accepted(
    request: HttpRequest,
    client: OAuthClient,
    pending: PendingAuthorization,
    code: Secret,
    issuer: str | None,
) -> HttpResponse:
    try:
        response, identity = exchange(
            client,
            code=code,
            issuer=issuer,
            redirect_uri=pending.redirect_uri,
            code_verifier=pending.code_verifier,
            nonce=pending.nonce,
        )
    except GoogleLinkError as error:
        if isinstance(error, ClientMisconfiguredError):
            logger.error("Google refuses the client %r: %s", client.name, error)
        else:
            logger.warning("Linking through the client %r failed: %s", client.name, error)
        return pages.failure(request, error, try_url=_retry_url(pending))
    if pending.account and identity.sub != pending.account:
        return _other_account(request, pending, identity)
    if not response.refresh_token and not _holds_refresh_token(request, client, identity):
        return _without_refresh_token(request, client, pending, identity)
    return _linked(request, client, pending, identity, response)


def _take_query(request: HttpRequest) -> tuple[dict[str, str], Secret]:
    """Take the query out of the request, so that no log and no error report repeats the code."""
    query = {name: str(value) for name, value in request.GET.items()}
    code = Secret(query.pop("code", ""))
    request.GET = QueryDict()
    request.META["QUERY_STRING"] = ""
    # Servers read their own of these once more, for the access log.
    for copy in ("RAW_URI", "REQUEST_URI"):
        if copy in request.META:
            request.META[copy] = request.path
    return query, code


def _wish(request: HttpRequest) -> AuthorizeRequest:
    signed = request.GET.get("request")
    if signed:
        return AuthorizeRequest.unsign(signed, user=str(request.user.pk))
    client = get_client(client_name(request))
    return AuthorizeRequest(
        user=str(request.user.pk),
        client=client.name,
        scopes=parse_scopes((*IDENTITY_SCOPES, *client.scopes)),
        required=client.scopes,
        return_url=default_return_url(),
    )


def _expected(
    wish: AuthorizeRequest, linked: list[GoogleAccount], client: OAuthClient
) -> tuple[GoogleAccount | None, str]:
    """Return the account that the wish is about, and the ``prompt`` to send.

    Each consent mints another of the hundred refresh tokens that Google keeps for an account and
    a client, so it is asked for only where no usable one is held.
    """
    account: GoogleAccount | None = None
    if wish.account:
        account = next((row for row in linked if row.sub == wish.account), None)
    elif not wish.add:
        try:
            account = choose_account(linked, wish.required)
        except ConsentRequiredError as error:
            account = error.account
    if account:
        return account, "" if account.is_active and _is_ours(account, client) else "consent"
    return None, "consent" if wish.account or not linked else "select_account"


def _is_ours(account: GoogleAccount, client: OAuthClient) -> bool:
    """Say whether the client was given its tokens, and not one that was configured before."""
    return account.client_id == client.client_id


def _to_google(
    request: HttpRequest, client: OAuthClient, pending: PendingAuthorization, *, prompt: str
) -> HttpResponse:
    url = endpoints.authorization_url(
        client,
        redirect_uri=pending.redirect_uri,
        scopes=pending.scopes,
        state=state.stash(request.session, pending),
        nonce=pending.nonce,
        code_verifier=pending.code_verifier,
        prompt=prompt,
        login_hint=pending.account,
    )
    return HttpResponseRedirect(url)


def _refused(request: HttpRequest, pending: PendingAuthorization, error: str) -> HttpResponse:
    state.remember_outcome(request.session, pending.client, asked=pending.scopes, granted=())
    signals.authorization_denied.send_robust(
        GoogleAccount,
        user=request.user,
        client=pending.client,
        error=error[:100],
        request=request,
    )
    if error == "access_denied":
        logger.info("A user refused to link through the client %r.", pending.client)
        return pages.denied(request, pending, try_url=_retry_url(pending))
    logger.warning("Google refused to link through the client %r: %.100r", pending.client, error)
    return pages.refused(request, error, try_url=_retry_url(pending))


def _other_account(
    request: HttpRequest, pending: PendingAuthorization, identity: Identity
) -> HttpResponse:
    """Offer the account that came as a further one; nothing is stored before the user says so."""
    state.remember_outcome(request.session, pending.client, asked=pending.required, granted=())
    expected = GoogleAccount.objects.for_user(request.user, client=pending.client)
    return pages.other_account(
        request,
        expected=expected.filter(sub=pending.account).first(),
        identity=identity,
        try_url=_retry_url(pending),
        add_url=_retry_url(pending, account=identity.sub),
    )


def _holds_refresh_token(request: HttpRequest, client: OAuthClient, identity: Identity) -> bool:
    rows = GoogleAccount.objects.for_user(request.user, client=client.name)
    account = rows.filter(sub=identity.sub).first()
    return account is not None and account.is_active and _is_ours(account, client)


def _without_refresh_token(
    request: HttpRequest, client: OAuthClient, pending: PendingAuthorization, identity: Identity
) -> HttpResponse:
    if pending.consent_repeated:
        logger.warning("Google gave the client %r no refresh token, twice.", client.name)
        return pages.no_refresh_token(request, try_url=_retry_url(pending))
    return _to_google(request, client, pending.repeated(account=identity.sub), prompt="consent")


@sensitive_variables()
def _linked(
    request: HttpRequest,
    client: OAuthClient,
    pending: PendingAuthorization,
    identity: Identity,
    response: TokenResponse,
) -> HttpResponse:
    try:
        account = save_grant(
            request.user,
            client,
            identity,
            response,
            requested_scopes=pending.scopes,
            request=request,
        )
    except IntegrityError:  # The user was deleted meanwhile: nobody else could end this grant.
        token = response.refresh_token or response.access_token
        end_grant(client, identity.sub, token, owner=pending.user)
        return pages.failure(request, StateError("The user is gone."))
    state.remember_outcome(
        request.session, client.name, asked=pending.scopes, granted=account.granted_scopes
    )
    logger.info("The account %s was linked.", account.pk)
    return HttpResponseRedirect(_return_url(request, pending.return_url))


def _retry_url(pending: PendingAuthorization, *, account: str | None = None) -> str:
    """Return the address that starts the same again; for the given account, if another is meant."""
    return AuthorizeRequest(
        user=pending.user,
        client=pending.client,
        scopes=tuple(pending.scopes),
        required=tuple(pending.required),
        return_url=pending.return_url,
        account=pending.account if account is None else account,
        add=pending.add,
    ).url()


def _return_url(request: HttpRequest, url: str) -> str:
    return url if is_safe_url(request, url) else default_return_url()


def _redirect_uri(request: HttpRequest, client: OAuthClient) -> str:
    """Return our callback as Google knows it.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the secrets file does not list it.
    """
    if client.redirect_uri:
        return client.redirect_uri
    built = request.build_absolute_uri(reverse("google_link:callback"))
    if built in client.redirect_uris:
        return built
    if not client.redirect_uris:
        is_emulator = is_loopback(client.authorization_endpoint)
        if not request.is_secure() and not is_loopback(built) and not is_emulator:
            logger.warning(
                "Google accepts no redirect URI like %s: only https, unless on loopback. Behind a "
                "proxy set SECURE_PROXY_SSL_HEADER, or the client's REDIRECT_URI.",
                built,
            )
        return built
    # Behind a proxy we may not see our own scheme and host; the file knows them.
    listed = [
        uri
        for uri in client.redirect_uris
        if urlsplit(uri).path == urlsplit(built).path and not is_loopback(uri)
    ]
    if len(listed) == 1 and not is_loopback(built):
        return listed[0]
    raise SettingsError(
        "E018",
        f"{built} is not among the redirect URIs of the Google client {client.name!r}.",
        hint=f"The file has {', '.join(client.redirect_uris)}: open the site by that address, or "
        "add this one in the Google console and download the file again, or set REDIRECT_URI.",
    )
