"""Hides the secrets in settings, since error reports show the variables of every stack frame.

A secret in the settings becomes a ``Secret`` as it is read. A value of the wrong type might be a
secret as well, and is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..secret import Secret, masked

_DOTTED_PATH = re.compile(r"[\w]+(\.[\w]+)+")


def mask_setting(key: str, value: Any) -> Any:
    """Return the value of a key of ``GOOGLE_LINK``, with the secrets in it hidden."""
    mask = _MASKS.get(key)
    return mask(value) if mask else value


def mask_document(content: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a JSON file, with the secrets in it hidden."""
    # The secrets of all kinds of files, since it may be the wrong file.
    for name in ("private_key", "client_secret", "refresh_token"):
        content = masked(content, name)
    return content


def mask_keys(keys: Any) -> Any:
    """Return encryption keys hidden, or the dotted path of a function that returns them."""
    if isinstance(keys, str):
        return keys if _DOTTED_PATH.fullmatch(keys) else Secret(keys)
    if not isinstance(keys, list | tuple):
        return None
    # The ellipsis stands for a value that is neither a string nor missing.
    return tuple(
        Secret(key) if isinstance(key, str) else None if key is None else ... for key in keys
    )


def _mask_clients(clients: Any) -> Any:
    if not isinstance(clients, Mapping):
        return None
    return {name: _mask_client(client) for name, client in clients.items()}


def _mask_client(client: Any) -> Any:
    if not isinstance(client, Mapping):
        return None
    client = masked(client, "CLIENT_SECRET")
    if isinstance(client.get("CLIENT_SECRET"), bytes):
        client["CLIENT_SECRET"] = None
    return _mask_content_as_path("CLIENT_SECRETS_FILE", client)


def _mask_service_accounts(accounts: Any) -> Any:
    if not isinstance(accounts, Mapping):
        return None
    return {name: _mask_service_account(account) for name, account in accounts.items()}


def _mask_service_account(account: Any) -> Any:
    if not isinstance(account, Mapping):
        return None
    account = masked(_mask_content_as_path("FILE", account), "INFO")
    if isinstance(account.get("INFO"), Mapping):
        account["INFO"] = masked(account["INFO"], "private_key")
    return account


def _mask_content_as_path(key: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hide a value that is the content of a file where its path was expected."""
    value = settings.get(key)
    is_content = isinstance(value, Mapping) or (isinstance(value, str) and "{" in value)
    return {**settings, key: Secret(str(value))} if is_content else settings


_MASKS: dict[str, Callable[[Any], Any]] = {
    "CLIENTS": _mask_clients,
    "ENCRYPTION_KEYS": mask_keys,
    "SERVICE_ACCOUNTS": _mask_service_accounts,
}
