"""The sessions that the helpers hand out, for Google's APIs. Imported late, as requests is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from requests.utils import rewind_body

from ..conf.clients import to_emulator

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from .credentials import AccountCredentials, ServiceAccountCredentials

    Credentials = AccountCredentials | ServiceAccountCredentials


class ApiSession(AuthorizedSession):
    """A ``requests`` session that sends the access token.

    Args:
        credentials: whose token it is.
        api_endpoint: of an emulator, to which everything for Google's APIs goes.
    """

    def __init__(self, credentials: Credentials, *, api_endpoint: str | None) -> None:
        super().__init__(credentials)  # type: ignore[no-untyped-call]
        self.hooks["response"].append(_rewind)
        if api_endpoint:
            self.mount("https://", _ToEmulator(api_endpoint))

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, as ``requests`` does."""
        return without_traceback(super().request, *args, **kwargs)


def without_traceback(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Leave out of an error what lies below: there the access token stands in local variables,
    which error reports show."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        raise error.with_traceback(None) from _cut(error.__cause__)


def _cut(error: BaseException | None) -> BaseException | None:
    return error and error.with_traceback(None)


class _ToEmulator(HTTPAdapter):
    def __init__(self, api_endpoint: str) -> None:
        super().__init__()
        self._api_endpoint = api_endpoint

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.url = to_emulator(request.url or "", self._api_endpoint)
        return super().send(request, *args, **kwargs)


def _rewind(response: Response, **kwargs: Any) -> None:
    """Let google-auth repeat a refused request: without this it sends a stream from its end."""
    body = response.request.body
    if response.status_code == 401 and body is not None and not isinstance(body, bytes | str):
        rewind_body(response.request)
