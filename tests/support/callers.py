"""Browsers, forms and programs, by the headers that they send."""

from __future__ import annotations

from typing import Any

from django.test import Client

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"

NAVIGATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "browser": ("GET", {"accept": HTML, "sec-fetch-mode": "navigate"}),
    "old browser": ("GET", {"accept": HTML}),
    "browser behind a password": ("GET", {"accept": HTML, "authorization": "Basic YTpi"}),
    "no headers": ("GET", {}),
    "head": ("HEAD", {"accept": HTML}),
}

FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "form": ("POST", {"accept": HTML, "sec-fetch-mode": "navigate", "content-type": FORM}),
    "old form": ("POST", {"accept": HTML, "content-type": "multipart/form-data; boundary=x"}),
    "put": ("PUT", {"accept": HTML}),
    "patch": ("PATCH", {"accept": HTML}),
    "delete": ("DELETE", {"accept": HTML}),
}

PROGRAMS: dict[str, tuple[str, dict[str, str]]] = {
    "curl": ("GET", {"accept": "*/*"}),
    "download": ("GET", {"accept": "application/octet-stream, */*;q=0.1"}),
    "token": ("GET", {"authorization": "Bearer abc"}),
    "token for html": ("GET", {"accept": HTML, "authorization": "Token abc"}),
    "fetch": ("GET", {"accept": "*/*", "sec-fetch-mode": "cors"}),
    "fetch of html": ("GET", {"accept": HTML, "sec-fetch-mode": "same-origin"}),
    "image": ("GET", {"accept": "image/avif,*/*", "sec-fetch-mode": "no-cors"}),
    "fetch post": ("POST", {"accept": HTML, "sec-fetch-mode": "cors", "content-type": FORM}),
    "jquery": ("GET", {"accept": "*/*", "x-requested-with": "XMLHttpRequest"}),
    "json": ("GET", {"accept": "application/json"}),
    "axios": ("GET", {"accept": "application/json, text/plain, */*"}),
    "json and then html": ("GET", {"accept": "text/html;q=0.8, application/json"}),
    "json body": ("POST", {"accept": HTML, "content-type": "application/json; charset=utf-8"}),
    "json:api body": ("PATCH", {"accept": "*/*", "content-type": "application/vnd.api+json"}),
    "delete by fetch": ("DELETE", {"accept": "*/*", "sec-fetch-mode": "cors"}),
    "htmx": ("GET", {"accept": "*/*", "hx-request": "true"}),
    "htmx boosted": ("GET", {"accept": HTML, "hx-request": "true", "hx-boosted": "true"}),
    "htmx post": ("POST", {"accept": "*/*", "hx-request": "true", "content-type": FORM}),
}


def ask(client: Client, caller: tuple[str, dict[str, str]], url: str = "/agenda/?day=1") -> Any:
    """Send a request with this caller's headers."""
    method, headers = caller
    headers = dict(headers)
    content_type = headers.pop("content-type", "")
    body = "{}" if content_type else ""
    return client.generic(method, url, body, content_type, headers=headers)
