"""Why no answer came: errors of HTTP libraries in the words of whoever is on call."""

from __future__ import annotations

import errno
import ssl
from http.client import HTTPException


class RouteError(OSError):
    """No connection can be made the way this machine is set up: its proxy, or its certificates."""


class BodyTooShortError(OSError):
    """There was less to send than was said."""


def describe_failure(error: BaseException) -> str:
    """Return what went wrong, without anything that was sent or received."""
    cause, is_proxys = _find_cause(error)
    text = type(cause).__name__
    if isinstance(cause, RouteError):
        text = str(cause)
    elif isinstance(cause, ssl.SSLCertVerificationError):
        text += f": certificate verify failed: {cause.verify_message}"
    elif isinstance(cause, OSError):
        # What a socket, a name server or TLS says; all else may repeat what came from the server.
        text += f": {cause.strerror or cause}"
    return f"the proxy: {text}" if is_proxys else text


def is_time_out(error: BaseException) -> bool:
    """Return whether it took too long."""
    from urllib3.exceptions import TimeoutError as HTTPTimeoutError

    cause, _ = _find_cause(error)
    return isinstance(cause, TimeoutError | HTTPTimeoutError)


def is_connect_time_out(error: BaseException) -> bool:
    """Return whether nobody has answered the call: that may be this machine's network."""
    from urllib3.exceptions import ConnectTimeoutError

    cause, _ = _find_cause(error)
    return isinstance(cause, ConnectTimeoutError)


def to_os_error(error: BaseException) -> OSError:
    """Return an error as what callers of sockets know: googleapiclient repeats on those alone.

    Args:
        error: of urllib3's or ``http.client``'s, or an ``OSError`` already.
    """
    cause, is_proxys = _find_cause(error)
    if is_time_out(cause):
        return TimeoutError(errno.ETIMEDOUT, "The server took too long to answer.")
    if isinstance(cause, OSError) and not is_proxys:
        return cause
    return ConnectionAbortedError(
        errno.ECONNABORTED, f"No whole answer came ({describe_failure(error)})."
    )


def _find_cause(error: BaseException) -> tuple[BaseException, bool]:
    """Return what an error is about, and whether it is a proxy that could not be used."""
    from urllib3 import exceptions as urllib3

    is_proxys = False
    while True:
        inner: object = None
        if isinstance(error, urllib3.ProxyError):
            inner, is_proxys = error.original_error, True
        elif isinstance(error, urllib3.NewConnectionError):
            # urllib3 counts it among the time-outs, which it seldom is.
            inner = error.__cause__ or error.__context__
        elif isinstance(error, urllib3.ProtocolError | urllib3.SSLError):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if not isinstance(inner, BaseException):
            return error, is_proxys
        error = inner


def list_failures() -> tuple[type[BaseException], ...]:
    """Return what may be raised while a request is made or an answer is read."""
    from urllib3.exceptions import HTTPError

    return (HTTPError, HTTPException, OSError)
