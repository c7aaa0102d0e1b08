"""Checks of the site around the app: its URLs, its middleware and its session cookie."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage
from django.shortcuts import resolve_url
from django.urls import (
    NoReverseMatch,
    Resolver404,
    URLResolver,
    get_resolver,
    get_script_prefix,
    resolve,
    reverse,
)
from django.utils.module_loading import import_string
from django.utils.translation import override

from ..conf.clients import OAuthClient, list_clients
from ..conf.django import django_conf
from ..conf.settings import conf
from ..conf.validators import is_loopback, normalize_host, read_or_default
from .front_ends import check_front_end, list_front_end_uris
from .messages import error, warning

_MIDDLEWARE = (
    ("E020", "django.contrib.sessions.middleware.SessionMiddleware"),
    ("E021", "django.contrib.auth.middleware.AuthenticationMiddleware"),
)
_CONSENT = "django_google_link.middleware.ConsentRequiredMiddleware"
_URLCONF = "django_google_link.urls"


def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """Check the app's URLs and the middleware and session cookie that its pages need."""
    return [
        *_check_urls(),
        *_check_login_url(),
        *_check_middleware(),
        *_check_order_of_middleware(),
        *_check_session_cookie(),
    ]


def _check_urls() -> Iterator[CheckMessage]:
    if not django_conf.has_urls:
        return
    places = list(_find_includes(get_resolver().url_patterns))
    try:
        reverse("google_link:callback")
    except NoReverseMatch:
        outer = next((namespace for _, namespace in places), "")
        yield error(
            "E019",
            f"The URLs of django_google_link are included inside the namespace {outer!r}, so that "
            "their names cannot be reversed."
            if outer
            else "The URLs of django_google_link are not included.",
            hint='Add path("google/", include("django_google_link.urls")) to your URLconf'
            + (", outside that namespace." if outer else "."),
        )
        return
    if len(places) > 1:
        yield warning(
            "W024",
            "The URLs of django_google_link are included more than once: "
            f"{', '.join(route for route, _ in places)}.",
            hint=f"Keep one. Google redirects users to {reverse('google_link:callback')}.",
        )
    yield from _check_shadowing()
    yield from _check_redirect_url()
    yield from _check_security_events_path()
    clients = list_clients()
    yield from _check_languages(clients)
    for client in clients:
        yield from _check_callback(client)
        yield from _check_missing_endpoints(client)
        yield from check_front_end(client)
    yield from _check_shared_redirect_uris(clients)


