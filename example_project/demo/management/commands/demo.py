"""``manage.py demo``: the site, its single-page app and a fake Google, in one process."""

import json
import os
import signal
import threading
from argparse import ArgumentParser
from contextlib import ExitStack
from functools import partial
from typing import Any

from daybook.keys import kept
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import BaseCommand, CommandError, call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.urls import reverse

from demo.client import client_settings
from demo.google_answers import add_routes
from demo.single_page import make_application
from demo.youtube import YouTube
from django_google_link.testing import FakeGoogle

HOST = "127.0.0.1"
LAST_PORT = 65535
FALLBACK_PORTS = {"PORT": 8001, "APP_PORT": 8003, "GOOGLE_PORT": 8766}
USERS = ("anna", "ben")
OPERATOR = "olga"
PASSWORD = "daybook"

WELCOME = """\
Daybook, the example site of django-google-link

  Open    {site}/
  App     {app}/ is a single-page app that uses the site's JSON API
  Log in  {users}, with the password {password}
          {operator}, with the same password, manages the links under /admin/
  Google  {google} replaces the real one: you need no Google account and no network.
          Its accounts are {accounts}.

Stop with Ctrl-C.
"""


class Command(BaseCommand):
    help = "Run this site with a fake Google, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            default=settings.DEMO_PORT,
            help="port of the site (default %(default)s)",
        )
        parser.add_argument(
            "--app-port",
            type=int,
            default=settings.DEMO_APP_PORT,
            help="port of the single-page app (default %(default)s)",
        )
        parser.add_argument(
            "--google-port",
            type=int,
            default=settings.DEMO_GOOGLE_PORT,
            help="port of the fake Google (default %(default)s)",
        )
        parser.add_argument(
            "--keep",
            action="store_true",
            help="keep the users and links of the last run; the fake Google forgets their grants, "
            "so they are lost, as if they had been revoked",
        )

    def handle(
        self, *, port: int, app_port: int, google_port: int, keep: bool, **options: Any
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            with ExitStack() as stack:
                site = self._server(port, "PORT")
                stack.callback(site.server_close)
                app = self._server(app_port, "APP_PORT")
                stack.callback(app.server_close)
                google = self._google(google_port)
                stack.callback(google.stop)
                self._tell("Preparing the database and the fake Google")
                self._set_up(site, app, google, keep=keep)
                threading.Thread(target=app.serve_forever, daemon=True).start()
                stack.callback(app.shutdown)
                site.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")

    def _server(self, port: int, variable: str) -> ThreadedWSGIServer:
        try:
            return ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
        except (OSError, OverflowError) as error:
            raise CommandError(_cannot_listen(port, variable, error)) from None

    def _google(self, port: int) -> FakeGoogle:
        try:
            return FakeGoogle(port).start()
        except (OSError, OverflowError) as error:
            raise CommandError(_cannot_listen(port, "GOOGLE_PORT", error)) from None

    def _set_up(
        self,
        site: ThreadedWSGIServer,
        app: ThreadedWSGIServer,
        google: FakeGoogle,
        *,
        keep: bool,
    ) -> None:
        client = client_settings(google.url)
        site_origin, app_origin = (f"http://{HOST}:{server.server_port}" for server in (site, app))
        settings.CORS_ALLOWED_ORIGINS[:] = [app_origin]
        settings.GOOGLE_LINK["CLIENTS"]["default"].update(
            client, FRONT_END_REDIRECT_URIS=[f"{app_origin}/linked/"]
        )
        google.add_client(
            client_id=client["CLIENT_ID"],
            client_secret=client["CLIENT_SECRET"],
            redirect_uris=[
                f"http://{host}:{site.server_port}{reverse('google_link:callback')}"
                for host in settings.ALLOWED_HOSTS
            ]
            + [f"{app_origin}/linked/"],
        )
        add_routes(google)
        YouTube(google)
        _add_service_account(google)
        accounts = _add_accounts(google)
        _prepare_database(keep=keep)
        site.set_app(get_wsgi_application())
        app.set_app(make_application(site_origin))
        welcome = WELCOME.format(
            site=site_origin,
            app=app_origin,
            users=" or ".join(USERS),
            operator=OPERATOR,
            password=PASSWORD,
            google=google.url,
            accounts=", ".join(accounts),
        )
        self._tell(f"\n{welcome}")

    def _tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _add_service_account(google: FakeGoogle) -> None:
    """Create the site's service account at the fake Google, and write its key file."""
    key = google.service_account_info(google.add_service_account("reports"))
    file = settings.DATA_DIR / "service_account.json"
    file.unlink(missing_ok=True)
    kept(file, partial(json.dumps, key))


def _add_accounts(google: FakeGoogle) -> list[str]:
    """Add accounts to the fake Google. ``--keep`` requires the same ids in every run."""
    accounts = [
        google.add_user("anna@example.com", name="Anna Example", sub="104300000000000000001"),
        google.add_user(
            "anna.work@example.org",
            name="Anna Example",
            sub="104300000000000000002",
            hosted_domain="example.org",
        ),
        google.add_user("ben@example.com", name="Ben Example", sub="104300000000000000003"),
    ]
    return [account.email for account in accounts]


def _prepare_database(*, keep: bool) -> None:
    call_command("migrate", verbosity=0)
    if not keep:
        call_command("flush", interactive=False, verbosity=0)
    password = make_password(PASSWORD)
    for name in (*USERS, OPERATOR):
        is_operator = name == OPERATOR
        get_user_model().objects.get_or_create(
            username=name,
            defaults={
                "first_name": name.title(),
                "email": f"{name}@daybook.example",
                "password": password,
                "is_staff": is_operator,
                "is_superuser": is_operator,
            },
        )


def _cannot_listen(port: int, variable: str, error: Exception) -> str:
    reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "no such port"
    option = f"--{variable.lower().replace('_', '-')}"
    another = port + 1 if 0 < port < LAST_PORT else FALLBACK_PORTS[variable]
    return (
        f"Cannot listen on {HOST}:{port}: {reason}. Choose another port: "
        f"make demo {variable}={another}, or manage.py demo {option} {another}."
    )
