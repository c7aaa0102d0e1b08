"""Settings for a fake Google during development. Project settings import it, without the extra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..conf.providers import (
    GOOGLE_CLIENT_ID_SUFFIX,
    google_project_number,
    is_of_another_provider,
)
from .provider.endpoints import client_endpoints

DEFAULT_PORT = 8765
_ELSEWHERE = frozenset({"CLIENT_SECRETS_FILE", "REDIRECT_URI"})


def fake_google_settings(google_link: Mapping[str, Any], *, port: int = DEFAULT_PORT) -> Any:
    """Return ``GOOGLE_LINK`` with all clients of Google's led to ``manage.py google_link_fake``.

    For development only, at the end of the settings::

        if DEBUG:
            INSTALLED_APPS += ["django_google_link.testing"]
            GOOGLE_LINK = fake_google_settings(GOOGLE_LINK)

    Other settings, such as scopes, do not change. Neither do clients of other providers and
    service accounts.

    Args:
        google_link: the project's setting.
        port: the port of ``google_link_fake`` on 127.0.0.1.
    """
    clients: Mapping[str, Any] = google_link.get("CLIENTS") or {"default": {}}
    return {
        **google_link,
        "CLIENTS": {
            name: client if is_of_another_provider(client) else _lead_client(name, client, port)
            for name, client in clients.items()
        },
    }


def _lead_client(name: str, client: Mapping[str, Any], port: int) -> dict[str, Any]:
    kept = {key: value for key, value in client.items() if key not in _ELSEWHERE}
    return {
        **kept,
        "CLIENT_ID": _make_client_id(name, str(client.get("CLIENT_ID") or "")),
        "CLIENT_SECRET": "of the fake Google",
        **client_endpoints(f"http://127.0.0.1:{port}"),
    }


def _make_client_id(name: str, real: str) -> str:
    """Return the client id that the fake uses too, with the project number of the real one."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())
    project = google_project_number(real)
    return f"{project}{'-' if project else ''}{words}{GOOGLE_CLIENT_ID_SUFFIX}"
