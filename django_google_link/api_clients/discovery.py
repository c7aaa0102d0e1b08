"""What googleapiclient sends its requests with. Imported late: it comes with the extra ``api``."""

from __future__ import annotations

from typing import Any

from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.http import BatchHttpRequest

from .sessions import without_traceback


class ServiceHttp(AuthorizedHttp):  # type: ignore[misc]
    """google-auth's, whose errors show no access token."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, as ``httplib2`` does."""
        return without_traceback(super().request, *args, **kwargs)


class ServiceBatch(BatchHttpRequest):  # type: ignore[misc]
    """googleapiclient's, whose errors show no access token either.

    It writes the headers of all its requests into one body. What callbacks raise is left whole.
    """

    def _execute(self, *args: Any) -> None:
        without_traceback(super()._execute, *args)
