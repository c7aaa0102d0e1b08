"""The error pages of the linking flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import name_provider_of
from ..exceptions import GoogleLinkError, OtherAccountError
from ..scopes import IDENTITY_SCOPES
from ..web.failures import explain_failure, explain_lack_of_refresh_token
from ..web.pages import render_page
from ..web.responses import describe

if TYPE_CHECKING:
    from ..accounts.authorization_requests import PendingAuthorization


def failure(
    request: HttpRequest, error: GoogleLinkError, *, client: str = "", try_url: str = ""
) -> HttpResponse:
    """Return the page for an error. The provider's own text is only logged."""
    status, title, text = explain_failure(error, provider=name_provider_of(client))
    return _render_error(request, status=status, title=title, text=text, try_url=try_url)


@sensitive_variables()
def bounce(request: HttpRequest, url: str, *, client: str) -> HttpResponse:
    """Return a page of this site that opens a URL, which a redirect would do cross-site."""
    context = {"url": url, "provider": name_provider_of(client)}
    response = render_page(request, "continue.html", context)
    # As a header, since a project may override the base template.
    response["Refresh"] = f"0;url={url}"
    return response


def refused(request: HttpRequest, error: str, *, client: str, try_url: str) -> HttpResponse:
    """Return the page for an error response of the provider."""
    provider = name_provider_of(client)
    return _render_error(
        request,
        status=400,
        title=_("{provider} did not link your account").format(provider=provider),
        text=_(
            "{provider} sent you back with an error. Nothing was linked, and nothing has changed."
        ).format(provider=provider),
        detail=error[:100],
        provider=provider,
        try_url=try_url,
    )


def no_refresh_token(request: HttpRequest, *, client: str, try_url: str) -> HttpResponse:
    """Return the page for a missing refresh token."""
    provider = name_provider_of(client)
    return _render_error(
        request,
        status=400,
        title=_("{provider} did not grant lasting access").format(provider=provider),
        text=explain_lack_of_refresh_token(provider),
        try_url=try_url,
    )


def denied(request: HttpRequest, pending: PendingAuthorization, *, try_url: str) -> HttpResponse:
    """Return the page after the user has denied access."""
    asked = [scope for scope in pending.scopes if scope not in IDENTITY_SCOPES]
    context = {
        "scopes": describe(asked),
        "try_url": try_url,
        "back_url": reverse("google_link:accounts"),
    }
    return render_page(request, "denied.html", context, status=403)


def other_account(
    request: HttpRequest, error: OtherAccountError, *, try_url: str, add_url: str
) -> HttpResponse:
    """Return the page that offers the expected account and the one that was chosen."""
    context = {
        "expected": error.account,
        "other": error.name,
        "provider": name_provider_of(error.client),
        "has_same_name": error.has_same_name,
        "try_url": try_url,
        "add_url": add_url,
        "back_url": reverse("google_link:accounts"),
    }
    return render_page(request, "other_account.html", context, status=409)


def other_host(request: HttpRequest, host: str, *, client: str, url: str) -> HttpResponse:
    """Return the page that says at which host of this site an account can be linked."""
    return _render_error(
        request,
        status=400,
        title=_("Open this site at {host}").format(host=host),
        text=_(
            "{provider} would send you back to {host}, and you are not logged in there. "
            "Go there, log in, and link your account."
        ).format(host=host, provider=name_provider_of(client)),
        go_url=url,
        go_host=host,
    )


def not_linked(request: HttpRequest) -> HttpResponse:
    """Return the page for an account that was unlinked or is another user's."""
    return _render_error(
        request,
        status=404,
        title=_("This account is not linked"),
        text=_("It has already been unlinked, or was never linked by you. Nothing has changed."),
    )


def _render_error(request: HttpRequest, *, status: int, **context: Any) -> HttpResponse:
    context["back_url"] = reverse("google_link:accounts")
    return render_page(request, "error.html", context, status=status)
