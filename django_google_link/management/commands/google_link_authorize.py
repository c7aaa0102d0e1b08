"""``manage.py google_link_authorize``: link an account from a terminal."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError
from django.views.decorators.debug import sensitive_variables

from django_google_link.accounts.authorization_requests import (
    PendingAuthorization,
    start_authorization,
)
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.accounts.linking import complete_authorization
from django_google_link.conf.clients import OAuthClient, get_client
from django_google_link.conf.scope_rules import missing_scopes
from django_google_link.conf.validators import is_loopback
from django_google_link.encryption import keyring
from django_google_link.exceptions import (
    AuthorizationDeniedError,
    GoogleLinkError,
    NoRefreshTokenError,
    OtherAccountError,
)
from django_google_link.management.browser import do_nothing, open_browser
from django_google_link.management.command import LinkCommand
from django_google_link.management.loopback import HOST, LoopbackServer
from django_google_link.management.users import user_named
from django_google_link.models import GoogleAccount
from django_google_link.operations.scopes import finish_retirements
from django_google_link.scopes import parse_scopes
from django_google_link.secret import Secret

_PORT = 8765

_INVITATION = """\
Open this URL in a browser, and grant access:

  {url}

The browser is then redirected to {redirect_uri}, which must be this machine. If the
browser runs on another one, forward the port first: "ssh -L {port}:127.0.0.1:{port}". Ctrl-C
cancels.
"""


class Command(LinkCommand):
    """Ask for consent in a browser, and store the result as the web flow does."""

    help = "Link a Google account for a user, with a browser on this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("user", help="the username on this site")
        parser.add_argument("--client", default="default", help="default: %(default)s")
        parser.add_argument(
            "--scopes", nargs="+", default=(), help="scopes to request, besides the client's"
        )
        parser.add_argument(
            "--port",
            type=int,
            help="local port to listen on; by default from the client's secrets file",
        )
        parser.add_argument(
            "--no-browser",
            action="store_true",
            help="print the URL instead of opening a browser",
        )
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
        """Link an account.

        Raises:
            CommandError: when that failed; nothing has changed then.
        """
        owner = user_named(user)
        try:
            oauth_client = get_client(client)
            keyring.require_key()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        asked = parse_scopes((*oauth_client.identity_scopes, *oauth_client.scopes, *scopes))
        port, path = _choose_address(oauth_client, port)
        try:
            server = LoopbackServer(port, path)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on port {port}: {error}. Try --port.") from None
        with server:
            flow = _Flow(self, server, timeout=timeout, opens=not no_browser)
            wanted = AuthorizeRequest(
                user=str(owner.pk),
                host="",
                client=client,
                scopes=asked,
                required=asked,
                return_url="",
                add=True,
            )
            try:
                finish_retirements(owner, client=client)
            except GoogleLinkError as error:
                raise CommandError(_explain_error(error, oauth_client.display_name)) from None
            redirect_uri = f"http://{HOST}:{server.server_port}{server.path}"
            pending = start_authorization(owner, wanted, oauth_client, redirect_uri=redirect_uri)
            try:
                # A further account is requested, so that there always is an authorization.
                account = flow.link(owner, cast("PendingAuthorization", pending))
            except GoogleLinkError as error:
                raise CommandError(_explain_error(error, oauth_client.display_name)) from None
            except TimeoutError:
                raise CommandError(f"No response arrived within {timeout} seconds.") from None
            except KeyboardInterrupt:
                raise CommandError("Stopped. Nothing has changed.", returncode=130) from None
        self.stdout.write(self.style.SUCCESS(f"{account} is linked to {user}."))
        missing = sorted(missing_scopes(asked, account.granted_scopes))
        if missing:
            self.stdout.write(f"Not granted: {', '.join(missing)}")


class _Flow:
    """One authorization, or two if Google has to be asked for a refresh token again."""

    def __init__(
        self, command: BaseCommand, server: LoopbackServer, *, timeout: int, opens: bool
    ) -> None:
        self._command = command
        self._server = server
        self._timeout = timeout
        self._opens = opens

    @sensitive_variables()
    def link(self, owner: Any, pending: PendingAuthorization) -> GoogleAccount:
        state = secrets.token_urlsafe(32)
        wait_for_terminal = self._invite_user(pending, pending.authorization_url(state))
        response = dict(self._server.receive(state, seconds=self._timeout))
        wait_for_terminal()
        code = Secret(response.pop("code", ""))
        outcome = complete_authorization(owner, pending, response, code)
        if isinstance(outcome, PendingAuthorization):
            return self.link(owner, outcome)
        return outcome

    def _invite_user(self, pending: PendingAuthorization, url: str) -> Callable[[], object]:
        """Show the URL; return a function that waits until the terminal is free again."""
        port = self._server.server_port
        text = _INVITATION.format(url=url, redirect_uri=pending.redirect_uri, port=port)
        self._command.stdout.write(text)
        self._command.stdout.flush()
        return open_browser(url) if self._opens else do_nothing


def _explain_error(error: GoogleLinkError, provider: str) -> str:
    match error:
        case AuthorizationDeniedError(is_users=True):
            return f"Access was refused at {provider}. Nothing has changed."
        case AuthorizationDeniedError():
            return f"{provider} responded with the error {error.error!r}."
        case OtherAccountError():
            return f"{error.name} was chosen, which is not the expected account."
        case NoRefreshTokenError():
            return (
                f"{provider} did not grant lasting access. In the security settings of the "
                f"{provider} Account, remove this site from the apps with access, and try again."
            )
    return f"{error} Nothing has changed."


def _choose_address(client: OAuthClient, port: int | None) -> tuple[int, str]:
    """Return the port and path of the redirect URI.

    A client of type *Desktop app* may use any port (RFC 8252 section 7.3), a *Web application* only
    the listed URIs.

    Raises:
        CommandError: when no loopback URI is listed.
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
            f"The client {client.name!r} is a web application, and its secrets file lists "
            f"no redirect URI http://{HOST}:{port or _PORT}/. Add it to the client in the Google "
            'console and download the file again, or use a client of type "Desktop app".'
        )
    return port or _PORT, "/"
