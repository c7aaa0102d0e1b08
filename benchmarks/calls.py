"""Measures API calls: from views, from a command, and through a service shared by threads.

The calls go to a distant Google: see ``far_google``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from io import StringIO
from random import shuffle
from statistics import median
from threading import local
from typing import Any

from django.conf import settings

Figures = dict[str, Any]

_VIEWS = 50
_WARM_UP = 5
_THREADS = 4

#: One for each thread, which is what code has to do to keep a connection.
_kept = local()


def calls_from_views() -> Figures:
    """Row 8: 50 views with one call each, interleaved: wall, CPU, and connections."""
    with _far() as google:
        user = _make_user()
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        client = _log_in(user)
        order = list(WAYS)
        for turn in range(_WARM_UP + _VIEWS):
            # Each run frees objects of the one before it, so the order varies.
            shuffle(order)
            for way in order:
                measured = _measure(lambda way=way, turn=turn: _visit(client, way, turn))
                if turn >= _WARM_UP:
                    times[way].append(measured)
        figures = {
            way: dict(zip(("wall", "cpu"), map(median, zip(*measured, strict=True)), strict=True))
            for way, measured in times.items()
        }
        for way in WAYS:
            _forget_connections()
            google.count_connections()
            _visit_in_threads(user, way)
            figures[way]["connections"] = google.count_connections()
    return {"threads": _THREADS, "views": _VIEWS, **figures}


def many_accounts_far_away() -> Figures:
    """Row 9: ``google_link_refresh`` with 16 workers, over TLS, compared with google-auth."""
    from django.core.management import call_command

    from .far_google import ROUND_TRIP, TOKEN_DELAY
    from .outage import make_accounts

    figures: Figures = {}
    workers = 16
    each = (TOKEN_DELAY + ROUND_TRIP) / workers
    with _far() as google:
        ours, theirs = 2000, 320
        make_accounts("1//refresh", "ya29.access", [60.0] * ours)
        options = {"expiring_within": 10, "workers": workers, "stdout": StringIO()}
        wall, cpu = _measure(lambda: call_command("google_link_refresh", **options))
        figures["ours"] = {
            "ratio": wall / (ours * each),
            "cpu": cpu / ours,
            "connections": google.count_connections() / ours,
        }
        with ThreadPoolExecutor(workers) as pool:
            wall, cpu = _measure(lambda: list(pool.map(_refresh_as_others, range(theirs))))
        figures["google_auth"] = {
            "ratio": wall / (theirs * each),
            "cpu": cpu / theirs,
            "connections": google.count_connections() / theirs,
        }
    return figures


def shared_service() -> Figures:
    """Row 10: 1,600 calls through a service shared by 16 threads, and with a client per call."""
    from . import peers

    threads, calls = 16, 1600
    with _far() as google:
        user = _make_user()
        service = peers.ours(user)
        token = _find_social_token(user)

        def call_shared(n: int) -> bool:
            return bool(service.files().get(fileId=f"file-{n}").execute()["id"] == f"file-{n}")

        def call_alone(n: int) -> bool:
            return _call_with_a_new_client(peers.credentials(token), f"file-{n}") == f"file-{n}"

        figures: Figures = {}
        for name, call in (("shared", call_shared), ("alone", call_alone)):
            call(0)
            google.count_connections()
            with ThreadPoolExecutor(threads) as pool:
                answers: list[bool] = []
                wall, cpu = _measure(
                    lambda pool=pool, call=call, answers=answers: answers.extend(
                        pool.map(_without_errors(call), range(calls))
                    )
                )
            figures[name] = {
                "wall": wall,
                "cpu": cpu,
                "failed": answers.count(False),
                "connections": google.count_connections(),
            }
    return figures


def empty(request: Any, file_id: str) -> str:
    """A view that loads its user, and calls nothing."""
    return str(request.user.pk and file_id)


def floor(request: Any, file_id: str) -> str:
    """The baseline: one query that uses an index, and a kept connection."""
    import requests

    if not hasattr(_kept, "session"):
        _kept.session = requests.Session()
    token = _find_social_token(request.user)
    response = _kept.session.get(
        _address(file_id), headers={"Authorization": f"Bearer {token.token}"}, timeout=60
    )
    response.raise_for_status()
    return str(response.json()["id"])


def floor_of_services(request: Any, file_id: str) -> str:
    """The baseline with googleapiclient: a parsed document, and a kept connection."""
    import httplib2
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build_from_document

    from . import peers

    if not hasattr(_kept, "http"):
        _kept.http = httplib2.Http(timeout=60)
    credentials = peers.credentials(_find_social_token(request.user))
    http = AuthorizedHttp(credentials, http=_kept.http)
    service = build_from_document(
        peers.document(), http=http, client_options={"api_endpoint": _address_of_the_api()}
    )
    return str(service.files().get(fileId=file_id).execute()["id"])


def our_service(request: Any, file_id: str) -> str:
    """``request.google.service()``."""
    return str(_our_view("service")(request, file_id))


def our_session(request: Any, file_id: str) -> str:
    """``request.google.session()``."""
    return str(_our_view("session")(request, file_id))


def allauth(request: Any, file_id: str) -> str:
    """django-allauth, with the code that its users have to write."""
    from . import peers

    return _call_with_a_new_client(peers.credentials(_find_social_token(request.user)), file_id)


def social_auth(request: Any, file_id: str) -> str:
    """social-auth, with the code that its users have to write."""
    from google.oauth2.credentials import Credentials

    from . import peers

    return _call_with_a_new_client(Credentials(peers.social_auth_token(request.user)), file_id)


WAYS: dict[str, Callable[[Any, str], str]] = {
    way.__name__: way
    for way in (empty, floor, floor_of_services, our_service, our_session, allauth, social_auth)
}


@cache
def _our_view(way: str) -> Any:
    from django_google_link.decorators import google_required

    from . import peers

    @google_required(scopes=[peers.DRIVE])
    def service(request: Any, file_id: str) -> Any:
        drive = request.google.service("drive", "v3")
        return drive.files().get(fileId=file_id).execute()["id"]

    @google_required(scopes=[peers.DRIVE])
    def session(request: Any, file_id: str) -> Any:
        response = request.google.session().get(_address(file_id))
        response.raise_for_status()
        return response.json()["id"]

    return {"service": service, "session": session}[way]


def _call_with_a_new_client(credentials: Any, file_id: str) -> str:
    from googleapiclient.discovery import build

    options = {"api_endpoint": _address_of_the_api()}
    service = build("drive", "v3", credentials=credentials, client_options=options)
    return str(service.files().get(fileId=file_id).execute()["id"])


def _refresh_as_others(_: int) -> None:
    """Refresh a token as users of django-allauth do in a job."""
    from google.auth.transport.requests import Request
    from google.oauth2.credentials import Credentials

    google = settings.GOOGLE
    credentials = Credentials(
        None,
        refresh_token="1//refresh",
        token_uri=google["TOKEN_ENDPOINT"],
        client_id=google["CLIENT_ID"],
        client_secret=google["CLIENT_SECRET"],
    )
    credentials.refresh(Request())


def _address_of_the_api() -> str:
    return f"{settings.GOOGLE['API_ENDPOINT']}/drive/v3/"


def _address(file_id: str) -> str:
    return f"{_address_of_the_api()}files/{file_id}"


def _find_social_token(user: Any) -> Any:
    from allauth.socialaccount.models import SocialToken

    return SocialToken.objects.get(account__user=user, account__provider="google")


def _make_user() -> Any:
    """Create a user with fresh tokens in all three packages."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from . import peers

    user = get_user_model().objects.create(username="anna")
    grant = {
        "sub": "1",
        "email": "anna@example.com",
        "name": "Anna",
        "picture": "",
        "hosted_domain": "",
        "refresh_token": "1//refresh",
        "access_token": "ya29.access",
    }
    peers.link(user, grant, timezone.now() + timedelta(seconds=3000))
    return user


