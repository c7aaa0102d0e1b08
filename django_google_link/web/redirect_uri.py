"""Determines the redirect URI, which has to be registered at Google."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import override

from ..conf.clients import OAuthClient
from ..conf.django import django_conf
from ..conf.validators import is_loopback, normalize_host
from ..exceptions import SettingsError

logger = logging.getLogger("django_google_link")


def callback_path(client: OAuthClient) -> str:
    """Return the path of a client's callback, which is the same in every language.

    Within ``i18n_patterns`` it would otherwise differ, but only one is registered at Google.
    """
    with override(django_conf.language_code):
        return reverse("google_link:callback", args=client.callback_args)


def choose_redirect_uri(request: HttpRequest, client: OAuthClient) -> str:
    """Return the redirect URI of a client, as registered at Google.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if the secrets file does not list it.
    """
    if client.redirect_uri:
        return client.redirect_uri
    path = callback_path(client)
    scheme, host = request.scheme or "http", normalize_host(request.get_host(), request.scheme)
    built = f"{scheme}://{host}{path}"
    if built in client.redirect_uris:
        return built
    if client.type == "installed":
        return _choose_loopback(client, built)
    if not client.redirect_uris:
        is_real = client.is_google and not is_loopback(client.authorization_endpoint)
        if is_real and not request.is_secure() and not is_loopback(built):
            logger.warning(
                "Google does not accept the redirect URI %s: it must be https, unless on loopback. "
                "Open the site at http://localhost; behind a proxy, set SECURE_PROXY_SSL_HEADER or "
                "the client's REDIRECT_URI.",
                built,
            )
        return built
    # Behind a proxy the request may not have the public scheme and host, but the file has. On
    # loopback, the developer may have used another name of this machine.
    is_local = is_loopback(built)
    listed = [
        uri
        for uri in client.redirect_uris
        if urlsplit(uri).path == path
        and is_loopback(uri) == is_local
        and (not is_local or urlsplit(uri).port == urlsplit(built).port)
    ]
    if len(listed) == 1:
        return listed[0]
    if scheme == "http" and not is_local:
        raise SettingsError(
            "E018",
            f"{built} is not a redirect URI of the client {client.name!r}, and cannot be one: "
            "Google accepts http on loopback only.",
            hint=f"The file has {', '.join(client.redirect_uris)}: open the site at that address. "
            "Behind a proxy that terminates https, set SECURE_PROXY_SSL_HEADER or REDIRECT_URI.",
        )
    raise SettingsError(
        "E018",
        f"{built} is not a redirect URI of the client {client.name!r}.",
        hint=f"The file has {', '.join(client.redirect_uris)}: open the site at that address, or "
        "add this one in the Google console and download the file again, or set REDIRECT_URI.",
    )


def _choose_loopback(client: OAuthClient, built: str) -> str:
    """Return the redirect URI of a Desktop client: any on loopback (RFC 8252 section 7.3)."""
    if is_loopback(built):
        return built
    raise SettingsError(
        "E018",
        f"The client {client.name!r} is a Desktop client: Google redirects its users to their own "
        f"machine, never to {built}.",
        hint='In the Google console, under Clients, create a client of type "Web application" with '
        "this redirect URI, and use its file.",
    )


def find_other_host(request: HttpRequest, redirect_uri: str) -> str:
    """Return the host of the redirect URI if the user would have no session there.

    Otherwise the result is empty. Behind a proxy the host of the request may differ from the public
    one. Browsers treat names with and without ``www``, and different names of this machine, as
    different sites.
    """
    here = urlsplit(f"//{request.get_host()}").hostname or ""
    there = urlsplit(redirect_uri)
    name = there.hostname or ""
    are_both_local = is_loopback(f"http://{request.get_host()}") and is_loopback(redirect_uri)
    is_same_site = here.removeprefix("www.") == name.removeprefix("www.")
    if here == name or not (are_both_local or is_same_site):
        return ""
    domain = (django_conf.session_cookie_domain or "").lstrip(".").lower()
    if domain and all(f".{host}".endswith(f".{domain}") for host in (here, name)):
        return ""
    return there.netloc
