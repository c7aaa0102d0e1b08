"""Settings that lead to a fake Google beside ``runserver``. Settings import it: no extra yet."""

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
    """Return ``GOOGLE_LINK`` with every client of Google's at ``manage.py google_link_fake``.

    For development only, at the end of the settings::

        if DEBUG:
            INSTALLED_APPS += ["django_google_link.testing"]
            GOOGLE_LINK = fake_google_settings(GOOGLE_LINK)

    Scopes and all else stay as the project has them. Clients of other providers and service
    accounts are left alone.

    Args:
        google_link: the setting as the project has it.
        port: of ``google_link_fake`` on 127.0.0.1.
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
    """Return an id that the fake makes as well: of the same project as the real one."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())
    project = google_project_number(real)
    return f"{project}{'-' if project else ''}{words}{GOOGLE_CLIENT_ID_SUFFIX}"
