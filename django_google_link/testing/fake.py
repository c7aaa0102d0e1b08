"""``FakeGoogle``, assembled from its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from .browser.consent import Answer, give_consent
from .provider.application import Application
from .provider.endpoints import PATHS
from .provider.errors import FakeGoogleError
from .provider.identities import FakeUser
from .provider.resources import Handler, protected
from .provider.scopes import IDENTITY, normalize_scopes
from .provider.server import HOST, LoopbackServer
from .security_events import SecurityEvents
from .token_controls import TokenControls
from .traffic import Traffic

if TYPE_CHECKING:
    from django.http import HttpResponse
    from django.test import Client

H = TypeVar("H", bound=Handler)
_MANY_REDIRECTS = 20


class FakeGoogle(TokenControls, SecurityEvents, Traffic):
    """An OAuth 2.0 and OpenID Connect provider on loopback that behaves like Google.

    Browsers, ``requests`` and other processes can use it. Its users and its faults are set up in
    Python::

        with FakeGoogle() as google:
            alice = google.add_user("alice@example.com")
            google.client.redirect_uris.append("http://testserver/callback/")
            location = google.consent(authorization_url, user=alice)

    Args:
        port: the port on 127.0.0.1; 0 chooses a free one.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self._port = port
        self._application = Application(self._provider)
        self._server: LoopbackServer | None = None
        self._next_answer = Answer()

    def __repr__(self) -> str:
        return f"<FakeGoogle {self._provider.issuer or 'not started'}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start serving. After ``stop()`` the port and all data stay the same.

        Raises:
            OSError: if the port is in use.
        """
        if self._server is None:
            self._server = LoopbackServer(self._application, self._port)
            self._port = self._server.port
            self._provider.issuer = f"http://{HOST}:{self._port}"
        return self

    def stop(self) -> None:
        """Stop serving: from now on connections are refused."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def consent(
        self,
        authorization_url: str,
        *,
        user: FakeUser | None = None,
        grant: Collection[str] | None = None,
        deny: bool = False,
    ) -> str:
        """Act as the user's browser, and return the URL that it is redirected to.

        If Google need not ask, since everything is granted, the answers are ignored.

        Args:
            authorization_url: the URL at this fake that the application redirects to.
            user: the account to choose; by default the one that the page preselects.
            grant: the scopes to leave ticked; by default all.
            deny: whether to press Cancel.

        Raises:
            FakeGoogleError: with the text of the error page, if one is shown; if the page does not
                offer this answer; if the URL is not this fake's.
        """
        if not authorization_url.startswith(f"{self.url}/"):
            raise FakeGoogleError(
                f"This is not a URL of this FakeGoogle: {authorization_url}. "
                "Follow the redirects of your own site first."
            )
        prepared, self._next_answer = self._next_answer, Answer()
        answer = Answer(
            user=user,
            grant=prepared.grant if grant is None else grant,
            deny=deny or prepared.deny,
        )
        return give_consent(authorization_url, answer)

    def answer_link(
        self,
        link: Mapping[str, Any],
        *,
        user: FakeUser | None = None,
        grant: Collection[str] | None = None,
        deny: bool = False,
    ) -> dict[str, str]:
        """Act as a front end and its user, for a link that ``POST links/`` has returned.

        They visit Google in the mode of the link. The response is returned as data for
        ``POST links/complete/``::

            link = client.post("/google/api/links/", {}, content_type="application/json").json()
            answer = fake_google.answer_link(link)
            client.post("/google/api/links/complete/", answer, content_type="application/json")

        Args:
            link: the link.
            user: the account to choose; by default the one that is preselected.
            grant: the scopes to leave ticked; by default all.
            deny: whether to press Cancel.

        Raises:
            FakeGoogleError: as :meth:`consent`; also in the mode ``mobile`` if there are several
                accounts and ``user`` is not given.
        """
        if link["mode"] == "mobile":
            return self._answer_mobile_link(link, user=user, grant=grant, deny=deny)
        url = link["authorization_url"] or self._write_script_url(link)
        back = self.consent(url, user=user, grant=grant, deny=deny)
        address, _, query = back.partition("?")
        return {**dict(parse_qsl(query)), "ticket": link["ticket"], "redirect_uri": address}

    def _write_script_url(self, link: Mapping[str, Any]) -> str:
        """Return the URL that Google's script opens in its popup."""
        client = self.client_with(link["client_id"])
        origin = link["redirect_uri"]
        if not origin.startswith("http"):  # The redirect URI of the token request is "postmessage".
            origin = next(iter(client.javascript_origins), "http://localhost")
        params = {
            "client_id": client.client_id,
            "gsiwebsdk": "3",
            "origin": origin,
            "scope": link["scope"],
            "state": link["state"],
            "login_hint": link["login_hint"],
            "include_granted_scopes": "true" if link["include_granted_scopes"] else "false",
            **({"hd": link["hd"]} if link["hd"] else {}),
        }
        return f"{self.url}{PATHS['authorize']}?{urlencode(params)}"

    def _answer_mobile_link(
        self,
        link: Mapping[str, Any],
        *,
        user: FakeUser | None,
        grant: Collection[str] | None,
        deny: bool,
    ) -> dict[str, str]:
        if deny:
            return {"ticket": link["ticket"], "error": "access_denied"}
        with self._provider.lock:
            users = self._provider.directory.users_in(link["hd"])
        if user is None and len(users) != 1:
            raise FakeGoogleError("There are several accounts, or none: pass user=.")
        asked = normalize_scopes(link["scope"].split())
        kept = asked if grant is None else [*IDENTITY, *normalize_scopes(grant)]
        code = self.server_auth_code(
            user or users[0],
            [scope for scope in asked if scope in kept],
            client=self.client_with(link["client_id"]),
            force_refresh_token="consent" in link["prompt"].split(),
        )
        return {"ticket": link["ticket"], "code": code}

    def deny(self) -> None:
        """Make the next ``consent()`` press Cancel."""
        self._next_answer = Answer(deny=True)

    def grant_only(self, *scopes: str) -> None:
        """Make the next ``consent()`` leave only these scopes ticked."""
        self._next_answer = Answer(grant=scopes)

    def browse(
        self, client: Client, path: str, *, user: FakeUser | None = None, **extra: Any
    ) -> HttpResponse:
        """Visit a page as a browser does, including redirects to Google, consent and back.

        Args:
            client: Django's test client.
            path: the path of the page.
            user: the account to choose; by default the one that the page preselects.
            extra: arguments of ``client.get()``, such as ``headers`` and ``secure``; query
                parameters are only sent with the first request.

        Raises:
            FakeGoogleError: as :meth:`consent`; also if the redirects do not end, or lead to
                another site.
        """
        response: Any = client.get(path, **{**extra, "follow": False})
        for name in ("data", "query_params", "follow"):
            extra.pop(name, None)
        for _ in range(_MANY_REDIRECTS):
            if response.status_code not in {301, 302, 303, 307, 308}:
                return cast("HttpResponse", response)
            here = response.wsgi_request.build_absolute_uri()
            url = urljoin(here, response["Location"])
            if url.startswith(f"{self.url}/"):
                url = self.consent(url, user=user)
            there = urlsplit(url)
            if there.hostname != urlsplit(here).hostname:
                raise FakeGoogleError(f"{here} leads to another site: {url}")
            path = urlunsplit(("", "", *there[2:]))
            response = client.get(path, **{**extra, "secure": there.scheme == "https"})
        raise FakeGoogleError(f"{path} redirects endlessly.")

    def answer(
        self,
        path: str,
        answer: dict[str, Any] | list[Any],
        *,
        method: str = "GET",
        scopes: Sequence[str] = (),
    ) -> None:
        """Set the response of an API method to requests with a valid access token.

        The requests are in ``requests_to(path)``. For varying responses see :meth:`route`.

        Args:
            path: the path, such as ``"/calendar/v3/calendars/primary/events"``.
            answer: the data to send as JSON.
            method: the HTTP method.
            scopes: any one of these scopes is required; if empty, any token is accepted.
        """
        self.route(path, methods=[method], scopes=scopes)(lambda request, user, **args: answer)

    def route(
        self, path: str, *, methods: Sequence[str] = ("GET",), scopes: Sequence[str] = ()
    ) -> Callable[[H], H]:
        """Register an API method, for requests with a valid access token::

            @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
            def events(request, user, id):
                return {"items": []}

        The handler takes werkzeug's ``Request``, the ``FakeUser``, and the arguments in the path.
        It returns data to send as JSON, or a werkzeug ``Response``, and runs in a server thread.

        Args:
            path: the path, in werkzeug's syntax. It replaces a method registered for it earlier.
            methods: the HTTP methods.
            scopes: any one of these scopes is required; if empty, any token is accepted.

        Raises:
            ValueError: for a URL instead of a path.
        """
        if not path.startswith("/"):
            raise ValueError(f"The path {path!r} does not begin with a slash. Omit the host.")

        def register(handler: H) -> H:
            for method in methods:
                self._application.add(path, method, protected(handler, scopes))
            return handler

        return register
