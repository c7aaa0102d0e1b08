"""A gRPC server on this machine, which honours the tokens that a fake Google honours."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import requests

from django_google_link.testing import FakeGoogle

#: Two methods: one answer, and a stream of three.
UNARY, STREAM = "/test.Echo/Once", "/test.Echo/Thrice"


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, google: FakeGoogle, seen: list[str], further: dict[str, Any]) -> None:
        self._google = google
        self._seen = seen
        self._further = further

    def service(self, details: Any) -> Any:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(self._answer)
        if details.method == STREAM:
            return grpc.unary_stream_rpc_method_handler(self._stream)
        serialize, answer = self._further[details.method]
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: answer(self._answer(request, context)),
            response_serializer=serialize,
        )

    def _answer(self, request: bytes, context: Any) -> bytes:
        token = dict(context.invocation_metadata()).get("authorization", "")
        self._seen.append(token)
        url = f"{self._google.url}/check"
        if requests.get(url, headers={"Authorization": token}).status_code != 200:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request had invalid credentials.")
        return request

    def _stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield from [self._answer(request, context)] * 3


@contextmanager
def grpc_server(google: FakeGoogle, **further: Any) -> Iterator[tuple[str, list[str]]]:
    """Serve, and yield the address and the tokens that have come.

    Args:
        google: whose tokens are honoured.
        further: methods: how to serialize an answer, and what makes it.
    """
    google.answer("/check", {})
    seen: list[str] = []
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([_Handlers(google, seen, further.get("methods", {}))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        server.stop(None).wait()
