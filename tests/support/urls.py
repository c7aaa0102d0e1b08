"""URLs and their contents."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from django_google_link.accounts.authorize_links import AuthorizeRequest


def query_of(url: str) -> dict[str, str]:
    """Return the query of a URL; each name occurs once."""
    values = parse_qs(urlsplit(url).query)
    assert all(len(items) == 1 for items in values.values())
    return {name: items[0] for name, items in values.items()}


def local(url: str) -> str:
    """Return the path and query of a URL of this site."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def authorize_request_of(url: str, user: Any, *, host: str = "testserver") -> AuthorizeRequest:
    """Return the signed request in a URL of the authorize view."""
    assert url.removeprefix(f"http://{host}").startswith("/google/authorize/?")
    return AuthorizeRequest.unsign(query_of(url)["request"], user=str(user.pk), host=host)
