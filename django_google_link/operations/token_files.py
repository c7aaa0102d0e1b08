"""Recognizing the files in which other programs store a user's token, by content rather than name.

Pickles are never loaded, because they can run arbitrary code.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables

#: Bytes; files with a token are far smaller.
MAX_BYTES = 100_000

_TOO_LARGE = f"it has more than {MAX_BYTES:,} bytes, too many for a token"
_PICKLE = (
    "it is a pickle, which is never loaded because it can run arbitrary code. Have the program "
    "that wrote it write JSON: print(credentials.to_json())"
)
_SEVERAL = "it contains several JSON documents: put each into a separate file"
_NOTHING = "it contains no user credentials"

#: The first bytes of binary files.
_BINARIES = (
    (b"\x80", _PICKLE),
    (
        b"\xac\xed",
        "it is Java's StoredCredential, which only Java can read: have the users link here",
    ),
    (
        b"SQLite format 3",
        "it is a gcloud database: pass application_default_credentials.json instead",
    ),
)
_CLIENT = "it is the JSON file of an OAuth client, which belongs in a client's CLIENT_SECRETS_FILE"
#: Documents that are not a user's credentials, by "type".
_TYPES = {
    "service_account": "it is the key of a service account, which belongs in SERVICE_ACCOUNTS",
    "external_account": "it is for workload identity federation, and contains no user credentials",
    "impersonated_service_account": "it impersonates a service account: use IMPERSONATE in "
    "SERVICE_ACCOUNTS",
}
#: Any of these keys marks a token.
_TOKEN_KEYS = ("refresh_token", "access_token", "token")


@sensitive_variables()
def parse_credentials(stored: Any, *, name: str = "") -> tuple[Mapping[str, Any], str]:
    """Parse credentials by their keys, not by their stated type; or return what is wrong.

    Args:
        stored: text or bytes: JSON in any Unicode encoding, or base64 of it.
        name: the name of the file.
    """
    if not isinstance(stored, str | bytes | memoryview):
        return {}, "it is neither text nor bytes"
    data = stored.encode() if isinstance(stored, str) else bytes(stored)
    problem = _find_binary(data, name)
    if problem:
        return {}, problem
    text = _decode(data)
    if text is None:
        return {}, "it is not text"
    if not text:
        return {}, "it is empty"
    if text[0] not in '{["':
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            return {}, _explain_no_base64(text)
    return _read_document(text)


def _find_binary(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        return _TOO_LARGE
    if name.endswith((".pickle", ".pkl")):
        return _PICKLE
    return next((problem for start, problem in _BINARIES if data.startswith(start)), "")


@sensitive_variables()
def _decode(data: bytes) -> str | None:
    """Return the text, decoded from UTF-8 or from what PowerShell and editors on Windows write."""
    try:
        return data.decode(json.detect_encoding(data)).strip().lstrip("\ufeff")
    except UnicodeDecodeError:
        return None


@sensitive_variables()
def _explain_no_base64(text: str) -> str:
    """Return what is wrong with text that is neither JSON nor base64 of JSON."""
    try:
        decoded = base64.b64decode(text)
    except binascii.Error:
        decoded = b""
    if decoded.startswith(b"\x80"):
        return _PICKLE
    return "it is neither JSON nor base64"


@sensitive_variables()
def _read_document(text: str) -> tuple[Mapping[str, Any], str]:
    try:
        content = json.loads(text)
        if isinstance(content, str):
            content = json.loads(content)  # It was encoded twice.
    except (ValueError, RecursionError):
        return {}, _SEVERAL if _has_several(text) else "it is not JSON"
    if isinstance(content, list):
        return {}, _SEVERAL if content else _NOTHING
    if not isinstance(content, dict):
        return {}, _NOTHING
    # jsonpickle's format from Python 3.11 on.
    content = content.get("py/state", content)
    problem = _find_kind(content)
    return ({}, problem) if problem else (content, "")


@sensitive_variables()
def _has_several(text: str) -> bool:
    """Return whether the text contains several documents, such as JSON Lines."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip().startswith("{")


@sensitive_variables()
def _find_kind(content: Any) -> str:
    """Return what a document is; empty if it is a token."""
    if not isinstance(content, dict):
        return _NOTHING
    kind = content.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    if any(isinstance(content.get(key), dict) for key in ("web", "installed")):
        return _CLIENT
    if isinstance(content.get("data"), list):
        return _SEVERAL
    if isinstance(content.get("client_id"), str) or any(key in content for key in _TOKEN_KEYS):
        return ""
    return _NOTHING
