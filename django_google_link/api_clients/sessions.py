"""The sessions that the helpers hand out, for Google's APIs. Imported late, as requests is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError, InvalidSchema

from ..conf.settings import conf
from ..http.failures import RouteError
from ..http.pool import process_pool
from ..http.routes import find_route
from ..http.streams import find_rewinding
from ..secret import cut_frames
from .addresses import find_address
from .credentials import find_api_endpoint, make_credentials_for
from .insufficient_scope import refuse_insufficient_scope

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from ..conf.service_accounts import ServiceAccount
    from ..models import GoogleAccount
    from .credentials import AccountCredentials, ServiceAccountCredentials

    Credentials = AccountCredentials | ServiceAccountCredentials

# After method and address.
_POSITION_OF_TIMEOUT = 4


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
    """A ``requests`` session that sends the access token, over connections that all share.

    What it returns and raises carries no access token: responses are cached and pickled.

    Args:
        credentials: whose token it is.
        api_endpoint: of an emulator, to which everything for Google's APIs goes.
    """

    def __init__(self, credentials: Credentials, *, api_endpoint: str | None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            credentials, refresh_status_codes=(), auth_request=_refuse_request
        )
        # A .netrc would replace the token; proxies and certificates are the adapter's concern.
        self.trust_env = False
        self.headers["User-Agent"] = conf.user_agent
        adapter = SharedAdapter(api_endpoint)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]
        self, method: str, url: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Send a request, as ``requests`` does; and again with another token, if it is refused.

        Raises:
            MissingScopesError: when the API says that a scope is missing, and it is one that is
                declared.
        """
        if len(args) < _POSITION_OF_TIMEOUT:
            kwargs.setdefault("timeout", conf.api_timeout)
        try:
            response = without_traceback(self._send_authorized, method, url, *args, **kwargs)
        except BaseException as error:
            _strip_error(error)
            raise
        answered = response.request
        had_token = "Authorization" in answered.headers
        _strip_response(response)
        if had_token:
            refuse_insufficient_scope(
                self.credentials, response.status_code, response.headers, lambda: response.content
            )
        return response

    def _send_authorized(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        # google-auth would repeat it with files that are at their end.
        rewind = find_rewinding(*_list_bodies(args, kwargs))
        send = partial(super().request, method, url, *args, **kwargs)
        response = send()
        # After a redirect the first server may have done what it was asked for.
        if response.status_code != 401 or response.history:
            return response
        sent = response.request
        refused = sent.headers["Authorization"]
        self.credentials.refresh(None)
        if rewind is None or refused == f"Bearer {self.credentials.token}":
            return response
        response.close()
        rewind()
        return send()


class SharedAdapter(HTTPAdapter):
    """Lets a session use the pool of the process, by https or to an emulator on this machine.

    Args:
        api_endpoint: of the emulator, if there is one.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_api_endpoint"]

    def __init__(self, api_endpoint: str | None) -> None:
        super().__init__()
        self._api_endpoint = api_endpoint

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send a request.

        Raises:
            requests.RequestException: also where the address is not https.
        """
        try:
            request.url = find_address(request.url or "", self._api_endpoint)
        except ValueError as error:
            raise InvalidSchema(str(error), request=request) from None
        return super().send(request, *args, **kwargs)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the connections to the host of a request."""
        url = request.url or ""
        try:
            route = find_route(url, proxies=proxies, verify=verify, certificate=cert)
            return process_pool().find_host(url, route)
        except RouteError as error:
            raise ConnectionError(str(error), request=request) from None

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return the path: no proxy gets a whole address, since none sees a request."""
        return request.path_url

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a connection is known by the certificates that it trusts."""

    def close(self) -> None:
        """Do nothing: the connections are not this session's alone."""


def without_traceback(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Leave out of an error what lies below: there the access token stands in local variables,
    which error reports show."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:  # A worker that takes too long is told to stop by one.
        raise cut_frames(error) from error.__cause__


def _list_bodies(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a request reads: its data, and its files in any form that ``requests`` takes."""
    yield args[0] if args else kwargs.get("data")
    files: Any = kwargs.get("files") or ()
    pairs: Iterable[Any] = files.items() if isinstance(files, Mapping) else files
    for _, file in pairs:
        yield file[1] if isinstance(file, tuple | list) else file


def _refuse_request(*args: Any, **kwargs: Any) -> None:
    """Stand in for google-auth's transport, which the credentials have no use for."""
    raise NotImplementedError


def _strip_response(response: Response) -> None:
    """Leave the token out of the requests that a response carries along."""
    for one in (response, *response.history):
        for prepared in (one.request, one.next):
            _strip_request(prepared)


def _strip_error(error: BaseException) -> None:
    response = getattr(error, "response", None)
    if response is not None:
        _strip_response(response)
    _strip_request(getattr(error, "request", None))


def _strip_request(prepared: PreparedRequest | None) -> None:
    if prepared is not None:
        prepared.headers.pop("Authorization", None)
