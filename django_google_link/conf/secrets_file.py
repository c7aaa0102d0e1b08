"""The client secrets file: the JSON that Google's console gives for an OAuth client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..secret import Secret
from .json_file import read_json_file


def read_secrets_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read a client secrets file.

    Args:
        path: of the file, which is of type ``web`` or ``installed``.

    Returns:
        Its content under the names of our settings.

    Raises:
        OSError: when it cannot be read.
        TypeError: when the path is not one.
        ValueError: saying what is wrong with its content, without quoting a secret.
    """
    kind, content = _read_client(read_json_file(path))
    client_id, client_secret = content.get("client_id"), content.get("client_secret")
    if not isinstance(client_id, str) or _is_placeholder(client_id):
        raise ValueError("client_id is missing in it or only a placeholder")
    if not isinstance(client_secret, Secret) or _is_placeholder(client_secret.reveal()):
        raise ValueError("client_secret is missing in it or only a placeholder")
    return {
        "TYPE": kind,
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": client_secret,
        "AUTHORIZATION_ENDPOINT": content.get("auth_uri"),
        "TOKEN_ENDPOINT": content.get("token_uri"),
        "REDIRECT_URIS": _read_redirect_uris(content.get("redirect_uris", [])),
    }


def _is_placeholder(value: str) -> bool:
    return not value or value.startswith("[[")


def _read_client(document: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(document, dict) and document.get("type") == "service_account":
        raise ValueError("it is the key of a service account, which belongs in SERVICE_ACCOUNTS")
    if isinstance(document, dict) and _is_token(document):
        raise ValueError(
            "it is the token of one user, which manage.py google_link_import files takes"
        )
    if not isinstance(document, dict) or len(document) != 1:
        raise ValueError('it is not an object with the one key "web" or "installed"')
    [(kind, content)] = document.items()
    if kind not in {"web", "installed"}:
        raise ValueError(f'its type is {kind[:40]!r}, where "web" or "installed" is needed')
    if not isinstance(content, dict):
        raise ValueError(f"{kind!r} is not an object in it")
    return kind, content


def _is_token(document: Mapping[str, Any]) -> bool:
    """Return whether it is what a quickstart or gcloud keeps of one user."""
    return document.get("type") == "authorized_user" or "refresh_token" in document


def _read_redirect_uris(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(uri, str) for uri in value):
        raise ValueError("redirect_uris is not a list of addresses in it")
    return tuple(value)
