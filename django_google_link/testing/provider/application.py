"""The WSGI application: which endpoint a request goes to, and what happens to it before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import pages
from .consent import authorize, decide
from .discovery import certs, discovery
from .endpoints import PATHS
from .recording import record
from .resources import Endpoint, unknown_method, userinfo
from .revocation import revoke
from .service_accounts import generate_access_token, sign_jwt
from .token_endpoint import token

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .provider import Provider


class Application:
    """Serves one provider.

    Args:
        provider: the state to work on.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("/", "GET"): _start,
            (PATHS["style"], "GET"): lambda provider, request: pages.stylesheet(),
            (PATHS["discovery"], "GET"): discovery,
            (PATHS["authorize"], "GET"): authorize,
            (PATHS["consent"], "POST"): decide,
            (PATHS["token"], "POST"): token,
            (PATHS["revoke"], "POST"): revoke,
            (PATHS["certs"], "GET"): certs,
            (PATHS["userinfo"], "GET"): userinfo,
            (PATHS["generate_access_token"], "POST"): generate_access_token(provider),
            (PATHS["sign_jwt"], "POST"): sign_jwt(provider),
        }

    def add(self, rule: str, method: str, endpoint: Endpoint) -> None:
        """Serve an endpoint at a path. The last one added for a path and method answers.

        Args:
            rule: in werkzeug's syntax, such as ``"/calendar/v3/calendars/<id>/events"``.
            method: the HTTP method.
            endpoint: called with the provider, the request, and the path's arguments.
        """
        self._endpoints[rule, method] = endpoint

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer: WSGIApplication = self._answer(Request(environ))
        except HTTPException as error:
            answer = error
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        recorded = record(request, self._provider.now())
        with self._provider.lock:
            self._provider.requests.add(recorded)
        if request.path == PATHS["token"]:
            time.sleep(self._provider.behaviour.delay)
        with self._provider.lock:
            fault = self._provider.faults.take(request.path)
        if fault:
            return fault.answer()
        try:
            routes = _routes(tuple(self._endpoints))
            name, path_args = routes.bind_to_environ(request.environ).match()
        except NotFound:
            return unknown_method(request)
        return self._endpoints[name](self._provider, request, **path_args)


@lru_cache(maxsize=64)
def _routes(endpoints: tuple[tuple[str, str], ...]) -> Map:
    """Return the map of these paths and methods: to make one takes longer than many a test."""
    return Map(
        [Rule(path, methods=[method], endpoint=(path, method)) for path, method in endpoints]
    )


def _start(provider: Provider, request: Request) -> Response:
    with provider.lock:
        accounts = provider.directory.users_in(None)
    return pages.start_page(accounts)
