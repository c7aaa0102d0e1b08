"""An authorization server that attacks a site's other ones (RFC 9700 section 4.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from tests.support.servers import served


class HostileProvider:
    """Redirects users to another server, and records everything that it receives.

    Attributes:
        forward: returns the URL to redirect to for the query of an authorization request.
        received: the forms of all requests but the authorization requests, and their ``bearer``.
    """

    def __init__(self) -> None:
        self.url = ""
        self.forward: Callable[[dict[str, str]], str] = lambda query: ""
        self.received: list[dict[str, str]] = []

    @Request.application
    def application(self, request: Request) -> Response:
        """Respond to a request."""
        if request.path == "/authorize":
            return Response(status=302, headers={"Location": self.forward(request.args.to_dict())})
        bearer = request.headers.get("Authorization", "")
        self.received.append({**request.form.to_dict(), **request.args.to_dict(), "bearer": bearer})
        body = {"access_token": "x", "token_type": "Bearer", "refresh_token": "x", "keys": []}
        return Response(json.dumps(body), content_type="application/json")

    def client_settings(self, **keys: Any) -> dict[str, Any]:
        """Return the settings of a client registered at this provider."""
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
    """Run such a provider on this machine."""
    provider = HostileProvider()
    with served(provider.application) as url:
        provider.url = url
        yield provider


def forward_to(authorization_url: str, **params: str) -> Callable[[dict[str, str]], str]:
    """Redirect users to this endpoint with their ``state`` and these parameters."""
    return lambda query: f"{authorization_url}?{urlencode({**params, 'state': query['state']})}"