def _find_includes(
    patterns: Any, *, route: str = "", namespace: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the routes under which the app's URLs are included, with the enclosing namespace."""
    for pattern in patterns:
        if not isinstance(pattern, URLResolver):
            continue
        where = f"{route}{pattern.pattern}"
        if getattr(pattern.urlconf_module, "__name__", "") == _URLCONF:
            yield where, namespace
        else:
            inner = pattern.namespace or namespace
            yield from _find_includes(pattern.url_patterns, route=where, namespace=inner)


def _check_shadowing() -> Iterator[CheckMessage]:
    """Find an earlier pattern that matches the app's URLs, as that of a CMS may."""
    callback = reverse("google_link:callback")
    found = resolve(_without_script_name(callback))
    if found.app_name != "google_link":
        yield warning(
            "W038",
            f"{callback} does not lead to django_google_link, but to {found.view_name!r}, whose "
            "pattern comes first.",
            hint='Put path("google/", include("django_google_link.urls")) before patterns that '
            "match any path.",
        )


def _check_login_url() -> Iterator[CheckMessage]:
    """Check that the login page exists: users who are not logged in are redirected there."""
    if not django_conf.has_urls:
        return
    url = django_conf.login_url
    try:
        parts = urlsplit(resolve_url(url))
    except NoReverseMatch:
        parts = None
    if url and parts and (parts.netloc or _leads_somewhere(parts.path)):
        return
    yield warning(
        "W023",
        f"LOGIN_URL is {url!r}, and this site has no page there: users who are not logged in get "
        "a 404.",
        hint="Set LOGIN_URL to the path or the URL name of your login page, or include "
        "django.contrib.auth.urls. If another server serves that page, silence this check.",
    )


def _leads_somewhere(path: str) -> bool:
    for prefix in ("", *(f"/{code}" for code, _ in django_conf.languages)):
        with override(prefix.lstrip("/") or django_conf.language_code):
            try:
                resolve(prefix + _without_script_name(path))
            except Resolver404:
                continue
            return True
    return False


def _without_script_name(path: str) -> str:
    """Return a path as URLconfs know it, without the ``FORCE_SCRIPT_NAME`` that reversing adds."""
    prefix = get_script_prefix()
    return path.removeprefix(prefix.removesuffix("/")) if path.startswith(prefix) else path


def _check_redirect_url() -> Iterator[CheckMessage]:
    url = read_or_default(lambda: conf.redirect_url, None)
    try:
        resolved = resolve_url(url or "/")
    except NoReverseMatch:
        resolved = ""
    if resolved and not resolved.startswith(("/", "http://", "https://")):
        yield error(
            "E009",
            f'GOOGLE_LINK["REDIRECT_URL"] is {url!r}, which is relative to the current page.',
            hint=f'Use "/{resolved}".',
        )
    elif not resolved:
        yield error(
            "E009",
            f'GOOGLE_LINK["REDIRECT_URL"] is {url!r}, which is neither a path nor a URL name.',
            hint='Use a path such as "/", or the name of a URL.',
        )


def _check_languages(clients: list[OAuthClient]) -> Iterator[CheckMessage]:
    """Find a callback URL that depends on the language."""
    if all(client.redirect_uri for client in clients):
        return
    # Without reverse(), which would load the whole URLconf again for each language.
    patterns, paths = _find_patterns(get_resolver()), set()
    for language, _ in django_conf.languages:
        with override(language):
            paths.add("".join(map(str, patterns)))
    if len(paths) > 1:
        with override(django_conf.language_code):
            callback = reverse("google_link:callback")
        yield warning(
            "W016",
            "The URL of the callback depends on the language: the URLs of "
            "django_google_link are inside i18n_patterns.",
            hint=f"Move them out of i18n_patterns. If {callback} is the redirect URI registered at "
            "Google, to which users of every language return, silence this check.",
        )


def _find_patterns(resolver: URLResolver) -> list[object]:
    """Return the nested patterns that lead to the app's URLs."""
    for entry in resolver.url_patterns:
        if not isinstance(entry, URLResolver):
            continue
        if entry.namespace == "google_link":
            return [entry.pattern]
        if below := _find_patterns(entry):
            return [entry.pattern, *below]
    return []


def _check_callback(client: OAuthClient) -> Iterator[CheckMessage]:
    callback = _find_callback(client)
    known = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    # Addresses on loopback may be for google_link_authorize.
    paths = [urlsplit(uri).path for uri in known if not is_loopback(uri) and "://" in uri]
    if client.type != "installed" and paths and not any(path.endswith(callback) for path in paths):
        yield warning(
            "W012",
            f"No redirect URI of the client {client.name!r} leads to {callback}.",
            hint="Add the trailing slash, here and in the Google console."
            if callback.removesuffix("/") in {path[-len(callback) + 1 :] for path in paths}
            else "Use the path under which the URLs of django_google_link are included.",
        )


def _check_missing_endpoints(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.discovers_endpoints:
        return  # The endpoints are not known before the metadata is fetched.
    has_issuer = client.issuer != client.token_endpoint
    for key, is_there in (("ISSUER", has_issuer), ("JWKS_URI", bool(client.jwks_uri))):
        if client.identity == "id_token" and not is_there:
            yield error(
                "E028",
                f"The client {client.name!r} has no {key}: ID tokens cannot be verified, and no "
                "account can be linked.",
                hint=f"Set it to the {key.lower()} in the provider's OpenID configuration. If the "
                'provider has none, set IDENTITY to "userinfo" or "none".',
            )
    if client.revocation_endpoint is None:
        yield warning(
            "W013",
            f"The client {client.name!r} has no REVOCATION_ENDPOINT: when a user unlinks an "
            "account, the grant stays valid at the provider.",
            hint="Add it, or silence this check if the provider has none.",
        )


def _check_shared_redirect_uris(clients: list[OAuthClient]) -> Iterator[CheckMessage]:
    """Find redirect URIs that several issuers share, which permits mix-up attacks.

    See RFC 9700 section 4.4.
    """
    issuers: dict[str, set[str]] = {}
    for client in clients:
        for uri in _list_redirect_uris(client):
            issuers.setdefault(uri, set()).add(client.issuer)
    for uri, own in issuers.items():
        # A redirect URI that is built from a request may have any host.
        found = own | issuers.get(urlsplit(uri).path, set())
        if len(found) > 1:
            yield error(
                "E029",
                f"The redirect URI {uri} is used for several issuers: {', '.join(sorted(found))}.",
                hint="Use a different one for each issuer: callback/ for Google, and "
                "callback/<client>/ for the client of another provider.",
            )


def _list_redirect_uris(client: OAuthClient) -> list[str]:
    """Return the redirect URIs of a client, without query and with normalized hosts.

    A redirect URI that is built from a request has no fixed host: only its path is returned.
    """
    own = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    built = [] if own else [_find_callback(client)]
    parts = [urlsplit(uri) for uri in dict.fromkeys([*own, *list_front_end_uris(client)])]
    return built + [
        f"{part.scheme}://{normalize_host(part.netloc)}{part.path}" for part in parts if part.netloc
    ]


def _find_callback(client: OAuthClient) -> str:
    # Imported late: a process that only starts does not need it.
    from ..web.redirect_uri import callback_path

    return callback_path(client)


def _check_security_events_path() -> Iterator[CheckMessage]:
    url = read_or_default(lambda: conf.security_events_url, None)
    path = reverse("google_link:security-events")
    if url and not urlsplit(url).path.endswith(path):
        yield warning(
            "W022",
            f'GOOGLE_LINK["SECURITY_EVENTS_URL"] does not lead to {path}.',
            hint="Use the path under which the URLs of django_google_link are included.",
        )


def _check_middleware() -> Iterator[CheckMessage]:
    installed = [_import_or_none(path) for path in django_conf.middleware]
    for id, path in _MIDDLEWARE:
        wanted = import_string(path)
        if not any(isinstance(item, type) and issubclass(item, wanted) for item in installed):
            yield error(id, f"{path} is not in MIDDLEWARE.", hint="Add it, or a subclass of it.")


def _check_order_of_middleware() -> Iterator[CheckMessage]:
    positions = {}
    for position, path in enumerate(django_conf.middleware):
        item = _import_or_none(path)
        for wanted in (*(path for _, path in _MIDDLEWARE), _CONSENT):
            if isinstance(item, type) and issubclass(item, import_string(wanted)):
                positions[wanted] = position
    for first, second in pairwise([*(path for _, path in _MIDDLEWARE), _CONSENT]):
        if positions.get(first, -1) > positions.get(second, len(django_conf.middleware)):
            yield error(
                "E064",
                f"{second} comes before {first} in MIDDLEWARE, but depends on it.",
                hint="Move it below.",
            )


def _import_or_none(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return None  # Django raises this error itself when it loads the middleware.


def _check_session_cookie() -> Iterator[CheckMessage]:
    if django_conf.session_cookie_is_strict:
        yield warning(
            "W006",
            'With SESSION_COOKIE_SAMESITE = "Strict" browsers do not send the session cookie when '
            "Google redirects users back, so that they see an intermediate page.",
            hint='Use "Lax": the callback is protected by state, nonce and PKCE.',
        )
