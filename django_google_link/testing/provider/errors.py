"""Exceptions: one for tests that use the fake, one for responses to clients."""

from __future__ import annotations


class FakeGoogleError(Exception):
    """The fake showed an error page, or cannot do what a test asks for."""


class OAuthError(Exception):
    """A request is rejected, with an error code of RFC 6749 (sections 4.1.2.1, 5.2) or Google.

    Args:
        error: the error code, such as ``"invalid_grant"``.
        description: a sentence for the developer; may be empty.
        status: the HTTP status of the response.
    """

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(error, description, status)
        self.error = error
        self.description = description
        self.status = status
