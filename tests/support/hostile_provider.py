"""An authorization server that attacks the other ones of a site (RFC 9700 section 4.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from tests.support.servers import served


class HostileProvider:
    """Sends whoever comes to another server, and keeps whatever it is sent.

    Attributes:
        forward: makes of the query of an authorization request the address to send the user to.
        received: the forms of all requests but the authorization requests, and their ``bearer``.
    """

    def __init__(self) -> None:
        self.url = ""
        self.forward: Callable[[dict[str, str]], str] = lambda query: ""
        self.received: list[dict[str, str]] = []

    @Request.application
    def application(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == "/authorize":
            return Response(status=302, headers={"Location": self.forward(request.args.to_dict())})
        bearer = request.headers.get("Authorization", "")
        self.received.append({**request.form.to_dict(), **request.args.to_dict(), "bearer": bearer})
        body = {"access_token": "x", "token_type": "Bearer", "refresh_token": "x", "keys": []}
        return Response(json.dumps(body), content_type="application/json")

    def client_settings(self, **keys: Any) -> dict[str, Any]:
        """Return the settings of a client that is registered here."""
        return {
            "CLIENT_ID": "daybook",
            "CLIENT_SECRET": "hush-hush",
            "ISSUER": self.url,
            "AUTHORIZATION_ENDPOINT": f"{self.url}/authorize",
            "TOKEN_ENDPOINT": f"{self.url}/token",
            "REVOCATION_ENDPOINT": f"{self.url}/revoke",
            "JWKS_URI": f"{self.url}/jwks",
            **keys,
        }


@contextmanager
def hostile_provider() -> Iterator[HostileProvider]:
    """Serve one on this machine."""
    provider = HostileProvider()
    with served(provider.application) as url:
        provider.url = url
        yield provider


def forward_to(authorization_url: str, **params: str) -> Callable[[dict[str, str]], str]:
    """Send users to this endpoint with the ``state`` that they bring, and all else as given."""
    return lambda query: f"{authorization_url}?{urlencode({**params, 'state': query['state']})}"
