"""The pages of the fake Google, such as the consent page and the error page."""

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
    # Without form-action, which browsers also apply to the redirect after the form.
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
    """Return the page that asks which account to use and which scopes to grant."""
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
    """Return the page that passes a response to the page that opened this popup, and closes.

    Args:
        answer: the origin of that page, with the response as its query.
    """
    response = _render_page("relay.html", 200, answer=answer)
    policy = response.headers["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'self'"
    return response


def script(name: str) -> Response:
    """Return a script: the substitute for Google's, or that of its popup."""
    return Response((_TEMPLATES / name).read_bytes(), mimetype="text/javascript")


def start_page(accounts: Sequence[FakeUser]) -> Response:
    """Return the page that explains what this server is."""
    return _render_page("start.html", 200, accounts=accounts)


def error_page(error: OAuthError) -> Response:
    """Return the page with an error for the user. Like at Google, the client is not told."""
    return _render_page("error.html", error.status, error=error)


def stylesheet() -> Response:
    """Return the style sheet of the pages."""
    return Response((_TEMPLATES / "fake-google.css").read_bytes(), mimetype="text/css")


def _render_page(template: str, status: int, **context: object) -> Response:
    html = _load_template(template).render(paths=PATHS, **context)
    return Response(html, status, _HEADERS, mimetype="text/html")


def _load_template(name: str) -> Template:
    # One thread at a time: the first one compiles the template, the others wait for it.
    with _template_loading:
        return _environment.get_template(name)
