"""Receiving an authorization response on a loopback port (RFC 8252 section 7.3)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Back to the terminal</title>
<h1>Back to the terminal</h1>
<p>The command continues there. You can close this window, or quit a browser in the terminal.</p>
"""


class LoopbackServer(HTTPServer):
    """Waits for a single response, at a single URL.

    Args:
        port: the port to listen on; 0 for any free one.
        path: the path of the redirect URI; all others respond with 404.

    Raises:
        OSError: when the port is in use.
    """

    allow_reuse_address = False

    def __init__(self, port: int = 0, path: str = "/") -> None:
        super().__init__((HOST, port), _Handler)
        self.path = path
        self.state = ""
        self.response: Mapping[str, str] | None = None

    def receive(self, state: str, *, seconds: float) -> Mapping[str, str]:
        """Return the parameters of the response with this ``state``.

        Args:
            state: the ``state`` of the request.
            seconds: how long to wait.

        Raises:
            TimeoutError: when no response arrived in time.
        """
        self.state, self.response = state, None
        deadline = time.monotonic() + seconds
        while self.response is None:
            self.timeout = max(0.01, deadline - time.monotonic())
            self.handle_request()
            if time.monotonic() > deadline and self.response is None:
                raise TimeoutError
        return self.response


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    timeout = 5  # seconds for a browser to send its request

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        is_ours = url.path == self.server.path and secrets.compare_digest(
            query.get("state", "").encode(), self.server.state.encode()
        )
        if not is_ours:
            self.send_error(404)
            return
        self.server.response = query
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(_PAGE.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the request line contains the code."""
