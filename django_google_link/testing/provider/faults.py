"""Faults: responses that are set in advance, and changes to responses."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from .identities import FakeUser

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A response that replaces the proper one.

    Attributes:
        status: the HTTP status.
        body: strings and bytes are sent unchanged, other values as JSON.
        content_type: the content type of the body.
        delay: the seconds before the response.
        headers: additional headers.
        drop: whether to close the connection halfway through the body, or immediately if there is
            none.
        takes_effect: whether to process the request first, so that the proper response is lost.
    """

    status: int
    body: Any
    content_type: str
    delay: float
    headers: Mapping[str, str]
    drop: bool
    takes_effect: bool

    def answer(self) -> Response:
        """Return the response, after the delay.

        Raises:
            ConnectionAbortedError: to close the connection without a response.
        """
        time.sleep(self.delay)
        body = _encode_body(self.body)
        if not self.drop:
            return Response(body, self.status, self.headers, content_type=self.content_type)
        if not body:
            raise ConnectionAbortedError
        headers = {**self.headers, "Content-Length": str(len(body))}
        return Response(_yield_half(body), self.status, headers, content_type=self.content_type)


def _encode_body(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _yield_half(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise ConnectionAbortedError


@dataclass(frozen=True, kw_only=True)
class ResponseTampering:
    """Changes to the next JSON response.

    Attributes:
        fields: top-level members to set, to any JSON value.
        remove: members to leave out.
    """

    fields: Mapping[str, Any]
    remove: tuple[str, ...]

    def apply(self, response: Response) -> None:
        """Change the members of a response, unless it is a list or a page."""
        document = response.get_json()
        if isinstance(document, dict):
            response.set_data(json.dumps(replace_fields(document, self.fields, self.remove)))


def replace_fields(
    document: Mapping[str, Any], fields: Mapping[str, Any], remove: Iterable[str]
) -> dict[str, Any]:
    """Return a JSON object with some members set and others left out."""
    unwanted = frozenset(remove)
    merged = {**document, **fields}
    return {name: value for name, value in merged.items() if name not in unwanted}


@dataclass(frozen=True, kw_only=True, eq=False)
class LastingFault:
    """A fault that lasts until it is removed.

    Attributes:
        path: the path of the endpoint.
        user: the user whose requests fail; ``None`` for everybody's.
        fault: the response to them.
    """

    path: str
    user: FakeUser | None
    fault: Fault

    def meets(self, path: str, user: FakeUser | None) -> bool:
        """Return whether a request to this path, on behalf of this user, fails."""
        return self.path == path and self.user in (None, user)


class QueuesByPath(Generic[T]):
    """Queues of items for the next requests to each path. The caller holds the lock."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, deque[T]] = defaultdict(deque)

    def add(self, path: str, item: T, count: int = 1) -> None:
        """Queue an item for the next ``count`` requests to a path."""
        self._queues[path].extend([item] * count)

    def take(self, path: str) -> T | None:
        """Return the item for the next request to this path, or ``None``."""
        queue = self._queues.get(path)
        return queue.popleft() if queue else None
