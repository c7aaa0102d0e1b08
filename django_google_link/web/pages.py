"""What the app's pages share: rendering, the link back to the site, and messages."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, get_script_prefix

from ..conf.django import django_conf


def render_page(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """Render a template of the app, with the context that its base template needs."""
    return render(
        request,
        f"django_google_link/{template}",
        {"home_url": find_home_url(), **context},
        status=status,
    )


def find_home_url() -> str:
    """Return the URL of the site's start page: ``LOGIN_REDIRECT_URL``, or else its root."""
    url = django_conf.login_redirect_url
    try:
        return resolve_url(url) if url else get_script_prefix()
    except NoReverseMatch:  # The same error appears at login.
        return get_script_prefix()


def confirm(request: HttpRequest, text: str) -> None:
    """Add a success message for the next page, if the site uses Django's messages."""
    if apps.is_installed("django.contrib.messages"):
        messages.success(request, text, fail_silently=True)
