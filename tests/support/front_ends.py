"""A front end of the test site: it starts links, brings back what came, and reads the answers."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from tests.support.urls import query_of

PAGE = "https://app.example.com/linked/"
ORIGIN = "https://app.example.com"
API = "/google/api/"


class FrontEnd:
    """Calls the endpoints as a program does, with the client that it was given.

    Args:
        client: that is logged in, or not.
        api: where the endpoints are mounted.
        headers: sent with every request.
    """

    def __init__(self, client: Client, *, api: str = API, **headers: str) -> None:
        self.client = client
        self.api = api
        self.headers = {"accept": "application/json", **headers}

    def send(self, method: str, path: str, data: Any = None, **extra: Any) -> Any:
        """Send a request, with JSON if there is any."""
        body = "" if data is None else json.dumps(data)
        content_type = "" if data is None else "application/json"
        return self.client.generic(
            method, f"{self.api}{path}", body, content_type, headers=self.headers, **extra
        )

    def start(self, **data: Any) -> Any:
        """Start a link, and return the answer's content."""
        response = self.send("POST", "links/", data)
        assert response.status_code == 200, response.content
        return response.json()

    def complete(self, ticket: str, back: str, **data: Any) -> Any:
        """Bring back what has arrived at an address, and return the response."""
        came = {**query_of(back), "redirect_uri": back.partition("?")[0], **data}
        return self.send("POST", "links/complete/", {"ticket": ticket, **came})


def refusal(response: Any) -> tuple[int, str]:
    """Return the status and the word of an answer that is an error, of the one shape."""
    content = response.json()
    assert isinstance(content["detail"], str)
    assert content["detail"]
    assert "no-store" in response["Cache-Control"]
    return response.status_code, content["error"]
