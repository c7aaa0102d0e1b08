"""Answers that are decided beforehand: outages, nonsense, slowness, and wrong fields."""

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
    """What one request gets instead of its proper answer.

    Attributes:
        status: the HTTP status.
        body: text and bytes are sent as they are; anything else as JSON.
        content_type: of the body.
        delay: seconds before the answer.
        headers: further headers.
        drop: close the connection, halfway through the body, or at once if there is none.
        takes_effect: do what was asked first, so that the proper answer is lost.
    """

    status: int
    body: Any
    content_type: str
    delay: float
    headers: Mapping[str, str]
    drop: bool
    takes_effect: bool

    def answer(self) -> Response:
        """Wait if told to, and return the answer.

        Raises:
            ConnectionAbortedError: to close the connection without an answer.
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
    """What is wrong with the next JSON answer.

    Attributes:
        fields: top-level fields to set, to any JSON value.
        remove: fields to leave out.
    """

    fields: Mapping[str, Any]
    remove: tuple[str, ...]

    def apply(self, response: Response) -> None:
        """Change the fields of an answer; a list or a page has none to change."""
        document = response.get_json()
        if isinstance(document, dict):
            response.set_data(json.dumps(replace_fields(document, self.fields, self.remove)))


def replace_fields(
    document: Mapping[str, Any], fields: Mapping[str, Any], remove: Iterable[str]
) -> dict[str, Any]:
    """Return a JSON object with some fields set and others left out."""
    unwanted = frozenset(remove)
    merged = {**document, **fields}
    return {name: value for name, value in merged.items() if name not in unwanted}


@dataclass(frozen=True, kw_only=True, eq=False)
class LastingFault:
    """A fault that is there until it is taken away.

    Attributes:
        path: of the endpoint.
        user: whose requests fail; ``None`` for everybody's.
        fault: what they get.
    """

    path: str
    user: FakeUser | None
    fault: Fault

    def meets(self, path: str, user: FakeUser | None) -> bool:
        """Tell whether a request to this path fails, which speaks for this user."""
        return self.path == path and self.user in (None, user)


class QueuesByPath(Generic[T]):
    """What awaits the next requests to each path, first in first out. The caller holds the lock."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, deque[T]] = defaultdict(deque)

    def add(self, path: str, item: T, count: int = 1) -> None:
        """Let this await the next ``count`` requests to the path."""
        self._queues[path].extend([item] * count)

    def take(self, path: str) -> T | None:
        """Return what awaits the next request to this path, if there is anything."""
        queue = self._queues.get(path)
        return queue.popleft() if queue else None
