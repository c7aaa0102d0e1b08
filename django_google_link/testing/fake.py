"""FakeGoogle: the whole of it."""

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
    """An OAuth 2.0 and OpenID Connect provider on loopback, which behaves as Google does.

    Browsers, ``requests`` and other processes can use it, and Python sets who its users are and
    what goes wrong::

        with FakeGoogle() as google:
            alice = google.add_user("alice@example.com")
            google.client.redirect_uris.append("http://testserver/callback/")
            location = google.consent(authorization_url, user=alice)

    Args:
        port: where to listen on 127.0.0.1; 0 picks a free port.
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
        """Start to serve. After ``stop()`` the port stays the same, and nothing is forgotten.

        Raises:
            OSError: if the port is taken.
        """
        if self._server is None:
            self._server = LoopbackServer(self._application, self._port)
            self._port = self._server.port
            self._provider.issuer = f"http://{HOST}:{self._port}"
        return self

    def stop(self) -> None:
        """Stop to serve: connections are refused from now on."""
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
        """Do what the user's browser would, and return the URL that it is sent back to.

        Where Google asks nothing, since all is granted already, the answer is not needed.

        Args:
            authorization_url: the URL at this fake that the application redirects to.
            user: the account to choose; if not given, the one that the page preselects.
            grant: the scopes to leave ticked; if not given, all.
            deny: press Cancel.

        Raises:
            FakeGoogleError: with the text of the error page, if one is shown; if the page does not
                offer this answer; if the URL is not this fake's.
        """
        if not authorization_url.startswith(f"{self.url}/"):
            raise FakeGoogleError(
                f"Not a URL of this fake: {authorization_url}. "
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
        """Do what a front end and its user would with a link that ``POST links/`` has given.

        They go to Google in whatever mode it is, and what comes back is returned as the content of
        ``POST links/complete/``::

            link = client.post("/google/api/links/", {}, content_type="application/json").json()
            answer = fake_google.answer_link(link)
            client.post("/google/api/links/complete/", answer, content_type="application/json")

        Args:
            link: as it was given.
            user: the account to choose; if not given, the one that is preselected.
            grant: the scopes to leave ticked; if not given, all.
            deny: press Cancel.

        Raises:
            FakeGoogleError: as :meth:`consent`; also for a mobile app whose user is not named
                where there are several.
        """
        if link["mode"] == "mobile":
            return self._answer_mobile_link(link, user=user, grant=grant, deny=deny)
        url = link["authorization_url"] or self._write_script_url(link)
        back = self.consent(url, user=user, grant=grant, deny=deny)
        address, _, query = back.partition("?")
        return {**dict(parse_qsl(query)), "ticket": link["ticket"], "redirect_uri": address}

    def _write_script_url(self, link: Mapping[str, Any]) -> str:
        """Return where Google's script opens its popup."""
        client = self.client_with(link["client_id"])
        origin = link["redirect_uri"]
        if not origin.startswith("http"):  # It is exchanged with "postmessage".
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
            raise FakeGoogleError("Several accounts, or none: pass user=.")
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
        """Let the next ``consent()`` press Cancel."""
        self._next_answer = Answer(deny=True)

    def grant_only(self, *scopes: str) -> None:
        """Let the next ``consent()`` leave only these scopes ticked."""
        self._next_answer = Answer(grant=scopes)

    def browse(
        self, client: Client, path: str, *, user: FakeUser | None = None, **extra: Any
    ) -> HttpResponse:
        """Visit a page as a browser does: to Google if it must, through consent, and back.

        Args:
            client: Django's test client.
            path: of the page.
            user: the account to choose; if not given, the one that the page has preselected.
            extra: for ``client.get``: ``headers``, ``secure`` and the like; parameters are of the
                first request alone.

        Raises:
            FakeGoogleError: as :meth:`consent`, if the page never comes, and if it leads to
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
        raise FakeGoogleError(f"{path} redirects for ever.")

    def answer(
        self,
        path: str,
        answer: dict[str, Any] | list[Any],
        *,
        method: str = "GET",
        scopes: Sequence[str] = (),
    ) -> None:
        """Let an API method answer this to everybody with a live access token.

        What was asked is in ``requests_to(path)``. For more than one answer see :meth:`route`.

        Args:
            path: such as ``"/calendar/v3/calendars/primary/events"``.
            answer: sent as JSON.
            method: the HTTP method.
            scopes: any one of these is needed; none means that any token is enough.
        """
        self.route(path, methods=[method], scopes=scopes)(lambda request, user, **args: answer)

    def route(
        self, path: str, *, methods: Sequence[str] = ("GET",), scopes: Sequence[str] = ()
    ) -> Callable[[H], H]:
        """Register an API method, which answers to those with a live access token only::

            @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
            def events(request, user, id):
                return {"items": []}

        The handler gets werkzeug's ``Request``, the ``FakeUser``, and the path's arguments; it
        returns JSON data or a werkzeug ``Response``. It runs in the server's threads.

        Args:
            path: in werkzeug's syntax. What was registered for it earlier is replaced.
            methods: the HTTP methods.
            scopes: any one of these is enough; none means that any token is.

        Raises:
            ValueError: for an address in place of a path.
        """
        if not path.startswith("/"):
            raise ValueError(f"The path {path!r} does not begin with a slash: leave out the host.")

        def register(handler: H) -> H:
            for method in methods:
                self._application.add(path, method, protected(handler, scopes))
            return handler

        return register
