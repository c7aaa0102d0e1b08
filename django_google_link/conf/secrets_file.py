"""The client secrets file: the JSON that Google's console gives for an OAuth client."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..secret import Secret

_MAX_BYTES = 100_000

#: Google still writes its first-version address into the file.
_OUTDATED_AUTH_URI = "https://accounts.google.com/o/oauth2/auth"


def read_secrets_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read a client secrets file, parsed once per version of it.

    Args:
        path: of the file, which is of type ``web`` or ``installed``.

    Returns:
        Its content under the names of our settings.

    Raises:
        OSError: when it cannot be read.
        ValueError: saying what is wrong with its content, without quoting a secret.
    """
    status = os.stat(path)
    return _parse(os.fspath(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _parse(path: str, modified_ns: int, size: int) -> Mapping[str, Any]:
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, too many for a client secrets file")
    with open(path, encoding="utf-8") as file:
        kind, content = _content(_json(file.read()))
    for key in ("client_id", "client_secret"):
        value = content.get(key)
        if not isinstance(value, str) or not value or value.startswith("[["):
            raise ValueError(f"{key} is missing in it or only a placeholder")
    auth_uri = content.get("auth_uri")
    return {
        "TYPE": kind,
        "CLIENT_ID": content["client_id"],
        "CLIENT_SECRET": Secret(content["client_secret"]),
        "AUTHORIZATION_ENDPOINT": None if auth_uri == _OUTDATED_AUTH_URI else auth_uri,
        "TOKEN_ENDPOINT": content.get("token_uri"),
        "REDIRECT_URIS": _redirect_uris(content.get("redirect_uris", [])),
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None


def _content(document: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(document, dict) and document.get("type") == "service_account":
        raise ValueError("it is the key of a service account, which belongs into SERVICE_ACCOUNTS")
    if not isinstance(document, dict) or len(document) != 1:
        raise ValueError('it is not an object with the one key "web" or "installed"')
    [(kind, content)] = document.items()
    if kind not in {"web", "installed"}:
        raise ValueError(f'its type is {kind[:40]!r}, where "web" or "installed" is needed')
    if not isinstance(content, dict):
        raise ValueError(f"{kind!r} is not an object in it")
    return kind, content


def _redirect_uris(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(uri, str) for uri in value):
        raise ValueError("redirect_uris is not a list of addresses in it")
    return tuple(value)
