"""What the rest of the site must be like: its URLs, its middleware, and where it is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.core.checks import CheckMessage, Tags, register
from django.http.request import validate_host
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

from ..conf.clients import OAuthClient, get_client
from ..conf.django import django_conf
from ..conf.providers import DEFAULT_ENDPOINTS
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
#: Caches that are of one process alone, or keep nothing.
_OWN_CACHES = frozenset(
    {
        "django.core.cache.backends.dummy.DummyCache",
        "django.core.cache.backends.locmem.LocMemCache",
    }
)


@register(Tags.urls)
def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """Check that the pages are reachable, with the middleware that they need."""
    return [
        *_check_urls(),
        *_check_login_url(),
        *_check_middleware(),
        *_check_order_of_middleware(),
        *_check_session_cookie(),
    ]


@register(Tags.security, deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """Check what only matters where users are: ``manage.py check --deploy``."""
    return [
        *(
            message
            for client in _read_clients()
            for check in (_check_redirect_uri, _check_hosts, _check_proxy, _check_endpoints)
            for message in check(client)
        ),
        *_check_service_accounts(),
        *_check_security_events_url(),
        *_check_caches(),
        *_check_testing(),
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
            f"The URLs of django_google_link are inside the namespace {outer!r}, where links to "
            "them are not found."
            if outer
            else "The URLs of django_google_link are not included.",
            hint='Add path("google/", include("django_google_link.urls")) to your URLconf'
            + (", outside of that namespace." if outer else "."),
        )
        return
    if len(places) > 1:
        yield warning(
            "W024",
            "The URLs of django_google_link are included more than once: "
            f"{', '.join(route for route, _ in places)}.",
            hint=f"Keep one. Users come back to {reverse('google_link:callback')}.",
        )
    yield from _check_shadowing()
    yield from _check_redirect_url()
    yield from _check_security_events_path()
    clients = _read_clients()
    yield from _check_languages(clients)
    for client in clients:
        yield from _check_callback(client)
        yield from _check_missing_endpoints(client)
        yield from check_front_end(client)
    yield from _check_shared_redirect_uris(clients)


def _find_includes(
    patterns: Any, *, route: str = "", namespace: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield where our URLs are included, and the namespace around them."""
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
    """Find a pattern before ours that takes our pages, as that of a CMS takes whatever it can."""
    callback = reverse("google_link:callback")
    found = resolve(_without_script_name(callback))
    if found.app_name != "google_link":
        yield warning(
            "W038",
            f"{callback} does not lead to django_google_link, but to {found.view_name!r}, whose "
            "pattern comes first.",
            hint='Put path("google/", include("django_google_link.urls")) before patterns that '
            "take any path.",
        )


def _check_login_url() -> Iterator[CheckMessage]:
    """Find a page for logging in that is not there: the first thing that a visitor needs."""
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
        f"LOGIN_URL is {url!r}, and this site has no page there: who is not logged in gets a 404.",
        hint="Set LOGIN_URL to the path or the URL name of your login page, or include "
        "django.contrib.auth.urls. If another server has that page, silence this check.",
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
    """Return a path as URLconfs know it: ``FORCE_SCRIPT_NAME`` stands before what is reversed."""
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
            f'GOOGLE_LINK["REDIRECT_URL"] is {url!r}, which is relative to any page.',
            hint=f'Use "/{resolved}".',
        )
    elif not resolved:
        yield error(
            "E009",
            f'GOOGLE_LINK["REDIRECT_URL"] is {url!r}, and no URL has that name.',
            hint='Use a path such as "/" or the name of a URL.',
        )


def _check_languages(clients: list[OAuthClient]) -> Iterator[CheckMessage]:
    """Find a callback whose address depends on the language."""
    if all(client.redirect_uri for client in clients):
        return
    # Not by reverse(), which would read all URLs of the site once more for each language.
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
            hint=f"Move them out, so that they are not translated. If {callback} is what you have "
            "registered at Google, where all are sent back to in any language, silence this check.",
        )


def _find_patterns(resolver: URLResolver) -> list[object]:
    """Return the patterns that lead to the URLs of the app."""
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
    # An address on loopback may be one of google_link_authorize's.
    paths = [urlsplit(uri).path for uri in known if not is_loopback(uri) and "://" in uri]
    if client.type != "installed" and paths and not any(path.endswith(callback) for path in paths):
        yield warning(
            "W012",
            f"No redirect URI of the client {client.name!r} leads to {callback}.",
            hint="Add the slash at its end, here and in the Google console."
            if callback.removesuffix("/") in {path[-len(callback) + 1 :] for path in paths}
            else "Use the path under which the URLs of django_google_link are included.",
        )


