"""Determines how a server is reached: through which proxy, and trusting which certificates.

Like requests and OpenSSL, it reads the environment: ``HTTPS_PROXY`` and ``NO_PROXY``;
``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``. It does not read
``.netrc``. Plain HTTP, which is only used on loopback, never goes through a proxy: it would see the
tokens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from .failures import RouteError

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

Certificate = str | tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The trusted certificates, and the client certificate.

    A modified file results in a different value, so that a renewed bundle needs no restart.
    """

    #: Where the path was configured, for error messages.
    source: str = field(compare=False)
    #: A file, or one or more directories; ``None`` disables verification.
    bundle: str | None
    certificate: Certificate
    versions: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Route:
    """What distinguishes connections to the same host."""

    #: The URL, with its credentials if it has any.
    proxy: str | None = field(repr=False)
    trust: Trust | None


def find_route(
    url: str,
    *,
    proxies: Mapping[str, str] | None = None,
    verify: bool | str | None = True,
    certificate: Certificate = None,
) -> Route:
    """Return the route to a server.

    Args:
        url: the URL of the request.
        proxies: overrides the environment's proxies, in the form that requests uses.
        verify: whether to verify certificates; or the path of the trusted ones, which overrides the
            environment's.
        certificate: the path of the client certificate and its key, or the paths of both.

    Raises:
        RouteError: if a configured file does not exist.
    """
    if url[:8].lower() != "https://":
        return Route(proxy=None, trust=None)
    return Route(proxy=_find_proxy(url, proxies), trust=_find_trust(verify, certificate))


def _find_proxy(url: str, proxies: Mapping[str, str] | None) -> str | None:
    from urllib.request import getproxies

    from requests import utils

    if not proxies and not getproxies():
        return None  # Evaluating NO_PROXY takes longer than everything else here.

    proxy = utils.select_proxy(url, {**utils.get_environ_proxies(url), **(proxies or {})})
    try:
        return str(utils.prepend_scheme_if_needed(proxy, "http")) if proxy else None  # type: ignore[no-untyped-call]
    except ValueError:  # It quotes the URL with the credentials.
        raise RouteError("The URL of the proxy is not valid.") from None


def _find_trust(verify: bool | str | None, certificate: Certificate) -> Trust:
    source, bundle = _find_bundle(verify)
    own = (certificate,) if isinstance(certificate, str) else certificate or ()
    versions = [_read_version(path, source) for path in (bundle or "").split(os.pathsep) if path]
    versions += [_read_version(path, "The client certificate") for path in own]
    return Trust(source=source, bundle=bundle, certificate=certificate, versions=tuple(versions))


def _find_bundle(verify: bool | str | None) -> tuple[str, str | None]:
    if isinstance(verify, str):
        return "verify", verify
    if verify is False:
        return "", None
    for name in _BUNDLES:
        if path := os.environ.get(name):
            return name, path
    from certifi import where

    return "certifi", where()


def _read_version(path: str, source: str) -> tuple[float, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise RouteError(f"{source} names {path}: {error.strerror}") from None
    return status.st_mtime, status.st_size
