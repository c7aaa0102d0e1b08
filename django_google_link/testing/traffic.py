"""What goes over the wire: the faults to come, and the requests that came."""

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
    """The part of ``FakeGoogle`` that fails, and that remembers."""

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
        """Let the next requests to an endpoint fail. Several calls queue up.

        Args:
            count: how many requests.
            endpoint: ``"token"``, ``"revoke"``, ``"certs"``, ``"authorize"``, ``"userinfo"``,
                ``"discovery"``, ``"consent"``, or the path of an API request.
            status: the HTTP status; 200 with a strange body is fine.
            body: text and bytes are sent as they are; anything else as JSON.
            content_type: of the body.
            delay: seconds before the answer.
            headers: further headers.
            drop: close the connection, halfway through the body, or at once if there is none.
            takes_effect: do what was asked first, so that only the answer is lost: a code is
                spent, a refresh token replaced, a grant revoked.

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
        """Let every request to an endpoint fail for as long as this block lasts::

            with google.failing(status=503):
                ...  # Google is down.
            with google.failing(user=alice, status=429):
                ...  # It has enough of Alice, and serves all others.

        What :meth:`fail_next` has queued up comes first; of several blocks the inner one decides.

        Args:
            user: whose requests fail, by the refresh token, the code or the access token in them;
                everybody's if not given.
            endpoint: as for :meth:`fail_next`, like all that follows.
            status: the HTTP status.
            body: text and bytes are sent as they are; anything else as JSON.
            content_type: of the body.
            delay: seconds before the answer.
            headers: further headers.
            drop: close the connection, halfway through the body, or at once if there is none.
            takes_effect: do what was asked first.

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

    def fail_next_authorization(self, error: str, *, description: str = "", count: int = 1) -> None:
        """Let the next authorization requests come back with an error (RFC 6749 section 4.1.2.1).

        No page is shown. Several calls queue up. To press Cancel there is ``deny()``.

        Args:
            error: the code, such as ``"server_error"`` or ``"temporarily_unavailable"``.
            description: sent as ``error_description``, whatever it says.
            count: how many requests get it.
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
        """Change fields of the next JSON object that an endpoint answers with, with status 200.

        All else in it stays as it is, which makes it right for "one wrong type in one field"; for
        another document altogether see ``fail_next(status=200, body=...)``. Several calls queue up.

        Args:
            endpoint: named as in ``fail_next``, such as ``"token"``, ``"certs"``, ``"userinfo"``.
            fields: top-level fields to set, to any JSON value.
            remove: fields to leave out.

        Raises:
            ValueError: for an unknown endpoint.
        """
        tampering = ResponseTampering(fields=dict(fields or {}), remove=tuple(remove))
        with self._provider.lock:
            self._provider.response_tamperings.add(path_of(endpoint), tampering)

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
