"""httpx's two clients, called in the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx
from asgiref.sync import async_to_sync


def ask_synchronously(method: str, url: str, *, verify: Any = True, **how: Any) -> httpx.Response:
    """Make a request with ``Client``."""
    with httpx.Client(follow_redirects=True, verify=verify) as client:
        return client.request(method, url, **how)


def ask_asynchronously(method: str, url: str, *, verify: Any = True, **how: Any) -> httpx.Response:
    """Make a request with ``AsyncClient``, in a new event loop."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(follow_redirects=True, verify=verify) as client:
            return await client.request(method, url, **how)

    return async_to_sync(ask)()


#: Makes a request with either.
HTTPX_CLIENTS: dict[str, Callable[..., httpx.Response]] = {
    "sync": ask_synchronously,
    "async": ask_asynchronously,
}


def stream_once(ask: Callable[..., httpx.Response], pieces: Iterable[bytes]) -> Any:
    """Return a request body that can be read only once."""

    async def generate() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return generate() if ask is ask_asynchronously else (piece for piece in pieces)
