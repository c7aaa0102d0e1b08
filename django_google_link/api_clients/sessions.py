"""``requests`` sessions for Google's APIs. Imported late, like ``requests``."""

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

# Among the positional arguments, after method and URL.
_POSITION_OF_TIMEOUT = 4


def open_session_for(
    account: GoogleAccount | ServiceAccount, *, scopes: Sequence[str] = ()
) -> ApiSession:
    """Return a session that sends the account's access token.

    Args:
        account: a linked account, already checked to be ready; or a service account.
        scopes: the scopes of a service account's token.

    Raises:
        ClientMisconfiguredError: as :func:`~.credentials.find_api_endpoint`.
        SubjectNotAllowedError: when the service account may not act for this user.
    """
    api_endpoint = find_api_endpoint(account)
    credentials = make_credentials_for(account, scopes=scopes)
    return ApiSession(credentials, api_endpoint=api_endpoint)


class ApiSession(AuthorizedSession):
    """A ``requests`` session that sends the access token, on the shared connection pool.

    Its responses and exceptions contain no access token: they may be cached or pickled.

    Args:
        credentials: the account's credentials.
        api_endpoint: an emulator that receives all requests to Google's APIs.
    """

    def __init__(self, credentials: Credentials, *, api_endpoint: str | None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            credentials, refresh_status_codes=(), auth_request=_refuse_request
        )
        # A .netrc file would replace the token; the adapter handles proxies and certificates.
        self.trust_env = False
        self.headers["User-Agent"] = conf.user_agent
        adapter = SharedAdapter(api_endpoint)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]
        self, method: str, url: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Send a request as ``requests`` does; repeat it with a new token after a 401.

        Raises:
            MissingScopesError: when the API reports insufficient scope and a declared scope is
                missing.
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
        # google-auth would repeat the request without rewinding its files.
        rewind = find_rewinding(*_list_bodies(args, kwargs))
        send = partial(super().request, method, url, *args, **kwargs)
        response = send()
        # After a redirect, the first server may already have acted on the request.
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
    """An adapter on the shared connection pool, for https and for an emulator on this machine.

    Args:
        api_endpoint: the emulator, if there is one.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_api_endpoint"]

    def __init__(self, api_endpoint: str | None) -> None:
        super().__init__()
        self._api_endpoint = api_endpoint

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send a request.

        Raises:
            requests.RequestException: also when the URL is not https.
        """
        try:
            request.url = find_address(request.url or "", self._api_endpoint)
        except ValueError as error:
            raise InvalidSchema(str(error), request=request) from None
        return super().send(request, *args, **kwargs)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pooled connections to the host of a request."""
        url = request.url or ""
        try:
            route = find_route(url, proxies=proxies, verify=verify, certificate=cert)
            return process_pool().find_host(url, route)
        except RouteError as error:
            raise ConnectionError(str(error), request=request) from None

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return the path: proxies only tunnel requests, so that none needs an absolute URL."""
        return request.path_url

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: pooled connections are keyed by the certificates they trust."""

    def close(self) -> None:
        """Do nothing: the connections are shared."""


def without_traceback(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Remove the frames below from an exception, since error reports show their local variables."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:  # Raised in workers that time out.
        raise cut_frames(error) from error.__cause__


def _list_bodies(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a request sends: its data, and its files in any form that ``requests`` accepts."""
    yield args[0] if args else kwargs.get("data")
    files: Any = kwargs.get("files") or ()
    pairs: Iterable[Any] = files.items() if isinstance(files, Mapping) else files
    for _, file in pairs:
        yield file[1] if isinstance(file, tuple | list) else file


def _refuse_request(*args: Any, **kwargs: Any) -> None:
    """Take the place of google-auth's transport, which these credentials do not use."""
    raise NotImplementedError


def _strip_response(response: Response) -> None:
    """Remove the token from the requests that a response contains."""
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