def _check_missing_endpoints(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.discovers_endpoints:
        return  # What its metadata names is not known before somebody links.
    has_issuer = client.issuer != client.token_endpoint
    for key, is_there in (("ISSUER", has_issuer), ("JWKS_URI", bool(client.jwks_uri))):
        if client.identity == "id_token" and not is_there:
            yield error(
                "E028",
                f"The client {client.name!r} has no {key}: no ID token can be verified, and nobody "
                "can link.",
                hint=f"Give the {key.lower()} of the provider's OpenID configuration. For one that "
                'has none, say by IDENTITY how the account is known: "userinfo" or "none".',
            )
    if client.revocation_endpoint is None:
        yield warning(
            "W013",
            f"The client {client.name!r} has no REVOCATION_ENDPOINT: what users unlink here lives "
            "on at the provider.",
            hint="Add it, or silence this check if the provider has none.",
        )


def _check_shared_redirect_uris(clients: list[OAuthClient]) -> Iterator[CheckMessage]:
    """Find what one authorization server could use to take part in the flow of another.

    See RFC 9700 section 4.4.
    """
    issuers: dict[str, set[str]] = {}
    for client in clients:
        for uri in _list_redirect_uris(client):
            issuers.setdefault(uri, set()).add(client.issuer)
    for uri, own in issuers.items():
        # What is built from a request may have any host.
        found = own | issuers.get(urlsplit(uri).path, set())
        if len(found) > 1:
            yield error(
                "E029",
                f"The redirect URI {uri} is used at several issuers: {', '.join(sorted(found))}.",
                hint="Give each issuer one of its own: callback/ is Google's, and "
                "callback/<client>/ that of another provider's client.",
            )


def _list_redirect_uris(client: OAuthClient) -> list[str]:
    """Return where answers to this client may arrive: a path alone where the host is a request's.

    Without query, and by the names of the host that are the same to a browser.
    """
    own = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    built = [] if own else [_find_callback(client)]
    parts = [urlsplit(uri) for uri in dict.fromkeys([*own, *list_front_end_uris(client)])]
    return built + [
        f"{part.scheme}://{normalize_host(part.netloc)}{part.path}" for part in parts if part.netloc
    ]


def _find_callback(client: OAuthClient) -> str:
    # For requests, and not needed where a process only starts.
    from ..web.redirect_uri import callback_path

    return callback_path(client)


def _check_middleware() -> Iterator[CheckMessage]:
    installed = [_import_or_none(path) for path in django_conf.middleware]
    for id, path in _MIDDLEWARE:
        wanted = import_string(path)
        if not any(isinstance(item, type) and issubclass(item, wanted) for item in installed):
            yield error(
                id, f"{path} is not among the MIDDLEWARE.", hint="Add it, or a subclass of it."
            )


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
                f"{second} stands before {first} in MIDDLEWARE, and needs what that provides.",
                hint="Put it behind.",
            )


