"""A Google in a separate process, so that it does not affect what is measured."""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from uuid import uuid4

from django_google_link.testing import FakeGoogle

#: The redirect URIs: the site's callback, and the page of a front end.
PAGE = "https://app.example.com/linked/"
CALLBACK = "http://testserver/google/callback/"

SCOPES = ["openid", "email", "profile", "https://www.googleapis.com/auth/drive.file"]


class RemoteGoogle:
    """Controls that process.

    Args:
        pipe: to it.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.settings: dict[str, str] = self._ask("settings")

    def grant(self, count: int) -> list[dict[str, Any]]:
        """Create users with grants, and return for each the account and its tokens."""
        grants: list[dict[str, Any]] = self._ask("grant", count)
        return grants

    def add_people(self, count: int) -> list[str]:
        """Create users without grants, and return the ``sub`` of each."""
        subs: list[str] = self._ask("add_people", count)
        return subs

    def slow_down(self, seconds: float) -> None:
        """Delay each token request by some seconds."""
        self._ask("slow_down", seconds)

    def token_requests(self) -> int:
        """Return the number of token requests since the last call."""
        count: int = self._ask("token_requests")
        return count

    def _ask(self, *order: Any) -> Any:
        self._pipe.send(order)
        return self._pipe.recv()


@contextmanager
def google_apart() -> Any:
    """Run that process."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield RemoteGoogle(ours)
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    with FakeGoogle() as google:
        google.client.redirect_uris += [CALLBACK, PAGE]
        while True:
            match pipe.recv():
                case ["settings"]:
                    answer: Any = google.client_settings()
                case ["grant", count]:
                    answer = [_grant(google) for _ in range(count)]
                case ["add_people", count]:
                    answer = [google.add_user(f"{uuid4()}@gmail.com").sub for _ in range(count)]
                case ["slow_down", seconds]:
                    answer, google.delay = None, seconds
                case ["token_requests"]:
                    answer = len(google.requests_to("token"))
                    google.clear_requests()
            pipe.send(answer)


def _grant(google: FakeGoogle) -> dict[str, Any]:
    user = google.add_user(f"{uuid4()}@example.com")
    tokens = google.grant(user, SCOPES)
    return {
        "sub": user.sub,
        "email": user.email,
        "name": user.name,
        "picture": user.picture,
        "hosted_domain": user.hosted_domain or "",
        "refresh_token": tokens.refresh_token,
        "access_token": tokens.access_token,
    }
