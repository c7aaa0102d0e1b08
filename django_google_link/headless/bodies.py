"""JSON in: whatever comes, it is one JSON object or a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import FrontEndError

#: Bytes: a ticket and a code have a few thousand.
LONGEST_BODY = 65_536


def check_content_type(content_type: str) -> None:
    """Check that the sender says it is JSON: a form of another site's page cannot.

    Args:
        content_type: as in the header.

    Raises:
        FrontEndError: when it is something else.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise FrontEndError(
            415, "unsupported_media_type", "Send JSON, with Content-Type: application/json."
        )


def check_length(written: str | None) -> None:
    """Check that a body is not too long to be read.

    Args:
        written: the header ``Content-Length``.

    Raises:
        FrontEndError: when it is.
    """
    length = written or ""
    if length.isdecimal() and (len(length) > 9 or int(length) > LONGEST_BODY):
        raise _refuse_length()


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        FrontEndError: when it is something else, is not UTF-8, or names a member twice.
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
    """Check that what was read is an object: whoever has parsed it may have got anything.

    Raises:
        FrontEndError: when it is something else.
    """
    if not isinstance(data, Mapping):
        raise FrontEndError(400, "invalid_json", "The body is not a JSON object.")


def _refuse_length() -> FrontEndError:
    return FrontEndError(413, "body_too_large", f"The body is longer than {LONGEST_BODY} bytes.")


def _pair_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("A member is named twice.")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON.")
