"""The knobs of a fake Google: plain attributes, read at each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import clock


@dataclass(eq=False, repr=False)
class Behaviour:
    """How the fake behaves until told otherwise.

    Attributes:
        now: the clock, in seconds since the epoch. Tokens, codes and pages expire by it.
        delay: seconds that each token request takes longer.
        access_token_lifetime: seconds; stands as ``expires_in`` in token responses.
        refresh_token_lifetime: seconds, or ``None`` for no end. When set, token responses carry
            ``refresh_token_expires_in``, as Google's do for time-limited access.
        certs_max_age: seconds for which the signing keys may be cached.
        sends_iss: whether authorization responses carry ``iss`` (RFC 9207). Google's do not.
        always_sends_refresh_token: whether each offline authorization gives a refresh token, and
            not only the first one and those with ``prompt=consent``.
    """

    now: Callable[[], float] = field(default=clock.timestamp)
    delay: float = 0.0
    access_token_lifetime: int = 3599
    refresh_token_lifetime: int | None = None
    certs_max_age: int = 3600
    sends_iss: bool = False
    always_sends_refresh_token: bool = False
