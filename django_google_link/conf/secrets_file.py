"""The client secrets file: the JSON file that Google's console offers for an OAuth client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..secret import Secret
from .json_file import read_json_file


def read_secrets_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read a client secrets file.

    Args:
        path: the path of a file of type ``web`` or ``installed``.

    Returns:
        Its content, under the names of the settings.

    Raises:
        OSError: if it cannot be read.
        TypeError: if the path is a number.
        ValueError: if the content is invalid; the message quotes no secret.
    """
    kind, content = _read_client(read_json_file(path))
    client_id, client_secret = content.get("client_id"), content.get("client_secret")
    if not isinstance(client_id, str) or _is_placeholder(client_id):
        raise ValueError("its client_id is missing or only a placeholder")
    if not isinstance(client_secret, Secret) or _is_placeholder(client_secret.reveal()):
        raise ValueError("its client_secret is missing or only a placeholder")
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
            "it is the token of one user, which can be imported with google_link_import files"
        )
    if not isinstance(document, dict) or len(document) != 1:
        raise ValueError('it is not an object with the single key "web" or "installed"')
    [(kind, content)] = document.items()
    if kind not in {"web", "installed"}:
        raise ValueError(f'its type is {kind[:40]!r}, not "web" or "installed"')
    if not isinstance(content, dict):
        raise ValueError(f"its {kind!r} is not an object")
    return kind, content


def _is_token(document: Mapping[str, Any]) -> bool:
    """Return whether it is a file in which a quickstart or gcloud stores a user's token."""
    return document.get("type") == "authorized_user" or "refresh_token" in document


def _read_redirect_uris(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(uri, str) for uri in value):
        raise ValueError("its redirect_uris is not a list of addresses")
    return tuple(value)
