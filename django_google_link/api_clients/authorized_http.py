"""httplib2's interface over the pool of the process. Imported late: httplib2 comes with ``api``."""

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

#: Said by everything that needs the extra.
MISSING_EXTRA = (
    'This needs google-api-python-client, which comes with the extra "api": '
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
# Without 308, by which Google's APIs ask for the next piece of an upload.
_REDIRECT_CODES = frozenset({300, 301, 302, 303, 307})
_OF_THE_BODY = ("content-length", "content-type", "content-encoding", "transfer-encoding")
_OF_THE_FIRST_HOST = ("authorization", "cookie", "if-none-match", "if-modified-since")


def open_http_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> AuthorizedHttp:
    """Return an object with httplib2's interface that sends the account's access token.

    Args:
        account: a linked account that is ready, which is not judged again; or a service account.
        scopes: of a service account's token.

    Raises:
        ClientMisconfiguredError: as :func:`~.credentials.find_api_endpoint`.
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    api_endpoint = find_api_endpoint(account)
    return AuthorizedHttp(make_credentials_for(account, scopes=scopes), api_endpoint=api_endpoint)


class PooledHttp:
    """What googleapiclient makes its requests by: the part of ``httplib2.Http`` that it uses.

    Connections are shared by the process; threads may share this object too.

    Args:
        api_endpoint: of an emulator, to which everything for Google's APIs goes.

    ``timeout`` is in seconds; ``None`` is ``API_TIMEOUT``.
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
        """Make a request, and return the answer and its body.

        Args:
            uri: where to.
            method: the HTTP method.
            body: text, bytes, or something to read it from.
            headers: to send.
            redirections: how many to follow.
            connection_type: not used.

        Raises:
            OSError: when no whole answer came.
            httplib2.HttpLib2Error: when the host is not known, or redirects do not end.
            ValueError: when the address is not https.
        """
        return without_traceback(  # type: ignore[no-any-return]
            self._request, uri, method, body, headers or {}, redirections
        )

    def close(self) -> None:
        """Do nothing: the connections are not this object's alone."""

    def __getstate__(self) -> dict[str, Any]:
        # googleapiclient.http.set_user_agent puts a function in place of the method.
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
        """Send a request, and follow redirects. The token does not go along, wherever they lead."""
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
                raise httplib2.RedirectLimit("There are too many redirects.", response, content)
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
        """Return where an answer leads to, if it is to be followed."""
        status = response.status
        if not self.follow_redirects or status not in self.redirect_codes:
            return None
        if method not in _SAFE and status not in {303, 308}:
            return None
        if "location" in response:
            return urljoin(uri, response["location"])
        if status == 300:
            return None
        raise httplib2.RedirectMissingLocation("A redirect says not where to.", response, content)

    def _send(
        self, uri: str, method: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[httplib2.Response, bytes]:
        from urllib3.exceptions import DecodeError

        timeout = conf.api_timeout if self.timeout is None else self.timeout
        try:
            answer = send_request(method, uri, body=body, headers=headers, timeout=timeout)
        except DecodeError:
            raise httplib2.FailedToDecompressContent(
                "The answer cannot be decompressed.", httplib2.Response({"status": "500"}), b""
            ) from None
        except list_failures() as error:
            raise _translate(error, uri) from None
        return _to_response(answer), answer.data


class AuthorizedHttp(PooledHttp):
    """httplib2's interface, with the access token of an account.

    Threads may share this object. An API that refuses the token gets a new one, once.

    Args:
        credentials: whose token it is.
        api_endpoint: of an emulator, to which everything for Google's APIs goes.

    ``timeout`` is in seconds; ``None`` is ``API_TIMEOUT``.
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
        """Make a request, and return the answer and its body.

        Arguments and errors as those of :class:`PooledHttp`.

        Raises:
            ConsentRequiredError: (a ``RefreshError``) when the user must act, also since the API
                says that a scope is missing, and it is one that is declared.
        """
        response, content = super().request(
            uri, method, body, headers, redirections, connection_type
        )
        # Where a redirect has led to, the token was not sent.
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
    """Return what googleapiclient takes for worth a repetition, where it is."""
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
        # A download in pieces counts the bytes that it gets, which are these.
        response["content-length"] = str(len(answer.data))
        response["-content-encoding"] = response.pop("content-encoding")
    return response


def _drop_foreign_location(response: httplib2.Response, first: str) -> None:
    """Leave out where the content is, if that is elsewhere: a download would go on there, and send
    the token along."""
    location = urlsplit(response.get("content-location", ""))
    if (location.scheme, location.netloc) != urlsplit(first)[:2]:
        response.pop("content-location", None)


class _Slice:
    """A piece of a stream that googleapiclient uploads, which by itself can only be read once."""

    def __init__(self, piece: Any) -> None:
        self.read = piece.read
        self.tell = piece._stream.tell
        self.seek = piece._stream.seek


def _make_rewindable(body: Any, headers: dict[str, str]) -> tuple[Any, int | None]:
    """Return what is to be sent, and where to bring it before each sending.

    Args:
        body: as given.
        headers: of the request; the length of a body that is at hand is set.
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
    """Return where a stream begins: as far before its end as it is long, if it stands there.

    googleapiclient sends a piece again, after a 503 for instance, without bringing it back.
    """
    start = find_position(body)
    if start is None or not length.isdecimal():
        return start
    try:
        body.seek(0, os.SEEK_END)
        end: int = body.tell()
    except (OSError, ValueError):
        return start  # It has no end that could be looked for.
    return start if start < end else max(end - int(length), 0)
