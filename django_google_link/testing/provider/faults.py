"""Answers that are decided beforehand: outages, nonsense, slowness."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Response

Body = str | bytes | dict[str, Any] | list[Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What one request gets instead of its proper answer.

    Attributes:
        status: the HTTP status.
        body: sent as it is; a dict or a list as JSON.
        content_type: of the body.
        delay: seconds before the answer.
        headers: further headers.
        drop: close the connection, halfway through the body, or at once if there is none.
    """

    status: int
    body: Body
    content_type: str
    delay: float
    headers: Mapping[str, str]
    drop: bool

    def answer(self) -> Response:
        """Wait if told to, and return the answer.

        Raises:
            ConnectionAbortedError: to close the connection without an answer.
        """
        time.sleep(self.delay)
        body = _as_bytes(self.body)
        if not self.drop:
            return Response(body, self.status, self.headers, content_type=self.content_type)
        if not body:
            raise ConnectionAbortedError
        headers = {**self.headers, "Content-Length": str(len(body))}
        return Response(_half(body), self.status, headers, content_type=self.content_type)


def _as_bytes(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _half(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise ConnectionAbortedError


class Faults:
    """The faults in waiting, by path, first in first out. The caller holds the lock."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, deque[Fault]] = defaultdict(deque)

    def add(self, path: str, fault: Fault, count: int) -> None:
        """Let the next ``count`` requests to this path fail."""
        self._queues[path].extend([fault] * count)

    def take(self, path: str) -> Fault | None:
        """Return the next fault of this path, if there is one."""
        queue = self._queues.get(path)
        return queue.popleft() if queue else None
