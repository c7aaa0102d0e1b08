"""Errors: one for the test that uses the fake, one for the client on the wire."""

from __future__ import annotations


class FakeGoogleError(Exception):
    """The fake showed an error page, or cannot do what the test asks of it."""


class OAuthError(Exception):
    """A request is refused with a code of RFC 6749 (sections 4.1.2.1 and 5.2) or of Google's own.

    Args:
        error: the code, such as ``"invalid_grant"``.
        description: a sentence for the developer; none if empty.
        status: the HTTP status that goes with it.
    """

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(error, description, status)
        self.error = error
        self.description = description
        self.status = status
