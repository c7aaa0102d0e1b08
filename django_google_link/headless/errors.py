"""The one shape of an answer that is not the one hoped for."""

from __future__ import annotations

from typing import Any

from ..exceptions import GoogleLinkError


class FrontEndError(GoogleLinkError):
    """What a front end is told: a status, a word for programs, a sentence, and what to do next.

    Args:
        status: of HTTP.
        error: a word that stays as it is.
        detail: a sentence.
        more: what the front end needs to go on, in JSON's own types.
    """

    def __init__(self, status: int, error: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.more = more

    @property
    def content(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": self.error, "detail": self.detail, **self.more}
