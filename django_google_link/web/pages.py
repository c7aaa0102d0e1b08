"""What the pages of the app have in common: the way back to the site, and what was just done."""

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
    """Render one of the templates of the app, with what its base template shows."""
    return render(
        request,
        f"django_google_link/{template}",
        {"home_url": find_home_url(), **context},
        status=status,
    )


def find_home_url() -> str:
    """Return where the site goes on: Django's ``LOGIN_REDIRECT_URL``, or else its root."""
    url = django_conf.login_redirect_url
    try:
        return resolve_url(url) if url else get_script_prefix()
    except NoReverseMatch:  # Who logs in will notice it.
        return get_script_prefix()


def confirm(request: HttpRequest, text: str) -> None:
    """Have the next page say what was done, on a site with Django's messages; else nobody does."""
    if apps.is_installed("django.contrib.messages"):
        messages.success(request, text, fail_silently=True)
