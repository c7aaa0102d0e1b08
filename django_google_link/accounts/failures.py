"""What the failure of a refresh says: of Google, of this machine's network, or of one account."""

from __future__ import annotations

from ..exceptions import RefreshUnavailableError, TokenEndpointError
from ..models import RefreshProblem
from ..oauth.endpoints import THROTTLING_ERRORS

#: HTTP statuses that ask one account for patience, while others are served.
_THROTTLING_STATUSES = frozenset({403, 429})

#: Those that are the issuer's, or the way to it: they are the same for all accounts.
OUTAGES = (RefreshProblem.UNAVAILABLE, RefreshProblem.UNREACHABLE)


def judge_failure(error: TokenEndpointError) -> RefreshProblem:
    """Return what a failed refresh says.

    Args:
        error: of ``endpoints.refresh``: no answer, none that makes sense, or a refusal which says
            nothing of the grant.
    """
    if not isinstance(error, RefreshUnavailableError):
        return RefreshProblem.REFUSED
    if error.error in THROTTLING_ERRORS or error.status in _THROTTLING_STATUSES:
        return RefreshProblem.THROTTLED
    if error.error == "unreachable":
        return RefreshProblem.UNREACHABLE
    return RefreshProblem.UNAVAILABLE


def describe_failure(error: TokenEndpointError) -> str:
    """Return a failure in a few ASCII characters, for the row and whoever looks at it."""
    parts = [error.error]
    if error.error == "unreachable":
        parts.append(error.error_description)
    if error.error == "no_answer":
        parts = []
    if error.status and judge_failure(error) != RefreshProblem.REFUSED:
        parts.append(f"HTTP {error.status}")
    return ", ".join(filter(None, parts)).encode("ascii", "replace").decode()[:100]
