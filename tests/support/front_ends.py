"""A front end of the test site: it starts links, brings back responses, and reads answers."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from django.test import Client
from jsonschema import Draft202012Validator

from django_google_link.headless import read_openapi
from tests.support.urls import query_of

PAGE = "https://app.example.com/linked/"
ORIGIN = "https://app.example.com"
API = "/google/api/"


class FrontEnd:
    """Calls the endpoints as a program does.

    Args:
        client: the test client, logged in or not.
        api: where the endpoints are mounted.
        headers: sent with every request.
    """

    def __init__(self, client: Client, *, api: str = API, **headers: str) -> None:
        self.client = client
        self.api = api
        self.headers = {"accept": "application/json", **headers}

    def send(self, method: str, path: str, data: Any = None, **extra: Any) -> Any:
        """Send a request, with a JSON body if given."""
        body = "" if data is None else json.dumps(data)
        content_type = "" if data is None else "application/json"
        response = self.client.generic(
            method, f"{self.api}{path}", body, content_type, headers=self.headers, **extra
        )
        check_contract(method, path, response)
        return response

    def start(self, **data: Any) -> Any:
        """Start a link; return the content of the response."""
        response = self.send("POST", "links/", data)
        assert response.status_code == 200, response.content
        return response.json()

    def complete(self, ticket: str, back: str, **data: Any) -> Any:
        """Send the URL at which the authorization response arrived; return the response."""
        came = {**query_of(back), "redirect_uri": back.partition("?")[0], **data}
        return self.send("POST", "links/complete/", {"ticket": ticket, **came})


def check_contract(method: str, path: str, response: Any) -> None:
    """Check that a response conforms to the OpenAPI document."""
    document = _read_document()
    place = re.sub(r"^accounts/[^/]+/$", "accounts/{id}/", path)
    known = document["paths"].get(f"/{place}", {}).get(method.lower())
    if known is None:
        return  # Methods that the document lacks are tested elsewhere.
    answer = known["responses"][str(response.status_code)]
    if "content" not in answer:
        assert response.content == b""
        return
    assert response["Content-Type"] == "application/json"
    schema = answer["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": document["components"]})
    validator.validate(response.json())


@cache
def _read_document() -> dict[str, Any]:
    return read_openapi()


def refusal(response: Any) -> tuple[int, str]:
    """Return the status and the error code of an error response."""
    content = response.json()
    assert isinstance(content["detail"], str)
    assert content["detail"]
    assert "no-store" in response["Cache-Control"]
    return response.status_code, content["error"]
