"""TLS contexts. Connections with the same trust share one: creating it takes 25 ms of CPU time."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from .failures import RouteError
from .routes import Trust


class _SharedContext(ssl.SSLContext):
    """A context that urllib3 cannot modify: it would set the ALPN protocols for each connection,
    while another thread may be connecting."""

    is_complete = False

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Set the protocols, but only once."""
        if not self.is_complete:
            super().set_alpn_protocols(alpn_protocols)
            self.is_complete = True


def make_context(trust: Trust) -> ssl.SSLContext:
    """Return a new context for clients.

    Raises:
        RouteError: if a file is not valid.
    """
    context = _SharedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    context.set_alpn_protocols(["http/1.1"])
    if trust.bundle is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_bundle(context, trust.bundle, trust.source)
    if trust.certificate is not None:
        _load_certificate(context, trust.certificate)
    return context


def _load_bundle(context: ssl.SSLContext, path: str, source: str) -> None:
    try:
        if os.path.isdir(path.partition(os.pathsep)[0]):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise RouteError(
            f"{source} names {path}, which has no certificates: {error.strerror}"
        ) from None


def _load_certificate(context: ssl.SSLContext, certificate: str | tuple[str, str]) -> None:
    path, key = (certificate, None) if isinstance(certificate, str) else certificate
    try:
        # With an empty password: OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(path, key, password="")
    except OSError as error:
        raise RouteError(
            f"The client certificate {path} cannot be used: {error.strerror}"
        ) from None
