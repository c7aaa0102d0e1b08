"""What people see: the consent page and the error page."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from werkzeug.wrappers import Response

from .endpoints import PATHS
from .responses import NO_STORE
from .scopes import IDENTITY, scope_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .authorization import AuthorizationRequest
    from .errors import OAuthError
    from .identities import FakeUser

_TEMPLATES = Path(__file__).parent / "templates"
_HEADERS = {
    **NO_STORE,
    # No form-action: browsers apply it to the redirect that follows the form too.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["scope_label"] = scope_label
_template_loading = threading.Lock()


def consent_page(
    asked: AuthorizationRequest,
    *,
    accounts: Sequence[FakeUser],
    selected: FakeUser | None,
    ticket: str,
) -> Response:
    """Ask which account to use, and which scopes to grant."""
    return _render_page(
        "consent.html",
        200,
        asked=asked,
        accounts=accounts,
        selected=selected,
        ticket=ticket,
        identity_scopes=IDENTITY.intersection(asked.scopes),
    )


def relay_page(answer: str) -> Response:
    """Hand an answer over to the page that has opened this popup, and close.

    Args:
        answer: the origin of that page, and the answer as its query.
    """
    response = _render_page("relay.html", 200, answer=answer)
    policy = response.headers["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'self'"
    return response


def script(name: str) -> Response:
    """Return a script: the stand-in for Google's, or that of its popup."""
    return Response((_TEMPLATES / name).read_bytes(), mimetype="text/javascript")


def start_page(accounts: Sequence[FakeUser]) -> Response:
    """Say what this is, to those who open its address."""
    return _render_page("start.html", 200, accounts=accounts)


def error_page(error: OAuthError) -> Response:
    """Say what is wrong with the request, to the user and not to the client, as Google does."""
    return _render_page("error.html", error.status, error=error)


def stylesheet() -> Response:
    """Return the style of the pages."""
    return Response((_TEMPLATES / "fake-google.css").read_bytes(), mimetype="text/css")


def _render_page(template: str, status: int, **context: object) -> Response:
    html = _load_template(template).render(paths=PATHS, **context)
    return Response(html, status, _HEADERS, mimetype="text/html")


def _load_template(name: str) -> Template:
    # One at a time: the first that asks compiles it, and the others wait instead of doing so too.
    with _template_loading:
        return _environment.get_template(name)
