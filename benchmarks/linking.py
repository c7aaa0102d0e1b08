"""Compares linking through the endpoints for front ends with linking by redirect."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

Figures = dict[str, Any]

_LINKS = 1_000
_WARM_UP = 20

#: What remains to be done, and is measured, when a user has returned from Google.
Completion = Callable[[], Any]


def links_completed() -> Figures:
    """Row 13: 1,000 links completed in each way, one after the other: wall, CPU, statements."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_google_link.models import GoogleAccount

    from .google import PAGE, google_apart

    google_link: dict[str, Any] = settings.GOOGLE_LINK
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    figures: Figures = {}
    with google_apart() as google:
        keys = {**google.settings, "FRONT_END_REDIRECT_URIS": [PAGE]}
        google_link["CLIENTS"]["default"].update(keys)
        subs = iter(google.add_people(len(WAYS) * (_WARM_UP + _LINKS + 1)))
        for turn in range(_WARM_UP + _LINKS):
            # Each run frees objects of the one before it, so the order varies.
            for way in sorted(WAYS, reverse=bool(turn % 2)):
                measured = _measure(WAYS[way](next(subs)))
                if turn >= _WARM_UP:
                    times[way].append(measured)
        for way, come_back in WAYS.items():
            wall, cpu = map(list, zip(*times[way], strict=True))
            complete = come_back(next(subs))
            with CaptureQueriesContext(connection) as queries:
                complete()
            figures[way] = {
                "wall": sum(wall),
                "median": median(wall),
                "cpu": sum(cpu),
                "queries": len(queries),
            }
    assert GoogleAccount.objects.count() == len(WAYS) * (_WARM_UP + _LINKS + 1)
    return figures


def _come_back_by_page(sub: str) -> Completion:
    browser = _log_in(sub)
    back = urlsplit(_consent(browser.get("/google/authorize/")["Location"], sub))
    return partial(browser.get, f"{back.path}?{back.query}")


def _come_back_by_json(sub: str) -> Completion:
    browser = _log_in(sub)
    link = browser.post("/google/api/links/", {}, "application/json").json()
    back = _consent(link["authorization_url"], sub)
    address, _, query = back.partition("?")
    came = {**dict(parse_qsl(query)), "ticket": link["ticket"], "redirect_uri": address}
    return partial(browser.post, "/google/api/links/complete/", came, "application/json")


WAYS: dict[str, Callable[[str], Completion]] = {
    "page": _come_back_by_page,
    "json": _come_back_by_json,
}


def _log_in(sub: str) -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    browser = Client()
    browser.force_login(get_user_model().objects.create(username=sub))
    return browser


def _consent(url: str, sub: str) -> str:
    from django_google_link.testing.browser.consent import Answer, give_consent
    from django_google_link.testing.provider.identities import FakeUser

    return give_consent(url, Answer(user=FakeUser(email="", sub=sub)))


def _measure(complete: Completion) -> tuple[float, float]:
    """Return the time that it took, and the CPU time of this process, in seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    complete()
    return time.perf_counter() - started, time.process_time() - cpu
