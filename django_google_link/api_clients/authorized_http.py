"""httplib2's interface on the shared connection pool. Imported late: it needs the extra ``api``."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from django.core.exceptions import ImproperlyConfigured

from ..conf.settings import conf
from ..http.failures import list_failures, to_os_error
from ..http.pool import send_request
from ..http.streams import find_position, find_rewinding
from .addresses import find_address
from .credentials import find_api_endpoint, make_credentials_for
from .insufficient_scope import refuse_insufficient_scope
from .sessions import without_traceback

#: The error message of everything that needs the extra.
MISSING_EXTRA = (
    'This needs google-api-python-client. Install the extra "api": '
    'pip install "django-google-link[api]".'
)

try:
    import httplib2
except ImportError as error:
    raise ImproperlyConfigured(MISSING_EXTRA) from error

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from ..conf.service_accounts import ServiceAccount
    from ..models import GoogleAccount
    from .credentials import AccountCredentials, ServiceAccountCredentials

    Credentials = AccountCredentials | ServiceAccountCredentials

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# Without 308, with which Google's APIs request the next chunk of an upload.
_REDIRECT_CODES = frozenset({300, 301, 302, 303, 307})
_OF_THE_BODY = ("content-length", "content-type", "content-encoding", "transfer-encoding")
_OF_THE_FIRST_HOST = ("authorization", "cookie", "if-none-match", "if-modified-since")


def open_http_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> AuthorizedHttp:
    """Return an object with httplib2's interface that sends the account's access token.

    Args:
        account: a linked account, already checked to be ready; or a service account.
        scopes: the scopes of a service account's token.

    Raises:
        ClientMisconfiguredError: as :func:`~.credentials.find_api_endpoint`.
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    api_endpoint = find_api_endpoint(account)
    return AuthorizedHttp(make_credentials_for(account, scopes=scopes), api_endpoint=api_endpoint)


