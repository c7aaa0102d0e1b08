"""How long requests to OAuth endpoints take, and how they end: for monitoring."""

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
#: Of a revocation: the token was dead already.
INVALID_TOKEN = "invalid_token"  # noqa: S105  no secret

#: What an error stands for: the first kind that it is of.
_OUTCOMES: dict[type[BaseException], str] = {
    RefreshUnavailableError: "unavailable",
    ClientMisconfiguredError: "client_refused",
    GrantLostError: "invalid_grant",
    GoogleLinkError: "refused",
}
#: Those of these words that errors have, too.
_WORDS = frozenset({"timeout", "unreachable", "invalid_grant"})


@dataclass
class Measurement:
    """One request; its outcome is that of what it raises, if it raises anything."""

    outcome: str = SUCCESS


@contextmanager
def measured(kind: str, client: str) -> Iterator[Measurement]:
    """Send ``token_request_finished`` when this block is over, however it ends.

    Args:
        kind: what is asked for.
        client: the name of the client, or of the service account; empty for what is nobody's.
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
    """Return the outcome that an error stands for: one of a few, whatever a provider has said."""
    word = getattr(error, "error", "")
    if isinstance(error, TokenEndpointError) and word in _WORDS:
        return str(word)
    kinds = (outcome for kind, outcome in _OUTCOMES.items() if isinstance(error, kind))
    return next(kinds, "interrupted")
