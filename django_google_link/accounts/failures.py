"""What a failed refresh indicates: an outage, a network problem, or a problem of one account."""

from __future__ import annotations

from ..exceptions import RefreshUnavailableError, TokenEndpointError
from ..models import RefreshProblem
from ..oauth.endpoints import THROTTLING_ERRORS

#: HTTP statuses that throttle one account while others are served.
_THROTTLING_STATUSES = frozenset({403, 429})

#: Problems of the issuer or of the connection to it, which affect all accounts.
OUTAGES = (RefreshProblem.UNAVAILABLE, RefreshProblem.UNREACHABLE)


def judge_failure(error: TokenEndpointError) -> RefreshProblem:
    """Return what a failed refresh indicates.

    Args:
        error: raised or returned by ``endpoints.refresh``: no response, an unusable one, or an
            error other than ``invalid_grant``.
    """
    if not isinstance(error, RefreshUnavailableError):
        return RefreshProblem.REFUSED
    if error.error in THROTTLING_ERRORS or error.status in _THROTTLING_STATUSES:
        return RefreshProblem.THROTTLED
    if error.error == "unreachable":
        return RefreshProblem.UNREACHABLE
    return RefreshProblem.UNAVAILABLE


def describe_failure(error: TokenEndpointError) -> str:
    """Return a short description of a failure, in ASCII, to be stored in the row."""
    parts = [error.error]
    if error.error == "unreachable":
        parts.append(error.error_description)
    if error.error == "no_answer":
        parts = []
    if error.status and judge_failure(error) != RefreshProblem.REFUSED:
        parts.append(f"HTTP {error.status}")
    return ", ".join(filter(None, parts)).encode("ascii", "replace").decode()[:100]
