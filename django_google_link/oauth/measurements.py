"""Measures the duration and outcome of requests to OAuth endpoints, for monitoring."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .. import signals
from ..exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantLostError,
    RefreshUnavailableError,
    TokenEndpointError,
)

SUCCESS = "success"
#: The outcome of a revocation whose token was already invalid.
INVALID_TOKEN = "invalid_token"  # noqa: S105  no secret

#: The outcome for each class of errors; the first match counts.
_OUTCOMES: dict[type[BaseException], str] = {
    RefreshUnavailableError: "unavailable",
    ClientMisconfiguredError: "client_refused",
    GrantLostError: "invalid_grant",
    GoogleLinkError: "refused",
}
#: Error codes that are outcomes themselves.
_WORDS = frozenset({"timeout", "unreachable", "invalid_grant"})


@dataclass
class Measurement:
    """A request. If it raises, the exception determines the outcome."""

    outcome: str = SUCCESS


@contextmanager
def measured(kind: str, client: str) -> Iterator[Measurement]:
    """Send ``token_request_finished`` when the block ends, even by an exception.

    Args:
        kind: the kind of request.
        client: the name of the client or service account; empty if there is none.
    """
    measurement, started = Measurement(), time.monotonic()
    try:
        yield measurement
    except BaseException as error:
        measurement.outcome = judge_error(error)
        raise
    finally:
        signals.token_request_finished.send_robust(
            None,
            kind=kind,
            client=client,
            outcome=measurement.outcome,
            seconds=time.monotonic() - started,
        )


def judge_error(error: BaseException) -> str:
    """Return the outcome for an exception, from a fixed set of words."""
    word = getattr(error, "error", "")
    if isinstance(error, TokenEndpointError) and word in _WORDS:
        return str(word)
    kinds = (outcome for kind, outcome in _OUTCOMES.items() if isinstance(error, kind))
    return next(kinds, "interrupted")
