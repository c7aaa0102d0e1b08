"""Checks that matter only in production: ``manage.py check --deploy``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.core.checks import CheckMessage
from django.http.request import validate_host

from ..conf.clients import OAuthClient, list_clients
from ..conf.django import django_conf
from ..conf.providers import DEFAULT_ENDPOINTS
from ..conf.settings import conf
from ..conf.validators import is_loopback, read_or_default
from .messages import warning

#: Caches that each process has to itself, or that keep nothing.
_UNSHARED_CACHES = frozenset(
    {
        "django.core.cache.backends.dummy.DummyCache",
        "django.core.cache.backends.locmem.LocMemCache",
    }
)


def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """Check what matters only in production."""
    return [
        *(
            message
            for client in list_clients()
            for check in (_check_redirect_uri, _check_hosts, _check_proxy, _check_endpoints)
            for message in check(client)
        ),
        *_check_service_accounts(),
        *_check_security_events_url(),
        *_check_caches(),
        *_check_testing(),
    ]


def _check_redirect_uri(client: OAuthClient) -> Iterator[CheckMessage]:
    uri, listed = client.redirect_uri, client.redirect_uris
    if uri and listed and uri not in listed:
        yield warning(
            "W008",
            f"The REDIRECT_URI of the client {client.name!r} is not listed in its secrets file.",
            hint=f"Add {uri} to the client in the Google console and download the file again.",
        )
    if not any(_is_public(known) for known in ([uri] if uri else listed or ["https://"])):
        yield warning(
            "W009",
            f"No redirect URI of the client {client.name!r} is public: https, and not on loopback.",
            hint="Add the site's callback to the client in the Google console, which must be of "
            'type "Web application", and download the file again.',
        )


def _check_hosts(client: OAuthClient) -> Iterator[CheckMessage]:
    """Find a callback on a host that Django rejects."""
    uris = [client.redirect_uri] if client.redirect_uri else client.redirect_uris
    hosts = [urlsplit(uri).hostname or "" for uri in uris if _is_public(uri)]
    if hosts and not any(validate_host(host, django_conf.allowed_hosts) for host in hosts):
        yield warning(
            "W029",
            f"No host in the redirect URIs of the client {client.name!r} is in ALLOWED_HOSTS: "
            f"users who return to {hosts[0]} get a 400.",
            hint=f"Add {hosts[0]!r} to ALLOWED_HOSTS, or correct the redirect URI. Behind a proxy "
            "that changes the host, silence this check.",
        )


def _check_proxy(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.redirect_uri or client.redirect_uris or django_conf.secure_proxy_ssl_header:
        return
    yield warning(
        "W010",
        f"Behind a proxy that terminates https, the redirect URI of the client {client.name!r} "
        "would begin with http, which Google rejects.",
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
            f"The client {client.name!r} does not use Google's endpoints: {', '.join(strange)}.",
            hint="Remove these settings. If the client is another provider's, silence this check.",
        )


def _check_service_accounts() -> Iterator[CheckMessage]:
    if django_conf.debug:
        return
    for name, account in read_or_default(lambda: conf.service_accounts, {}).items():
        if account.get("API_ENDPOINT"):
            yield warning(
                "W011",
                f"The service account {name!r} does not use Google's APIs: it has an API_ENDPOINT.",
                hint="Remove it: all requests to https://*.googleapis.com would be sent there, "
                "with their credentials.",
            )


def _check_security_events_url() -> Iterator[CheckMessage]:
    url = read_or_default(lambda: conf.security_events_url, None)
    if url and not _is_public(url):
        yield warning(
            "W021",
            f'GOOGLE_LINK["SECURITY_EVENTS_URL"] is {url!r}, to which Google sends no events.',
            hint="Use an https address that is not on loopback, in a domain that is authorized in "
            "the Google Cloud project.",
        )


def _check_caches() -> Iterator[CheckMessage]:
    """Find caches that are not shared by all processes, but have to be."""
    alias = django_conf.session_cache
    if alias is not None and django_conf.find_cache_backend(alias) in _UNSHARED_CACHES:
        yield warning(
            "W030",
            f"Sessions are stored in the cache {alias!r}, which processes do not share: a user "
            "whom Google redirects to another process has no session.",
            hint="Use a shared cache, such as Redis, or "
            'SESSION_ENGINE = "django.contrib.sessions.backends.db".',
        )
    accounts = read_or_default(lambda: conf.service_accounts, {})
    if accounts and django_conf.find_cache_backend("default") in _UNSHARED_CACHES:
        yield warning(
            "W032",
            "The default cache is not shared by processes, so that each of them requests access "
            "tokens for the service accounts.",
            hint="Use a shared cache, such as Redis, or silence this check.",
        )


def _check_testing() -> Iterator[CheckMessage]:
    if apps.is_installed("django_google_link.testing") and not django_conf.debug:
        yield warning(
            "W031",
            "django_google_link.testing, which contains a fake Google, is in INSTALLED_APPS.",
            hint="Remove it in production.",
        )


def _is_public(uri: str) -> bool:
    return uri.startswith("https://") and not is_loopback(uri)
