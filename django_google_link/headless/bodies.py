"""Parses request bodies: each is a JSON object or rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import FrontEndError

#: The maximum length of a body in bytes. A ticket and a code have a few thousand.
LONGEST_BODY = 65_536


def check_content_type(content_type: str) -> None:
    """Check that the content type is JSON, which a form on another site's page cannot send.

    Args:
        content_type: the value of the ``Content-Type`` header.

    Raises:
        FrontEndError: if it is different.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise FrontEndError(
            415, "unsupported_media_type", "Send JSON, with Content-Type: application/json."
        )


def check_length(written: str | None) -> None:
    """Check the length of a body before it is read.

    Args:
        written: the value of the ``Content-Length`` header.

    Raises:
        FrontEndError: if it is too long.
    """
    length = written or ""
    if length.isdecimal() and (len(length) > 9 or int(length) > LONGEST_BODY):
        raise _refuse_length()


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        FrontEndError: if it is not a JSON object in UTF-8, or has a member twice.
    """
    if len(body) > LONGEST_BODY:
        raise _refuse_length()
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_pair_once, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise FrontEndError(400, "invalid_json", "The body is not valid JSON in UTF-8.") from None
    check_object(data)
    return dict(data)


def check_object(data: Any) -> None:
    """Check that parsed data is an object, whatever parser was used.

    Raises:
        FrontEndError: if it is not.
    """
    if not isinstance(data, Mapping):
        raise FrontEndError(400, "invalid_json", "The body is not a JSON object.")


def _refuse_length() -> FrontEndError:
    return FrontEndError(413, "body_too_large", f"The body is longer than {LONGEST_BODY} bytes.")


def _pair_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("A member occurs twice.")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON.")
