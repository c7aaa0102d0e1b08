"""What the rest of the site must be like: its URLs, its middleware, and where it is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from ..conf.clients import DEFAULT_ENDPOINTS, OAuthClient, get_client, is_loopback
from ..conf.settings import conf
from .messages import error, warning

_MIDDLEWARE = (
    ("E020", "django.contrib.sessions.middleware.SessionMiddleware"),
    ("E021", "django.contrib.auth.middleware.AuthenticationMiddleware"),
)


@register(Tags.urls)
def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """Check that the pages are reachable, with the middleware that they need."""
    return [*_urls(), *_middleware(), *_strict_cookie()]


@register(Tags.security, deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """Check what only matters where users are: ``manage.py check --deploy``."""
    return [
        *(
            message
            for client in _clients()
            for check in (_redirect_uri, _proxy, _endpoints)
            for message in check(client)
        ),
        *_service_accounts(),
    ]


def _urls() -> Iterator[CheckMessage]:
    if not conf.has_urls:
        return
    try:
        reverse("google_link:callback")
    except NoReverseMatch:
        yield error(
            "E019",
            "The URLs of django_google_link are not included.",
            hint='Add path("google/", include("django_google_link.urls")) to your URLconf.',
        )
        return
    yield from _redirect_url()
    for client in _clients():
        yield from _callback(client)


def _redirect_url() -> Iterator[CheckMessage]:
    with suppress(ImproperlyConfigured):
        url = conf.redirect_url
        try:
            resolve_url(url or "/")
        except NoReverseMatch:
            yield error(
                "E009",
                f'GOOGLE_LINK["REDIRECT_URL"] is {url!r}, and no URL has that name.',
                hint='Use a path such as "/" or the name of a URL.',
            )


def _callback(client: OAuthClient) -> Iterator[CheckMessage]:
    callback = reverse("google_link:callback")
    known = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    # An address on loopback may be one of google_link_authorize's.
    paths = [urlsplit(uri).path for uri in known if not is_loopback(uri) and "://" in uri]
    if client.type != "installed" and paths and not any(path.endswith(callback) for path in paths):
        yield warning(
            "W012",
            f"No redirect URI of the Google client {client.name!r} leads to {callback}.",
            hint="Use the path under which the URLs of django_google_link are included.",
        )


def _middleware() -> Iterator[CheckMessage]:
    installed = [_imported(path) for path in conf.middleware]
    for id, path in _MIDDLEWARE:
        wanted = import_string(path)
        if not any(isinstance(item, type) and issubclass(item, wanted) for item in installed):
            yield error(
                id, f"{path} is not among the MIDDLEWARE.", hint="Add it, or a subclass of it."
            )


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return None  # Django says so when it starts to serve.


def _strict_cookie() -> Iterator[CheckMessage]:
    if conf.session_cookie_is_strict:
        yield warning(
            "W006",
            'With SESSION_COOKIE_SAMESITE = "Strict" users come back from Google without their '
            "session, and see a page in between.",
            hint='Use "Lax": the callback is protected by state, nonce and PKCE.',
        )


def _clients() -> Iterator[OAuthClient]:
    try:
        names = list(conf.clients)
    except ImproperlyConfigured:
        return
    for name in names:
        try:
            yield get_client(name)
        except ImproperlyConfigured:
            continue  # Another check has said so.


def _redirect_uri(client: OAuthClient) -> Iterator[CheckMessage]:
    uri, listed = client.redirect_uri, client.redirect_uris
    if uri and listed and uri not in listed:
        yield warning(
            "W008",
            f"The REDIRECT_URI of the Google client {client.name!r} is not among those in its "
            "secrets file.",
            hint=f"Add {uri} to the client in the Google console and download the file again.",
        )
    if not any(_is_public(known) for known in ([uri] if uri else listed or ["https://"])):
        yield warning(
            "W009",
            f"No redirect URI of the Google client {client.name!r} is one for the public: https, "
            "and not on loopback.",
            hint="Add the site's callback to the client in the Google console, which must be of "
            'type "Web application", and download the file again.',
        )


def _proxy(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.redirect_uri or client.redirect_uris or conf.secure_proxy_ssl_header:
        return
    yield warning(
        "W010",
        f"Behind a proxy that speaks https, the redirect URI of the Google client {client.name!r} "
        "would begin with http, which Google refuses.",
        hint="Set SECURE_PROXY_SSL_HEADER, or the client's REDIRECT_URI. Without a proxy, silence "
        "this check.",
    )


def _endpoints(client: OAuthClient) -> Iterator[CheckMessage]:
    if conf.debug:
        return
    strange = sorted(
        key for key, default in DEFAULT_ENDPOINTS.items() if getattr(client, key.lower()) != default
    )
    if client.api_endpoint:
        strange.append("API_ENDPOINT")
    if strange:
        yield warning(
            "W011",
            f"The Google client {client.name!r} does not talk to Google: {', '.join(strange)}.",
            hint="Leave these out, unless another provider is meant: then silence this check.",
        )


def _service_accounts() -> Iterator[CheckMessage]:
    with suppress(ImproperlyConfigured):
        for name, account in conf.service_accounts.items():
            if account.get("API_ENDPOINT") and not conf.debug:
                yield warning(
                    "W011",
                    f"The service account {name!r} does not talk to Google: API_ENDPOINT.",
                    hint="Leave this out: it gets all that would go to https://*.googleapis.com, "
                    "credentials too.",
                )


def _is_public(uri: str) -> bool:
    return uri.startswith("https://") and not is_loopback(uri)
