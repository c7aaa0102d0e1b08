"""Faults of the fake Google's responses, and the requests that it has received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .console import Console
from .provider.endpoints import path_of
from .provider.errors import OAuthError
from .provider.faults import Fault, LastingFault, ResponseTampering
from .provider.identities import FakeUser
from .provider.recording import RecordedRequest


class Traffic(Console):
    """The part of ``FakeGoogle`` that causes faults and records requests."""

    def fail_next(
        self,
        count: int = 1,
        *,
        endpoint: str = "token",
        status: int = 503,
        body: Any = "",
        content_type: str = "application/json",
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
        drop: bool = False,
        takes_effect: bool = False,
    ) -> None:
        """Make the next requests to an endpoint fail. Several calls are queued.

        Args:
            count: the number of requests.
            endpoint: ``"token"``, ``"revoke"``, ``"certs"``, ``"authorize"``, ``"userinfo"``,
                ``"discovery"``, ``"consent"``, or the path of an API request.
            status: the HTTP status, which may also be 200.
            body: strings and bytes are sent unchanged, other values as JSON.
            content_type: the content type of the body.
            delay: the seconds before the response.
            headers: additional headers.
            drop: whether to close the connection halfway through the body, or immediately if there
                is none.
            takes_effect: whether to process the request first, so that only the response is lost:
                a code is spent, a refresh token replaced, a grant revoked.

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
            takes_effect=takes_effect,
        )
        with self._provider.lock:
            self._provider.faults.add(path_of(endpoint), fault, count)

    @contextmanager
    def failing(
        self,
        *,
        user: FakeUser | None = None,
        endpoint: str = "token",
        status: int = 503,
        body: Any = "",
        content_type: str = "application/json",
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
        drop: bool = False,
        takes_effect: bool = False,
    ) -> Iterator[None]:
        """Make every request to an endpoint fail within this block::

            with google.failing(status=503):
                ...  # Google is down.
            with google.failing(user=alice, status=429):
                ...  # Only the requests of Alice are throttled.

        Faults queued by :meth:`fail_next` come first; of nested blocks the inner one applies.

        Args:
            user: whose requests fail, identified by the refresh token, code or access token in
                them; by default everybody's.
            endpoint: as for :meth:`fail_next`, like the following arguments.
            status: the HTTP status.
            body: strings and bytes are sent unchanged, other values as JSON.
            content_type: the content type of the body.
            delay: the seconds before the response.
            headers: additional headers.
            drop: whether to close the connection halfway through the body, or immediately if there
                is none.
            takes_effect: whether to process the request first.

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
            takes_effect=takes_effect,
        )
        lasting = LastingFault(path=path_of(endpoint), user=user, fault=fault)
        with self._provider.lock:
            self._provider.lasting_faults.append(lasting)
        try:
            yield
        finally:
            with self._provider.lock:
                self._provider.lasting_faults.remove(lasting)

    def error_next(
        self,
        error: str,
        *,
        description: str = "",
        subtype: str | None = None,
        status: int = 400,
        count: int = 1,
    ) -> None:
        """Make the token endpoint respond with an error (RFC 6749 section 5.2).

        Args:
            error: the error code, such as ``"invalid_grant"``.
            description: sent as ``error_description``.
            subtype: sent as ``error_subtype``, such as ``"invalid_rapt"``.
            status: the HTTP status.
            count: the number of requests.
        """
        body = {"error": error}
        if description:
            body["error_description"] = description
        if subtype:
            body["error_subtype"] = subtype
        self.fail_next(count, status=status, body=body)

    def fail_next_authorization(self, error: str, *, description: str = "", count: int = 1) -> None:
        """Make the next authorization requests end with an error (RFC 6749 section 4.1.2.1).

        No page is shown. Several calls are queued. To press Cancel, use ``deny()``.

        Args:
            error: the error code, such as ``"server_error"`` or ``"temporarily_unavailable"``.
            description: sent as ``error_description``, unchanged.
            count: the number of requests.
        """
        with self._provider.lock:
            errors = self._provider.authorization_errors
            errors.extend([OAuthError(error, description)] * count)

    def tamper_next_response(
        self,
        endpoint: str = "token",
        *,
        fields: Mapping[str, Any] | None = None,
        remove: Iterable[str] = (),
    ) -> None:
        """Change members of the next JSON object that an endpoint sends with status 200.

        The other members stay the same, to test a wrong type in one of them. For an entirely
        different body use ``fail_next(status=200, body=...)``. Several calls are queued.

        Args:
            endpoint: as for ``fail_next()``, such as ``"token"``, ``"certs"``, ``"userinfo"``.
            fields: top-level members to set, to any JSON value.
            remove: members to leave out.

        Raises:
            ValueError: for an unknown endpoint.
        """
        tampering = ResponseTampering(fields=dict(fields or {}), remove=tuple(remove))
        with self._provider.lock:
            self._provider.response_tamperings.add(path_of(endpoint), tampering)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The recorded requests, oldest first; at most the last 10,000."""
        with self._provider.lock:
            return self._provider.requests.all()

    def requests_to(self, endpoint: str) -> list[RecordedRequest]:
        """Return the recorded requests to an endpoint, named as for ``fail_next()``.

        Raises:
            ValueError: for an unknown endpoint.
        """
        path = path_of(endpoint)
        return [request for request in self.requests if request.path == path]

    def clear_requests(self) -> None:
        """Delete the recorded requests."""
        with self._provider.lock:
            self._provider.requests.clear()
