"""JSON responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

from .errors import OAuthError

NO_STORE = {"Cache-Control": "no-cache, no-store, max-age=0, must-revalidate", "Pragma": "no-cache"}


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] = NO_STORE) -> Response:
    """Return the data as JSON, not to be cached unless the headers say otherwise."""
    content_type = "application/json; charset=utf-8"
    return Response(json.dumps(data, indent=2), status, headers, content_type=content_type)


def oauth_error_response(error: OAuthError) -> Response:
    """Return the error in the format of RFC 6749 section 5.2."""
    body = {"error": error.error, "error_description": error.description}
    return json_response(body, error.status)
