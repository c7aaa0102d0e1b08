"""Serves the files of the single-page app on a separate origin, as any web server would."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from whitenoise import WhiteNoise

import django_google_link

FILES = Path(__file__).resolve().parent.parent / "single_page"
STATIC = (
    Path(django_google_link.__file__).parent / "static",
    FILES.parent / "pages" / "static",
)


def make_application(site: str) -> WhiteNoise:
    """Return the WSGI application that serves the app.

    Args:
        site: the origin of the API.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/config.js":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not found"]
        start_response("200 OK", [("Content-Type", "text/javascript")])
        return [f'export const API = "{site}";\n'.encode()]

    def add_headers(headers: Any, path: str, url: str) -> None:
        headers["Content-Security-Policy"] = (
            f"default-src 'self'; connect-src 'self' {site}; base-uri 'none'; "
            "frame-ancestors 'none'; form-action 'none'; object-src 'none'"
        )
        headers["Referrer-Policy"] = "no-referrer"
        # The page at the redirect URI has none, unless a test sets one: with a policy, it could not
        # reach the page that opened it, and would have to use a BroadcastChannel.
        policies = settings.APP_OPENER_POLICIES
        if policy := policies.get(url):
            headers["Cross-Origin-Opener-Policy"] = policy

    application = WhiteNoise(
        answer,
        root=FILES,
        index_file=True,
        max_age=0,
        allow_all_origins=False,
        add_headers_function=add_headers,
    )
    for folder in STATIC:
        application.add_files(str(folder))
    return application
