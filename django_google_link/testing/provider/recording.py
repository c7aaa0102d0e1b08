"""What the fake was asked, for tests to look at."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from werkzeug.wrappers import Request


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """One request to the fake.

    Attributes:
        method: ``"GET"``, ``"POST"``, …
        path: the path, decoded.
        query: the parameters in the address; of a repeated one the first.
        form: the parameters in an urlencoded body; of a repeated one the first.
        json: what a JSON body says, or ``None``.
        headers: case-insensitive.
        at: when it came, by the fake's clock.
    """

    method: str
    path: str
    query: dict[str, str] = field(repr=False)
    form: dict[str, str] = field(repr=False)
    json: Any = field(repr=False)
    headers: Headers = field(repr=False)
    at: float


def record(request: Request, at: float) -> RecordedRequest:
    """Return what is worth keeping of a request. Reads the body, so no lock may be held."""
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
    """The last requests. The caller holds the provider's lock.

    Args:
        size: how many are kept, so that a demonstration may run for weeks.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=size)

    def add(self, request: RecordedRequest) -> None:
        """Keep a request."""
        self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """Return the recorded requests, oldest first."""
        return list(self._requests)

    def clear(self) -> None:
        """Forget the recorded requests."""
        self._requests.clear()
