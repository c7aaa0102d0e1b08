"""``manage.py google_link_fake``: a fake Google for development."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from django_google_link.testing import development, sample_answers

if TYPE_CHECKING:
    from werkzeug import Request, Response

    from django_google_link.testing import FakeGoogle, FakeUser

_USERS = ("anna@gmail.com", "anna@example.org")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_LAST_PORT = 65535
_PASTE = """\
Your settings do not lead here yet. Add this at their end:

    if DEBUG:
        from django_google_link.testing import fake_google_settings

        GOOGLE_LINK = fake_google_settings(GOOGLE_LINK{port})
"""


class Command(BaseCommand):
    """Run a fake Google until it is stopped with Ctrl-C."""

    help = (
        "Run a fake Google on this machine, for development without Google, until it is stopped "
        "with Ctrl-C. It then forgets all grants."
    )
    # The settings need not be complete yet.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options for the port, the accounts and the responses of the APIs."""
        parser.add_argument(
            "--port",
            type=int,
            default=development.DEFAULT_PORT,
            help="the port on 127.0.0.1 (default %(default)s)",
        )
        parser.add_argument(
            "--user",
            action="append",
            metavar="EMAIL",
            help=f"an account at the fake Google; repeatable (default {' and '.join(_USERS)})",
        )
        parser.add_argument(
            "--answers",
            metavar="FILE",
            help='the responses of its APIs: JSON such as {"/drive/v3/files": {"files": []}, '
            '"POST /drive/v3/files": {"id": "1"}}',
        )

    def handle(
        self, *, port: int, user: list[str] | None, answers: str | None, **options: Any
    ) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        if not settings.DEBUG:
            raise CommandError(
                "A fake Google logs in anybody as anybody, so it only runs if DEBUG is True."
            )
        given = _read_answers(answers)
        google = _start(port)
        # A terminal sends SIGINT; tools that run several processes send SIGTERM.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._set_up(google, user or list(_USERS), given)
            threading.Event().wait()
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
        finally:
            signal.signal(signal.SIGTERM, before)
            google.stop()

    def _set_up(self, google: FakeGoogle, users: list[str], given: dict[str, Any]) -> None:
        for email in users:
            _add_account(google, email)
        leads_here = _add_clients(google)
        google.route("/<path:path>", methods=_METHODS)(self._tell_unknown)
        today = datetime.now(timezone.get_current_timezone()).date()
        samples = sample_answers.make_sample_answers(today)
        for rule, answer in {**samples, **given}.items():
            method, _, path = rule.rpartition(" ")
            google.answer(path, answer, method=method or "GET")

        self.stdout.write(f"A fake Google is running at {google.url} for {', '.join(users)}.")
        if not leads_here:
            port = int(google.url.rpartition(":")[2])
            argument = "" if port == development.DEFAULT_PORT else f", port={port}"
            self.stdout.write(f"\n{_PASTE.format(port=argument)}")
        self.stdout.write("Stop it with Ctrl-C.")
        self.stdout.flush()

    def _tell_unknown(self, request: Request, user: FakeUser, path: str) -> Response:
        from django_google_link.testing.provider.resources import unknown_method

        self.stdout.write(
            f'There is no response for {request.method} {request.path}: write one into a file, "'
            f'{request.method} {request.path}": {{...}}, and pass the file with --answers.'
        )
        self.stdout.flush()
        return unknown_method(request)


def _start(port: int) -> FakeGoogle:
    if not 0 <= port <= _LAST_PORT:
        raise CommandError(f"{port} is not a valid port: choose one up to {_LAST_PORT}.")
    try:
        from django_google_link.testing import FakeGoogle

        return FakeGoogle(port).start()
    except ImportError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        another = port + 1 if port < _LAST_PORT else development.DEFAULT_PORT + 1
        raise CommandError(
            f"Cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0)}. Choose another "
            f"port, here and in the settings: --port {another}, and "
            f"fake_google_settings(GOOGLE_LINK, port={another})."
        ) from None


def _add_account(google: FakeGoogle, email: str) -> None:
    """Add an account, whose ``sub`` is the same in every run."""
    name, _, domain = email.partition("@")
    if not name or not domain:
        raise CommandError(f"--user {email!r} is not an e-mail address.")
    digits = int(hashlib.sha256(email.encode()).hexdigest(), 16) % 10**20
    google.add_user(
        email,
        sub=f"1{digits:020}",
        name=name.title(),
        hosted_domain=None if domain == "gmail.com" else domain,
    )


def _add_clients(google: FakeGoogle) -> bool:
    """Register the clients in the settings. Return whether the settings already lead here."""
    configured = getattr(settings, "GOOGLE_LINK", {})
    port = int(google.url.rpartition(":")[2])
    clients = development.fake_google_settings(configured, port=port)["CLIENTS"]
    callback = _find_callback()
    for client in clients.values():
        if client.get("ISSUER") == google.url:
            pages = client.get("FRONT_END_REDIRECT_URIS", ())
            if not isinstance(pages, list | tuple):
                pages = ()  # A system check reports this.
            google.add_client(
                client_id=client["CLIENT_ID"],
                client_secret=client["CLIENT_SECRET"],
                redirect_uris=[f"http://127.0.0.1{callback}", *pages],
            ).any_host = True
    return bool(configured.get("CLIENTS") == clients)


def _find_callback() -> str:
    try:
        return reverse("google_link:callback")
    except NoReverseMatch:
        raise CommandError(
            'Add path("google/", include("django_google_link.urls")) to your URLconf first.'
        ) from None


def _read_answers(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    try:
        answers = json.loads(Path(name).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CommandError(f"Cannot read {name}: {error.strerror}.") from None
    except ValueError as error:
        raise CommandError(f"{name} is not JSON: {error}.") from None
    if not isinstance(answers, dict):
        raise CommandError(f"{name} is not a JSON object, which has to map paths to responses.")
    for rule, answer in answers.items():
        method, _, path = rule.rpartition(" ")
        if method not in ("", *_METHODS) or not path.startswith("/"):
            raise CommandError(
                f'{name}: {rule!r} is neither a path, such as "/drive/v3/files", nor a method '
                'and a path, such as "POST /drive/v3/files".'
            )
        if not isinstance(answer, dict | list):
            raise CommandError(f"{name}: the response for {rule!r} is not an object or a list.")
    return answers
