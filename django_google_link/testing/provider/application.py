"""The WSGI application: routes requests, records them, and applies faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import pages
from .consent import authorize, decide
from .discovery import certs, discovery, oauth_metadata
from .endpoints import PATHS
from .recording import record
from .resources import Endpoint, read_bearer_token, unknown_method, userinfo
from .revocation import revoke
from .security_events import (
    read_status,
    read_stream,
    risc_configuration,
    update_status,
    update_stream,
    verify_stream,
)
from .service_accounts import generate_access_token, sign_jwt
from .token_endpoint import token

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .faults import Fault
    from .provider import Provider

_map_building = threading.Lock()


class Application:
    """The application of one provider.

    Args:
        provider: the state that the endpoints use.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("/", "GET"): _show_start_page,
            (PATHS["style"], "GET"): lambda provider, request: pages.stylesheet(),
            (PATHS["script"], "GET"): lambda provider, request: pages.script("gsi-client.js"),
            (PATHS["relay"], "GET"): lambda provider, request: pages.script("relay.js"),
            (PATHS["discovery"], "GET"): discovery,
            (PATHS["oauth_metadata"], "GET"): oauth_metadata,
            (PATHS["authorize"], "GET"): authorize,
            (PATHS["consent"], "POST"): decide,
            (PATHS["token"], "POST"): token,
            (PATHS["revoke"], "POST"): revoke,
            (PATHS["certs"], "GET"): certs,
            (PATHS["userinfo"], "GET"): userinfo,
            (PATHS["generate_access_token"], "POST"): generate_access_token(provider),
            (PATHS["sign_jwt"], "POST"): sign_jwt(provider),
            (PATHS["risc_configuration"], "GET"): risc_configuration,
            (PATHS["stream"], "GET"): read_stream(provider),
            (PATHS["stream_update"], "POST"): update_stream(provider),
            (PATHS["stream_status"], "GET"): read_status(provider),
            (PATHS["stream_status_update"], "POST"): update_status(provider),
            (PATHS["stream_verify"], "POST"): verify_stream(provider),
        }
        self._routes = _build_map(self._endpoints)

    def add(self, rule: str, method: str, endpoint: Endpoint) -> None:
        """Add an endpoint. It replaces one that was added for the same path and method.

        Args:
            rule: the path, in werkzeug's syntax, such as ``"/calendar/v3/calendars/<id>/events"``.
            method: the HTTP method.
            endpoint: called with the provider, the request, and the arguments in the path.
        """
        with self._provider.lock:
            # In this order, since other threads use both: the map must not lead to nothing.
            endpoints = {**self._endpoints, (rule, method): endpoint}
            routes = _build_map(endpoints)
            self._endpoints = endpoints
            self._routes = routes

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
            fault = self._provider.faults.take(request.path) or _find_fault(self._provider, request)
        if fault is None:
            return self._respond(request)
        if fault.takes_effect:
            self._respond(request)
        return fault.answer()

    def _respond(self, request: Request) -> Response:
        try:
            name, path_args = self._routes.bind_to_environ(request.environ).match()
        except NotFound:
            return unknown_method(request)
        response = self._endpoints[name](self._provider, request, **path_args)
        if response.status_code == 200:
            _tamper_response(self._provider, request.path, response)
        return response


def _find_fault(provider: Provider, request: Request) -> Fault | None:
    """Return the lasting fault for this request; the most recent one, if there are several."""
    if not provider.lasting_faults:
        return None
    fields = ("refresh_token", "code", "token")
    value = next(filter(None, map(request.form.get, fields)), "") or read_bearer_token(request)
    user = provider.find_holder(value)
    faults = (
        lasting.fault
        for lasting in reversed(provider.lasting_faults)
        if lasting.meets(request.path, user)
    )
    return next(faults, None)


def _tamper_response(provider: Provider, path: str, response: Response) -> None:
    with provider.lock:
        tampering = provider.response_tamperings.take(path)
    if tampering:
        tampering.apply(response)


def _build_map(endpoints: Iterable[tuple[str, str]]) -> Map:
    """Return the URL map for these paths and methods, ready to be used by several threads.

    It is built in one thread at a time: werkzeug compiles each rule with ``ast.parse()``, which
    fails in Python 3.11 if two threads call it. On first use werkzeug sorts the rules, under its
    own lock.
    """
    with _map_building:
        return _make_map(tuple(endpoints))


@lru_cache(maxsize=64)
def _make_map(endpoints: tuple[tuple[str, str], ...]) -> Map:
    """Return the URL map. Cached, since building it takes longer than many tests."""
    return Map(
        [Rule(path, methods=[method], endpoint=(path, method)) for path, method in endpoints]
    )


def _show_start_page(provider: Provider, request: Request) -> Response:
    with provider.lock:
        accounts = provider.directory.users_in(None)
    return pages.start_page(accounts)