class PooledHttp:
    """The part of ``httplib2.Http`` that googleapiclient uses, on the shared connection pool.

    The connections are shared by the whole process; threads may share this object too.

    Args:
        api_endpoint: an emulator that receives all requests to Google's APIs.

    ``timeout`` is in seconds; ``None`` stands for ``API_TIMEOUT``.
    """

    def __init__(self, *, api_endpoint: str | None = None) -> None:
        self.follow_redirects = True
        self.redirect_codes = _REDIRECT_CODES
        self.timeout: float | None = None
        self._api_endpoint = api_endpoint

    def request(  # noqa: PLR0917  httplib2's
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 5,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request; return the response and its body.

        Args:
            uri: the URL.
            method: the HTTP method.
            body: a string, bytes, or a file-like object.
            headers: the request headers.
            redirections: the most redirects to follow.
            connection_type: ignored.

        Raises:
            OSError: when no complete response arrived.
            httplib2.HttpLib2Error: when the host cannot be resolved, or there are too many
                redirects.
            ValueError: when the URL is not https.
        """
        return without_traceback(  # type: ignore[no-any-return]
            self._request, uri, method, body, headers or {}, redirections
        )

    def close(self) -> None:
        """Do nothing: the connections are shared."""

    def __getstate__(self) -> dict[str, Any]:
        # googleapiclient.http.set_user_agent replaces the method by a function.
        return {name: value for name, value in vars(self).items() if name != "request"}

    def _request(
        self, uri: str, method: str, body: Any, headers: Mapping[str, str], redirections: int
    ) -> tuple[httplib2.Response, bytes]:
        plain = {name.lower(): value for name, value in headers.items()}
        body, start = _make_rewindable(body, plain)
        return self._follow(
            uri,
            method=method,
            body=body,
            start=start,
            headers=self._complete_headers(plain),
            redirections=redirections,
        )

    def _complete_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        complete = {"user-agent": "(gzip)", **headers}
        complete["user-agent"] = f"{conf.user_agent} {complete['user-agent']}"
        if "range" not in complete:
            complete.setdefault("accept-encoding", "gzip, deflate")
        return complete

    def _follow(
        self,
        uri: str,
        *,
        method: str,
        body: Any,
        start: int | None,
        headers: dict[str, str],
        redirections: int,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request and follow redirects, without sending the token along."""
        first = uri = find_address(uri, self._api_endpoint)
        previous = None
        while True:
            if start is not None:
                body.seek(start)
            response, content = self._send(uri, method, body, headers)
            response.previous = previous
            location = self._find_location(uri, method, response, content)
            if location is None:
                _drop_foreign_location(response, first)
                return response, content
            if not redirections:
                raise httplib2.RedirectLimit("There were too many redirects.", response, content)
            dropped: Sequence[str] = _OF_THE_FIRST_HOST
            if response.status in {302, 303} and method not in {"GET", "HEAD"}:
                method, body, start = "GET", None, None
                dropped = (*dropped, *_OF_THE_BODY)
            headers = {name: value for name, value in headers.items() if name not in dropped}
            redirections -= 1
            uri, previous = find_address(location, self._api_endpoint), response

    def _find_location(
        self, uri: str, method: str, response: httplib2.Response, content: bytes
    ) -> str | None:
        """Return the target of a redirect that is to be followed."""
        status = response.status
        if not self.follow_redirects or status not in self.redirect_codes:
            return None
        if method not in _SAFE and status not in {303, 308}:
            return None
        if "location" in response:
            return urljoin(uri, response["location"])
        if status == 300:
            return None
        raise httplib2.RedirectMissingLocation(
            "A redirect has no Location header.", response, content
        )

    def _send(
        self, uri: str, method: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[httplib2.Response, bytes]:
        from urllib3 import exceptions

        timeout = conf.api_timeout if self.timeout is None else self.timeout
        try:
            answer = send_request(method, uri, body=body, headers=headers, timeout=timeout)
        except exceptions.DecodeError:
            raise httplib2.FailedToDecompressContent(
                "The response could not be decompressed.", httplib2.Response({"status": "500"}), b""
            ) from None
        except list_failures() as error:
            raise _translate(error, uri) from None
        return _to_response(answer), answer.data


class AuthorizedHttp(PooledHttp):
    """httplib2's interface, with the access token of an account.

    Threads may share this object. If an API rejects the token with 401, the request is repeated
    once with a new one.

    Args:
        credentials: the account's credentials.
        api_endpoint: an emulator that receives all requests to Google's APIs.

    ``timeout`` is in seconds; ``None`` stands for ``API_TIMEOUT``.
    """

    def __init__(self, credentials: Credentials, *, api_endpoint: str | None = None) -> None:
        super().__init__(api_endpoint=api_endpoint)
        self.credentials = credentials

    def request(  # noqa: PLR0917  httplib2's
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 5,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request; return the response and its body.

        For the arguments and further errors see :class:`PooledHttp`.

        Raises:
            ConsentRequiredError: (a ``RefreshError``) when the user must act; among others when the
                API reports insufficient scope and a declared scope is missing.
        """
        response, content = super().request(
            uri, method, body, headers, redirections, connection_type
        )
        # The token was not sent to the target of a redirect.
        if response.previous is None:
            refuse_insufficient_scope(self.credentials, response.status, response, lambda: content)
        return response, content

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.credentials!r}>"

    def _request(
        self, uri: str, method: str, body: Any, headers: Mapping[str, str], redirections: int
    ) -> tuple[httplib2.Response, bytes]:
        plain = {name.lower(): value for name, value in headers.items()}
        body, start = _make_rewindable(body, plain)
        authorized = self._authorize(method, uri, plain)
        send = partial(
            self._follow, uri, method=method, body=body, start=start, redirections=redirections
        )
        response, content = send(headers=authorized)
        if response.status != 401 or response.previous is not None:
            return response, content
        self.credentials.refresh(None)
        again = self._authorize(method, uri, plain)
        can_rewind = start is not None or find_rewinding(body) is not None
        if again["authorization"] == authorized["authorization"] or not can_rewind:
            return response, content
        return send(headers=again)

    def _authorize(self, method: str, uri: str, headers: Mapping[str, str]) -> dict[str, str]:
        authorized = self._complete_headers(headers)
        self.credentials.before_request(None, method, uri, authorized)  # type: ignore[no-untyped-call]
        return authorized


def _translate(error: BaseException, uri: str) -> Exception:
    """Return the exception that googleapiclient expects, so that it retries where that helps."""
    problem = to_os_error(error)
    if isinstance(problem, socket.gaierror):
        return httplib2.ServerNotFoundError(
            f"Unable to find the server at {urlsplit(uri).hostname}: {problem.strerror}"
        )
    return problem


def _to_response(answer: BaseHTTPResponse) -> httplib2.Response:
    headers = {name: answer.headers[name] for name in answer.headers}
    response = httplib2.Response({**headers, "status": str(answer.status)})
    response.reason, response.version = answer.reason or "", answer.version
    codings = response.get("content-encoding", "").lower().replace(" ", "").split(",")
    if set(codings) <= set(answer.CONTENT_DECODERS):
        # Media downloads count the decompressed bytes.
        response["content-length"] = str(len(answer.data))
        response["-content-encoding"] = response.pop("content-encoding")
    return response


def _drop_foreign_location(response: httplib2.Response, first: str) -> None:
    """Remove a ``Content-Location`` on another host: a media download would send it the token."""
    location = urlsplit(response.get("content-location", ""))
    if (location.scheme, location.netloc) != urlsplit(first)[:2]:
        response.pop("content-location", None)


class _Slice:
    """A chunk of a stream that googleapiclient uploads, made seekable."""

    def __init__(self, piece: Any) -> None:
        self.read = piece.read
        self.tell = piece._stream.tell
        self.seek = piece._stream.seek


def _make_rewindable(body: Any, headers: dict[str, str]) -> tuple[Any, int | None]:
    """Return the body to send, and the position to seek to before each attempt.

    Args:
        body: as given.
        headers: the request headers; the length of a body in memory is added.
    """
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes):
        headers["content-length"] = str(len(body))
        return body, None
    if hasattr(body, "_begin") and hasattr(body, "_stream"):
        return _Slice(body), body._begin
    return body, _find_start(body, headers.get("content-length", ""))


def _find_start(body: Any, length: str) -> int | None:
    """Return where a body starts: a stream at its end is taken to have been sent before.

    googleapiclient repeats an upload, after a 503 for instance, without rewinding the stream.
    """
    start = find_position(body)
    if start is None or not length.isdecimal():
        return start
    try:
        body.seek(0, os.SEEK_END)
        end: int = body.tell()
    except (OSError, ValueError):
        return start  # Its end cannot be found.
    return start if start < end else max(end - int(length), 0)