def _import_or_none(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return None  # Django says so when it starts to serve.


def _check_session_cookie() -> Iterator[CheckMessage]:
    if django_conf.session_cookie_is_strict:
        yield warning(
            "W006",
            'With SESSION_COOKIE_SAMESITE = "Strict" users come back from Google without their '
            "session, and see a page in between.",
            hint='Use "Lax": the callback is protected by state, nonce and PKCE.',
        )


def _read_clients() -> list[OAuthClient]:
    """Return the clients that can work: of the others, another check says why they cannot."""
    names = read_or_default(lambda: conf.clients, {})
    clients = [read_or_default(partial(get_client, name), None) for name in names]
    return [client for client in clients if client]


def _check_redirect_uri(client: OAuthClient) -> Iterator[CheckMessage]:
    uri, listed = client.redirect_uri, client.redirect_uris
    if uri and listed and uri not in listed:
        yield warning(
            "W008",
            f"The REDIRECT_URI of the client {client.name!r} is not among those in its "
            "secrets file.",
            hint=f"Add {uri} to the client in the Google console and download the file again.",
        )
    if not any(_is_public(known) for known in ([uri] if uri else listed or ["https://"])):
        yield warning(
            "W009",
            f"No redirect URI of the client {client.name!r} is one for the public: https, "
            "and not on loopback.",
            hint="Add the site's callback to the client in the Google console, which must be of "
            'type "Web application", and download the file again.',
        )


def _check_hosts(client: OAuthClient) -> Iterator[CheckMessage]:
    """Find a callback that Django itself would refuse."""
    uris = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    hosts = [urlsplit(uri).hostname or "" for uri in uris if _is_public(uri)]
    if hosts and not any(validate_host(host, django_conf.allowed_hosts) for host in hosts):
        yield warning(
            "W029",
            f"No host of the redirect URIs of the client {client.name!r} is among the "
            f"ALLOWED_HOSTS: who comes back to {hosts[0]} gets a 400.",
            hint=f"Add {hosts[0]!r} to ALLOWED_HOSTS, or correct the redirect URI. Behind a proxy "
            "that gives another name to the site, silence this check.",
        )


def _check_caches() -> Iterator[CheckMessage]:
    """Find what is kept by each process for itself, and has to be seen by all."""
    alias = django_conf.session_cache
    if alias is not None and django_conf.find_cache_backend(alias) in _OWN_CACHES:
        yield warning(
            "W030",
            f"Sessions are kept in the cache {alias!r}, which each process has for itself: who "
            "comes back from Google to another process has no session.",
            hint="Use a cache that is shared, such as Redis, or "
            'SESSION_ENGINE = "django.contrib.sessions.backends.db".',
        )
    accounts = read_or_default(lambda: conf.service_accounts, {})
    if accounts and django_conf.find_cache_backend("default") in _OWN_CACHES:
        yield warning(
            "W032",
            "The default cache is one that each process has for itself, so that each asks for "
            "tokens of the service accounts.",
            hint="Use a cache that is shared, such as Redis; or silence this check.",
        )


def _check_testing() -> Iterator[CheckMessage]:
    if apps.is_installed("django_google_link.testing") and not django_conf.debug:
        yield warning(
            "W031",
            "django_google_link.testing, which plays Google, is among INSTALLED_APPS.",
            hint="Leave it out where users are.",
        )


def _check_proxy(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.redirect_uri or client.redirect_uris or django_conf.secure_proxy_ssl_header:
        return
    yield warning(
        "W010",
        f"Behind a proxy that speaks https, the redirect URI of the client {client.name!r} "
        "would begin with http, which Google refuses.",
        hint="Set SECURE_PROXY_SSL_HEADER, or the client's REDIRECT_URI. Without a proxy, silence "
        "this check.",
    )


def _check_endpoints(client: OAuthClient) -> Iterator[CheckMessage]:
    if django_conf.debug:
        return
    strange = sorted(
        key for key, default in DEFAULT_ENDPOINTS.items() if getattr(client, key.lower()) != default
    )
    if client.api_endpoint:
        strange.append("API_ENDPOINT")
    if strange:
        yield warning(
            "W011",
            f"The client {client.name!r} does not talk to Google: {', '.join(strange)}.",
            hint="Leave these out, unless another provider is meant: then silence this check.",
        )


def _check_service_accounts() -> Iterator[CheckMessage]:
    if django_conf.debug:
        return
    for name, account in read_or_default(lambda: conf.service_accounts, {}).items():
        if account.get("API_ENDPOINT"):
            yield warning(
                "W011",
                f"The service account {name!r} does not talk to Google: API_ENDPOINT.",
                hint="Leave this out: it gets all that would go to https://*.googleapis.com, "
                "credentials too.",
            )


def _check_security_events_url() -> Iterator[CheckMessage]:
    url = read_or_default(lambda: conf.security_events_url, None)
    if url and not _is_public(url):
        yield warning(
            "W021",
            f'GOOGLE_LINK["SECURITY_EVENTS_URL"] is {url!r}, to which Google sends nothing.',
            hint="Use an https address that is not on loopback, of a domain that is authorized in "
            "the Google Cloud project.",
        )


def _check_security_events_path() -> Iterator[CheckMessage]:
    url = read_or_default(lambda: conf.security_events_url, None)
    path = reverse("google_link:security-events")
    if url and not urlsplit(url).path.endswith(path):
        yield warning(
            "W022",
            f'GOOGLE_LINK["SECURITY_EVENTS_URL"] does not lead to {path}.',
            hint="Use the path under which the URLs of django_google_link are included.",
        )


def _is_public(uri: str) -> bool:
    return uri.startswith("https://") and not is_loopback(uri)
