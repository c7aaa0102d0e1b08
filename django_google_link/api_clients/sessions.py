"""The sessions that the helpers hand out, for Google's APIs. Imported late, as requests is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from requests.utils import rewind_body

from ..conf.clients import to_emulator
from ..secret import cut_frames
from .credentials import find_api_endpoint, make_credentials_for
from .insufficient_scope import refuse_insufficient_scope

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from ..conf.service_accounts import ServiceAccount
    from ..models import GoogleAccount
    from .credentials import AccountCredentials, ServiceAccountCredentials

    Credentials = AccountCredentials | ServiceAccountCredentials


def open_session_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> ApiSession:
    """Return a session that sends the account's access token.

    Args:
        account: a linked account that is ready, which is not judged again; or a service account.
        scopes: of a service account's token.

    Raises:
        ClientMisconfiguredError: as :func:`~.credentials.find_api_endpoint`.
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    api_endpoint = find_api_endpoint(account)
    credentials = make_credentials_for(account, scopes=scopes)
    return ApiSession(credentials, api_endpoint=api_endpoint)


class ApiSession(AuthorizedSession):
    """A ``requests`` session that sends the access token.

    Args:
        credentials: whose token it is.
        api_endpoint: of an emulator, to which everything for Google's APIs goes.
    """

    def __init__(self, credentials: Credentials, *, api_endpoint: str | None) -> None:
        super().__init__(credentials)  # type: ignore[no-untyped-call]
        self.hooks["response"].append(_rewind_refused_body)
        if api_endpoint:
            self.mount("https://", _ToEmulator(api_endpoint))

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, as ``requests`` does.

        Raises:
            MissingScopesError: when the API says that a scope is missing, and it is one that is
                declared.
        """
        response = without_traceback(super().request, *args, **kwargs)
        refuse_insufficient_scope(
            self.credentials, response.status_code, response.headers, lambda: response.content
        )
        return response


def without_traceback(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Leave out of an error what lies below: there the access token stands in local variables,
    which error reports show."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:  # A worker that takes too long is told to stop by one.
        raise cut_frames(error) from error.__cause__


class _ToEmulator(HTTPAdapter):
    def __init__(self, api_endpoint: str) -> None:
        super().__init__()
        self._api_endpoint = api_endpoint

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        request.url = to_emulator(request.url or "", self._api_endpoint)
        return super().send(request, *args, **kwargs)


def _rewind_refused_body(response: Response, **kwargs: Any) -> None:
    """Let google-auth repeat a refused request: without this it sends a stream from its end."""
    body = response.request.body
    if response.status_code == 401 and body is not None and not isinstance(body, bytes | str):
        rewind_body(response.request)
