"""``manage.py google_link_authorize``: link an account from a terminal."""

from __future__ import annotations

import secrets
import webbrowser
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError
from django.db import IntegrityError
from django.views.decorators.debug import sensitive_variables

from django_google_link.accounts.grants import save_grant
from django_google_link.accounts.revocations import end_grant
from django_google_link.conf.clients import OAuthClient, get_client
from django_google_link.conf.validators import is_loopback
from django_google_link.encryption import keyring
from django_google_link.exceptions import GoogleLinkError
from django_google_link.management.loopback import HOST, LoopbackServer
from django_google_link.models import GoogleAccount
from django_google_link.oauth import endpoints
from django_google_link.oauth.authorization_response import exchange
from django_google_link.oauth.endpoints import TokenResponse
from django_google_link.oauth.id_token import Identity
from django_google_link.scopes import IDENTITY_SCOPES, missing_scopes, parse_scopes
from django_google_link.secret import Secret

from ._users import user_named

_PORT = 8765

_INVITATION = """\
Open this address in a browser, and allow the access:

  {url}

Google then sends the browser to {redirect_uri}, which must be on this machine: from another
one, forward the port first with "ssh -L {port}:127.0.0.1:{port}". Ctrl-C stops.
"""


class Command(BaseCommand):
    """Ask for consent in a browser, and store what comes of it as the web flow does."""

    help = "Link a Google account for a user, through a browser on this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("user", help="the user's name on this site")
        parser.add_argument("--client", default="default", help="default: %(default)s")
        parser.add_argument(
            "--scopes", nargs="+", default=(), help="to ask for, besides the client's"
        )
        parser.add_argument(
            "--port", type=int, help="of this machine; by default what the client's file says"
        )
        parser.add_argument("--no-browser", action="store_true", help="only print the address")
        parser.add_argument(
            "--timeout", type=int, default=300, metavar="SECONDS", help="default: %(default)s"
        )

    def handle(
        self,
        *,
        user: str,
        client: str,
        scopes: Iterable[str],
        port: int | None,
        no_browser: bool,
        timeout: int,
        **options: Any,
    ) -> None:
        """Link it.

        Raises:
            CommandError: when it does not work out; nothing has changed then.
        """
        owner = user_named(user)
        try:
            oauth_client = get_client(client)
            keyring.key_ids()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        asked = parse_scopes((*IDENTITY_SCOPES, *oauth_client.scopes, *scopes))
        port, path = _address(oauth_client, port)
        try:
            server = LoopbackServer(port, path)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on port {port}: {error}. Try --port.") from None
        with server:
            flow = _Flow(self, oauth_client, asked, server, timeout, opens=not no_browser)
            try:
                account = flow.link(owner)
            except GoogleLinkError as error:
                raise CommandError(f"{error} Nothing has changed.") from None
            except TimeoutError:
                raise CommandError(f"Nobody came back within {timeout} seconds.") from None
            except KeyboardInterrupt:
                raise CommandError("Stopped. Nothing has changed.", returncode=130) from None
        self.stdout.write(self.style.SUCCESS(f"{account} is linked to {user}."))
        missing = sorted(missing_scopes(asked, account.granted_scopes))
        if missing:
            self.stdout.write(f"Not granted: {', '.join(missing)}")


class _Flow:
    """One authorization, or two: Google may have to be asked for a refresh token again."""

    def __init__(
        self,
        command: BaseCommand,
        client: OAuthClient,
        scopes: tuple[str, ...],
        server: LoopbackServer,
        timeout: int,
        *,
        opens: bool,
    ) -> None:
        self._command = command
        self._client = client
        self._scopes = scopes
        self._server = server
        self._timeout = timeout
        self._opens = opens

    @sensitive_variables()
    def link(self, owner: Any) -> GoogleAccount:
        rows = GoogleAccount.objects.for_user(owner, client=self._client.name)
        linked = [row for row in rows.filter(client_id=self._client.client_id) if row.is_active]
        response, identity = self._ask("select_account" if linked else "consent")
        is_held = any(row.sub == identity.sub for row in linked)
        if not response.refresh_token and not is_held:
            response, identity = self._ask("consent", login_hint=identity.sub)
        if not response.refresh_token and not is_held:
            raise CommandError(
                "Google gave no lasting access. Remove this site from the apps with access to the "
                "Google Account, in its security settings, and try again."
            )
        try:
            return save_grant(
                owner, self._client, identity, response, requested_scopes=self._scopes
            )
        except IntegrityError:  # The user was deleted meanwhile: nobody else could end this grant.
            token = response.refresh_token or response.access_token
            end_grant(self._client, identity.sub, token, owner=str(owner.pk))
            raise CommandError("The user is gone, and so is the grant.") from None

    @sensitive_variables()
    def _ask(self, prompt: str, *, login_hint: str = "") -> tuple[TokenResponse, Identity]:
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        verifier = secrets.token_urlsafe(64)
        port = self._server.server_port
        redirect_uri = f"http://{HOST}:{port}{self._server.path}"
        url = endpoints.authorization_url(
            self._client,
            redirect_uri=redirect_uri,
            scopes=self._scopes,
            state=state,
            nonce=nonce,
            code_verifier=verifier,
            prompt=prompt,
            login_hint=login_hint,
        )
        invitation = _INVITATION.format(url=url, redirect_uri=redirect_uri, port=port)
        self._command.stdout.write(invitation)
        if self._opens:
            webbrowser.open(url)
        query = dict(self._server.receive(state, seconds=self._timeout))
        if "error" in query:
            refused = query["error"] == "access_denied"
            raise CommandError(
                "Access was refused at Google. Nothing has changed."
                if refused
                else f"Google sent the browser back with {query['error'][:100]!r}."
            )
        return exchange(
            self._client,
            code=Secret(query.pop("code", "")),
            issuer=query.get("iss"),
            redirect_uri=redirect_uri,
            code_verifier=verifier,
            nonce=nonce,
        )


def _address(client: OAuthClient, port: int | None) -> tuple[int, str]:
    """Return the port and the path to which Google may send the browser.

    A client of type *Desktop app* may use any port (RFC 8252 section 7.3), a *Web application* only
    what is listed.

    Raises:
        CommandError: when nothing of this machine is listed.
    """
    if client.type == "installed":
        return port or 0, "/"
    listed = [
        urlsplit(uri)
        for uri in client.redirect_uris
        if is_loopback(uri) and urlsplit(uri).hostname == HOST and uri.startswith("http:")
    ]
    for uri in listed:
        if port in {None, uri.port}:
            return uri.port or 80, uri.path or "/"
    if client.redirect_uris:
        raise CommandError(
            f"The Google client {client.name!r} is a web application, and its secrets file lists "
            f"no redirect URI http://{HOST}:{port or _PORT}/. Add that to the client in the Google "
            'console and download the file again, or name a client of type "Desktop app".'
        )
    return port or _PORT, "/"
