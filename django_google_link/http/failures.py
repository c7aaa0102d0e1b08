"""Describes the exceptions of HTTP libraries for logs and operators."""

from __future__ import annotations

import errno
import ssl
from http.client import HTTPException


class RouteError(OSError):
    """This machine's proxy or certificates are configured in a way that allows no connection."""


class BodyTooShortError(OSError):
    """The body of a request is shorter than its declared length."""


def describe_failure(error: BaseException) -> str:
    """Describe a failure without anything that was sent or received."""
    cause, is_proxys = _find_cause(error)
    text = type(cause).__name__
    if isinstance(cause, RouteError):
        text = str(cause)
    elif isinstance(cause, ssl.SSLCertVerificationError):
        text += f": certificate verify failed: {cause.verify_message}"
    elif isinstance(cause, OSError):
        # The text is from the socket, resolver or TLS; other errors may quote the server.
        text += f": {cause.strerror or cause}"
    return f"the proxy: {text}" if is_proxys else text


def is_time_out(error: BaseException) -> bool:
    """Return whether the failure is a timeout."""
    from urllib3 import exceptions as urllib3

    cause, _ = _find_cause(error)
    return isinstance(cause, TimeoutError | urllib3.TimeoutError)


def is_connect_time_out(error: BaseException) -> bool:
    """Return whether connecting timed out, which may be due to this machine's network."""
    from urllib3 import exceptions as urllib3

    cause, _ = _find_cause(error)
    return isinstance(cause, urllib3.ConnectTimeoutError)


def to_os_error(error: BaseException) -> OSError:
    """Return an ``OSError`` for a failure: googleapiclient only retries after such errors.

    Args:
        error: an exception of urllib3 or ``http.client``, or an ``OSError``.
    """
    cause, is_proxys = _find_cause(error)
    if is_time_out(cause):
        return TimeoutError(errno.ETIMEDOUT, "The server took too long to respond.")
    if isinstance(cause, OSError) and not is_proxys:
        return cause
    return ConnectionAbortedError(
        errno.ECONNABORTED, f"No complete response was received ({describe_failure(error)})."
    )


def _find_cause(error: BaseException) -> tuple[BaseException, bool]:
    """Return the underlying exception, and whether it concerns the proxy."""
    from urllib3 import exceptions as urllib3

    is_proxys = False
    while True:
        inner: object = None
        if isinstance(error, urllib3.ProxyError):
            inner, is_proxys = error.original_error, True
        elif isinstance(error, urllib3.NewConnectionError):
            # urllib3 derives it from its timeout class, but it is rarely a timeout.
            inner = error.__cause__ or error.__context__
        elif isinstance(error, urllib3.ProtocolError | urllib3.SSLError):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if not isinstance(inner, BaseException):
            return error, is_proxys
        error = inner


def list_failures() -> tuple[type[BaseException], ...]:
    """Return the exceptions that sending a request or reading a response may raise."""
    from urllib3 import exceptions as urllib3

    return (urllib3.HTTPError, HTTPException, OSError)
