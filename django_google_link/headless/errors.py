"""The error that endpoints for front ends return."""

from __future__ import annotations

from typing import Any

from ..exceptions import GoogleLinkError


class FrontEndError(GoogleLinkError):
    """An error response for a front end: a status, an error code, a sentence, and how to go on.

    Args:
        status: the HTTP status.
        error: the error code, which does not change between versions.
        detail: a sentence for developers, or for users in their language.
        more: additional members of the body.
    """

    def __init__(self, status: int, error: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.more = more

    @property
    def content(self) -> dict[str, Any]:
        """The body of the response."""
        return {"error": self.error, "detail": self.detail, **self.more}
