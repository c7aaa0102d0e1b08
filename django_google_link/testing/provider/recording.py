"""Records the requests to the fake, for tests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from werkzeug.wrappers import Request


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """A request to the fake.

    Attributes:
        method: ``"GET"``, ``"POST"``, …
        path: the path, decoded.
        query: the parameters in the URL; the first value, if one is repeated.
        form: the parameters in a form body; the first value, if one is repeated.
        json: the data of a JSON body, or ``None``.
        headers: the headers, case-insensitive.
        at: when it was received, by the fake's clock.
    """

    method: str
    path: str
    query: dict[str, str] = field(repr=False)
    form: dict[str, str] = field(repr=False)
    json: Any = field(repr=False)
    headers: Headers = field(repr=False)
    at: float


def record(request: Request, at: float) -> RecordedRequest:
    """Return the record of a request. It reads the body, so do not hold a lock."""
    return RecordedRequest(
        method=request.method,
        path=request.path,
        query=request.args.to_dict(),
        form=request.form.to_dict(),
        json=request.get_json(silent=True) if request.is_json else None,
        headers=Headers(request.headers),
        at=at,
    )


class RequestLog:
    """The most recent requests. The caller holds the provider's lock.

    Args:
        size: how many are kept; limited for demonstrations that run for weeks.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=size)

    def add(self, request: RecordedRequest) -> None:
        """Add a request."""
        self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """Return the recorded requests, oldest first."""
        return list(self._requests)

    def clear(self) -> None:
        """Delete the recorded requests."""
        self._requests.clear()
