"""How long documents that an issuer publishes are cached (RFC 9111 section 5.2.2.1)."""

from __future__ import annotations

import re

from django.views.decorators.debug import sensitive_variables

from .transport import Answer

_LONGEST = 24 * 3600


@sensitive_variables()
def read_max_age(answer: Answer, *, default: int) -> int:
    """Return the seconds for which a response may be cached: its ``max-age``, at most a day."""
    match = re.search(r"max-age=(\d{1,9})", answer.headers.get("Cache-Control", ""))
    return min(int(match[1]), _LONGEST) if match else default
