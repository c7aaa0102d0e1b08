"""What a fresh fake does when many ask it at the same first moment."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from django_google_link.testing import FakeGoogle
from tests.testing.app import CALENDAR

pytestmark = pytest.mark.slow

THREADS = 16
ROUNDS = 25


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let threads take turns so often that they meet where they seldom do."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def ask_at_once(urls: list[str], token: str = "") -> list[tuple[int, str]]:
    """Request every URL in a thread of its own, all at the same moment."""
    barrier = threading.Barrier(len(urls))

    def get(url: str) -> tuple[int, str]:
        with requests.Session() as session:
            session.trust_env = False
            barrier.wait(10)
            response = session.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        return response.status_code, response.text

    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(get, urls))


def test_first_requests_at_once() -> None:
    """Every one is answered, whatever is made for the first of them."""
    for number in range(ROUNDS):
        with FakeGoogle() as google:
            tokens = google.grant(google.add_user("alice@example.com"), [CALENDAR])
            google.answer(f"/threads/{number}/<id>", {"number": number})

            answers = ask_at_once(
                [f"{google.url}/threads/{number}/x"] * THREADS, tokens.access_token
            )

        assert {status for status, _ in answers} == {200}, answers


def test_first_pages_at_once() -> None:
    """Pages and keys, which take longest to make, are made for all who ask."""
    with FakeGoogle() as google:
        paths = ["/", "/oauth2/v3/certs", "/o/oauth2/v2/auth", "/fake-google.css"]
        answers = ask_at_once([google.url + path for path in paths * 4])

    assert sorted({status for status, _ in answers}) == [200, 400]


def test_routes_are_made_where_they_are_added(monkeypatch: Any) -> None:
    """No thread of the server compiles one: Python 3.11's ast.parse fails in two at once."""
    parse, parsed_in = ast.parse, []

    def noting_parse(*args: Any, **kwargs: Any) -> Any:
        parsed_in.append(threading.current_thread())
        return parse(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", noting_parse)

    with FakeGoogle() as google:
        google.answer("/made/<here>/and-now", {})
        answers = ask_at_once([f"{google.url}/made/x/and-now"] * 2)

    assert {status for status, _ in answers} == {401}
    assert set(parsed_in) == {threading.current_thread()}


def test_fakes_started_at_once() -> None:
    """Each in a thread of its own: what they share is made once."""
    barrier = threading.Barrier(8)

    def start(number: int) -> int:
        barrier.wait(10)
        with FakeGoogle() as google:
            google.answer(f"/fakes/{number}/<id>", {})
            return requests.get(google.url, timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(start, range(8))) == {200}


def test_users_named_at_once(google: FakeGoogle) -> None:
    """An account that several threads name first is opened once."""
    for number in range(ROUNDS):
        barrier = threading.Barrier(THREADS)

        def name(email: str, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(10)
            return google.user_with(email).sub

        with ThreadPoolExecutor(THREADS) as pool:
            subs = set(pool.map(name, [f"user-{number}@example.com"] * THREADS))

        assert len(subs) == 1