def _log_in(user: Any) -> Any:
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client


def _visit(client: Any, way: str, turn: int) -> None:
    """Request the page, and check that the response belongs to this request."""
    response = client.get(f"/calls/{way}/file-{turn}/")
    if (response.status_code, response.content) != (200, f"file-{turn}".encode()):
        raise RuntimeError(f"{way} has failed: {response.status_code} {response.content!r}")


def _visit_in_threads(user: Any, way: str) -> None:
    def visit(client: Any, turns: range) -> None:
        from django.db import connection

        for turn in turns:
            _visit(client, way, turn)
        connection.close()

    clients = [_log_in(user) for _ in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        turns = [range(n, _VIEWS, _THREADS) for n in range(_THREADS)]
        list(pool.map(visit, clients, turns))


def _forget_connections() -> None:
    from django_google_link.http.pool import process_pool

    process_pool().close_idle()


def _without_errors(call: Callable[[int], bool]) -> Callable[[int], bool]:
    """Raise an error if the response is wrong."""

    def try_it(n: int) -> bool:
        try:
            return call(n)
        except Exception:
            return False

    return try_it


def _measure(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the time that something took, and the CPU time of this process."""
    started, computed = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - computed


@contextmanager
def _far() -> Any:
    """Run a distant Google, and point the settings of all three packages to it."""
    from .far_google import far_google

    with far_google() as google:
        settings.GOOGLE.update(google.settings)
        google_link: dict[str, Any] = settings.GOOGLE_LINK
        google_link["CLIENTS"]["default"].update(google.settings)
        google.count_connections()
        yield google
