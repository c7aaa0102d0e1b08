"""The page on which users manage their linked accounts, and its forms."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from ..accounts.authorize_links import AuthorizeRequest
from ..accounts.labels import clean_label, store_label
from ..conf.clients import get_client, list_google_clients, name_provider_of
from ..conf.settings import conf
from ..models import GoogleAccount
from ..scopes import IDENTITY_SCOPES, parse_scopes
from ..web.access import client_name, is_safe_url
from ..web.pages import confirm, render_page
from ..web.reauthentication import ask_to_reauthenticate
from ..web.responses import describe
from . import pages
from .page import page

#: Where users see, and can revoke, the access of sites to their Google Account.
_GOOGLE_CONNECTIONS = "https://myaccount.google.com/connections"


class _LabelField(forms.CharField):
    def to_python(self, value: Any) -> str:
        """Remove invisible characters."""
        return clean_label(super().to_python(value) or "")


_LabelForm = forms.modelform_factory(
    GoogleAccount, fields=["label"], field_classes={"label": _LabelField}
)


@page("GET", "HEAD")
def accounts(request: HttpRequest) -> HttpResponse:
    """Show the user's linked accounts and the scopes that they have granted."""
    linked = list(GoogleAccount.objects.for_user(request.user))
    following = _keep_if_safe(request.GET.get("next", ""), request)
    provider = name_provider_of(client_name(request))
    names = {provider, *(account.provider for account in linked)}
    context = {
        "accounts": [_describe_account(request, account, linked) for account in linked],
        "add_url": _add_url(request, linked),
        "provider": provider,
        "has_other_providers": bool(names - {"Google"}),
        "choice_required": bool(following) or _choice_required(linked),
        "next": following,
        "google_url": _GOOGLE_CONNECTIONS if any(map(_is_googles, linked)) else "",
    }
    return render_page(request, "accounts.html", context)


def own_account(view: Callable[[HttpRequest, GoogleAccount], HttpResponse]) -> Any:
    """Pass a view the account with the id in its URL, if this user has linked it."""

    @wraps(view)
    def wrapper(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        account = GoogleAccount.objects.for_user(request.user).filter(pk=pk).first()
        return view(request, account) if account else pages.not_linked(request)

    return wrapper


@page("GET", "HEAD", "POST")
@own_account
def label(request: HttpRequest, account: GoogleAccount) -> HttpResponse:
    """Let users label an account, to tell it from their others."""
    before = account.label
    form = _LabelForm(request.POST if request.method == "POST" else None, instance=account)
    if not form.is_valid():
        return render_page(request, "label.html", {"account": account, "form": form})
    kept = store_label(account, form.cleaned_data["label"])
    if kept != before:
        _confirm_label(request, account, kept)
    return redirect("google_link:accounts")


@page("GET", "HEAD", "POST")
@own_account
def unlink(request: HttpRequest, account: GoogleAccount) -> HttpResponse:
    """Ask for confirmation, and unlink the account on POST."""
    # On GET too: reauthentication may return the user here, which loses the POST.
    if response := ask_to_reauthenticate(request):
        return response
    if request.method != "POST":
        return render_page(request, "unlink.html", {"account": account})
    account.unlink()
    confirm(request, _("{account} has been unlinked.").format(account=account.full_display_name))
    return redirect("google_link:accounts")


@page("POST")
@own_account
def make_default(request: HttpRequest, account: GoogleAccount) -> HttpResponse:
    """Make this account the default, which is used if none is chosen."""
    account.make_default()
    text = _("{account} is now your default account.")
    confirm(request, text.format(account=account.full_display_name))
    following = _keep_if_safe(request.POST.get("next", ""), request)
    return HttpResponseRedirect(following) if following else redirect("google_link:accounts")


def _confirm_label(request: HttpRequest, account: GoogleAccount, kept: str) -> None:
    if kept:
        text = _("{account} is now called “{label}”.")
    else:
        text = _("The label of {account} has been removed.")
    confirm(request, text.format(account=account.name_at_google, label=kept))


def _is_googles(account: GoogleAccount) -> bool:
    return account.client in {client.name for client in list_google_clients()}


def _keep_if_safe(url: str, request: HttpRequest) -> str:
    return url if url and is_safe_url(request, url) else ""


def _describe_account(
    request: HttpRequest, account: GoogleAccount, linked: list[GoogleAccount]
) -> dict[str, Any]:
    others = [scope for scope in account.granted_scopes if scope not in IDENTITY_SCOPES]
    siblings = [other for other in linked if other.client == account.client]
    return {
        "account": account,
        # Each client has its own default: if there is only one account, it needs no mark.
        "is_marked_default": account.is_default and len(siblings) > 1,
        "scopes": describe(others),
        "authorize_url": _relink_url(request, account),
    }


def _relink_url(request: HttpRequest, account: GoogleAccount) -> str:
    # The page has to work even if the client is no longer in the settings.
    works = account.is_active and not account.ends_soon
    if works or account.client not in conf.clients:
        return ""
    return _authorize_url(
        request,
        account.client,
        scopes=account.granted_scopes,
        account=account.sub,
        renew=account.is_active,
    )


def _add_url(request: HttpRequest, linked: list[GoogleAccount]) -> str:
    client = client_name(request)
    if client not in conf.clients:
        return ""  # There need not be a default client, if all views name theirs.
    is_linked = any(account.client == client for account in linked)
    if is_linked and get_client(client).identity == "none":
        return ""  # A second account could not be distinguished, and would replace the first.
    return _authorize_url(request, client, add=True)


def _authorize_url(
    request: HttpRequest,
    client: str,
    *,
    scopes: Iterable[str] = (),
    account: str = "",
    add: bool = False,
    renew: bool = False,
) -> str:
    chosen = get_client(client)
    asked = parse_scopes((*chosen.identity_scopes, *chosen.scopes, *scopes))
    return AuthorizeRequest(
        user=str(request.user.pk),
        host=request.get_host(),
        client=client,
        scopes=asked,
        required=asked,
        return_url=request.path,
        account=account,
        add=add,
        renew=renew,
    ).url()


def _choice_required(linked: list[GoogleAccount]) -> bool:
    """Return whether a client has several accounts, none of which is the default."""
    clients = {account.client for account in linked}
    return clients != {account.client for account in linked if account.is_default}
