"""What goes over the wire: the faults to come, and the requests that came."""

from __future__ import annotations

from collections.abc import Mapping

from .console import Console
from .provider.endpoints import path_of
from .provider.faults import Body, Fault
from .provider.recording import RecordedRequest


class Traffic(Console):
    """The part of ``FakeGoogle`` that fails, and that remembers."""

    def fail_next(
        self,
        count: int = 1,
        *,
        endpoint: str = "token",
        status: int = 503,
        body: Body = "",
        content_type: str = "application/json",
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
        drop: bool = False,
    ) -> None:
        """Let the next requests to an endpoint fail. Several calls queue up.

        Args:
            count: how many requests.
            endpoint: ``"token"``, ``"revoke"``, ``"certs"``, ``"authorize"``, ``"userinfo"``,
                ``"discovery"``, ``"consent"``, or the path of an API request.
            status: the HTTP status; 200 with a strange body is fine.
            body: sent as it is; a dict or a list as JSON.
            content_type: of the body.
            delay: seconds before the answer.
            headers: further headers.
            drop: close the connection, halfway through the body, or at once if there is none.

        Raises:
            ValueError: for an unknown endpoint.
        """
        fault = Fault(
            status=status,
            body=body,
            content_type=content_type,
            delay=delay,
            headers=headers or {},
            drop=drop,
        )
        with self._provider.lock:
            self._provider.faults.add(path_of(endpoint), fault, count)

    def error_next(
        self,
        error: str,
        *,
        description: str = "",
        subtype: str | None = None,
        status: int = 400,
        count: int = 1,
    ) -> None:
        """Let the token endpoint answer with an error (RFC 6749 section 5.2).

        Args:
            error: the code, such as ``"invalid_grant"``.
            description: sent as ``error_description``.
            subtype: sent as ``error_subtype``, such as ``"invalid_rapt"``.
            status: the HTTP status.
            count: how many requests get it.
        """
        body = {"error": error}
        if description:
            body["error_description"] = description
        if subtype:
            body["error_subtype"] = subtype
        self.fail_next(count, status=status, body=body)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, oldest first; at most the last 10,000."""
        with self._provider.lock:
            return self._provider.requests.all()

    def requests_to(self, endpoint: str) -> list[RecordedRequest]:
        """Return the requests to an endpoint, named as in ``fail_next``.

        Raises:
            ValueError: for an unknown endpoint.
        """
        path = path_of(endpoint)
        return [request for request in self.requests if request.path == path]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self._provider.lock:
            self._provider.requests.clear()
