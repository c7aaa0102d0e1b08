"""The OpenAPI 3.1 document of the endpoints."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


def read_openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the endpoints.

    Its paths are relative to the path at which the endpoints are included.
    """
    document: dict[str, Any] = json.loads(_read_text())
    return document


@cache
def _read_text() -> str:
    return Path(__file__).with_name("openapi.json").read_text(encoding="utf-8")
