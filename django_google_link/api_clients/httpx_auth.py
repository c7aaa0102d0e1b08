"""Authentication for httpx. Imported late: it needs the extra ``httpx``."""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables

from ..accounts.declared_scopes import current_declaration, declaring
from ..accounts.stored_tokens import AccessToken, bound_leeway, refresh_leeway
from ..accounts.tenants import acting_for
from ..accounts.threads import read_callers_tenants, run_outside_event_loop
from ..http.streams import find_position
from ..models import is_unexpired
from ..secret import Secret
from .addresses import find_address
from .credentials import find_api_endpoint, make_credentials_for
from .insufficient_scope import refuse_insufficient_scope
from .tokens import get_token

try:
    import httpx
except ImportError as error:
    raise ImproperlyConfigured(
        'This needs httpx. Install the extra "httpx": pip install "django-google-link[httpx]".'
    ) from error

if TYPE_CHECKING:
    from ..conf.service_accounts import ServiceAccount
    from ..models import GoogleAccount

    AccountFinder = Callable[[], GoogleAccount | ServiceAccount]


class HttpxAuth(httpx.Auth):
    """Sends an account's access token with requests of httpx, synchronous or asynchronous.

    The account is looked up with the first request, and kept. Threads and coroutines may share this
    object. Responses and errors contain no access token.

    Args:
        find_account: returns an account that is ready; may query the database.
        scopes: the scopes of a service account's token.
    """

    def __init__(self, find_account: AccountFinder, *, scopes: Sequence[str] = ()) -> None:
        self._find_account = find_account
        self._scopes = scopes
        self._sender: _Sender | None = None
        # The declaration of the view that creates this object.
        self._declaration = current_declaration()
        # Primary keys of users are per tenant.
        self._tenants = read_callers_tenants()

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the token, and repeat the request with a new one after a 401.

        Raises:
            ConsentRequiredError: when the user must act first; its subclass tells why.
            MissingScopesError: also when the API reports insufficient scope and a declared scope is
                missing.
            httpx.UnsupportedProtocol: when the URL is not https.

        Further errors as those of ``services.access_token``.
        """
        exchange = _Exchange(request)
        sender = self._ready_sender() or run_outside_event_loop(self._renew)
        try:
            response = yield exchange.authorize(sender)
            if exchange.was_refused(response):
                sender = run_outside_event_loop(partial(self._renew, sender.token.value))
                if exchange.is_worth_repeating(sender):
                    response = yield exchange.authorize(sender)
            if exchange.was_forbidden(response):
                response.read()
                run_outside_event_loop(partial(self._refuse_insufficient_scope, response))
            exchange.hide_token(response)
        except GeneratorExit:
            pass  # The client closes the flow while it handles an error.
        finally:
            exchange.hide_token(None)
        exchange.hide_token_in_error(sys.exception())

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the token, and repeat the request with a new one after a 401.

        For the errors see :meth:`sync_auth_flow`.
        """
        exchange = _Exchange(request)
        sender = self._ready_sender() or await sync_to_async(self._renew)()
        try:
            response = yield exchange.authorize(sender)
            if exchange.was_refused(response):
                sender = await sync_to_async(self._renew)(sender.token.value)
                if exchange.is_worth_repeating(sender):
                    response = yield exchange.authorize(sender)
            if exchange.was_forbidden(response):
                await response.aread()
                await sync_to_async(self._refuse_insufficient_scope)(response)
            exchange.hide_token(response)
        except GeneratorExit:
            pass  # The client closes the flow while it handles an error.
        finally:
            exchange.hide_token(None)
        exchange.hide_token_in_error(sys.exception())

    def _ready_sender(self, rejected: Secret | None = None) -> _Sender | None:
        """Return the sender if its token is still fresh; makes no request or query."""
        sender = self._sender
        if sender is None or sender.token.value == rejected:
            return None
        leeway = bound_leeway(refresh_leeway(), sender.token.lifetime)
        return sender if is_unexpired(sender.token.expires_at, leeway=leeway) else None

    def _renew(self, rejected: Secret | None = None) -> _Sender:
        # Callers wait for each other in one thread: an earlier one may have renewed the token.
        ready = self._ready_sender(rejected)
        if ready is not None:
            return ready
        with acting_for(self._tenants):
            account = self._sender.account if self._sender else self._find_account()
            self._sender = _Sender(
                account=account,
                api_endpoint=find_api_endpoint(account),
                token=get_token(account, scopes=self._scopes, rejected=rejected),
            )
        return self._sender

    def _refuse_insufficient_scope(self, response: httpx.Response) -> None:
        """Raise ``MissingScopesError`` if a 403 reports insufficient scope for a declared scope."""
        with acting_for(self._tenants), declaring(self._declaration):
            account = self._sender.account if self._sender else self._find_account()
            credentials = make_credentials_for(account, scopes=self._scopes)
        refuse_insufficient_scope(
            credentials, response.status_code, response.headers, lambda: response.content
        )


@dataclass(frozen=True, kw_only=True)
class _Sender:
    """The sender of requests: an account, its emulator if any, and its current token."""

    account: GoogleAccount | ServiceAccount
    api_endpoint: str | None
    token: AccessToken


class _Exchange:
    """One request and its response."""

    def __init__(self, request: httpx.Request) -> None:
        self._outgoing = request
        self._rewind = _find_rewinding(request.stream)
        self._sent: Secret | None = None

    @sensitive_variables()
    def authorize(self, sender: _Sender) -> httpx.Request:
        """Return the request with the token added."""
        outgoing = self._outgoing
        try:
            address = httpx.URL(find_address(str(outgoing.url), sender.api_endpoint))
        except ValueError as error:
            raise httpx.UnsupportedProtocol(str(error), request=outgoing) from None
        if address != outgoing.url:
            outgoing.url = address
            outgoing.headers["Host"] = address.netloc.decode("ascii")
        if self._sent is not None and self._rewind is not None:
            self._rewind()
        self._sent = sender.token.value
        outgoing.headers["Authorization"] = f"Bearer {self._sent.reveal()}"
        return outgoing

    def was_refused(self, response: httpx.Response) -> bool:
        """Return whether the server that the token was sent to rejected it.

        After a redirect, the first server may already have acted on the request.
        """
        return response.status_code == 401 and not response.history

    def was_forbidden(self, response: httpx.Response) -> bool:
        """Return whether a server that the token was sent to responded with 403."""
        answered = response.request
        return response.status_code == 403 and "Authorization" in answered.headers

    def is_worth_repeating(self, sender: _Sender) -> bool:
        """Return whether there is another token, and the body can be sent again."""
        return sender.token.value != self._sent and self._rewind is not None

    def hide_token_in_error(self, error: BaseException | None) -> None:
        """Remove the token from the request that an error contains, also after a redirect.

        Args:
            error: the client's error that ended this exchange.
        """
        if isinstance(error, httpx.RequestError):
            failed = error.request
            failed.headers.pop("Authorization", None)
        if isinstance(error, httpx.HTTPStatusError):  # Raised by an event hook of the client.
            self.hide_token(error.response)

    def hide_token(self, response: httpx.Response | None) -> None:
        """Remove the token from the requests that responses and errors contain."""
        sent = [self._outgoing]
        for one in (response, *response.history) if response is not None else ():
            sent += [one.request, *([one.next_request] if one.next_request else [])]
        for outgoing in sent:
            outgoing.headers.pop("Authorization", None)


def _find_rewinding(stream: Any) -> Callable[[], Any] | None:
    """Return a function that rewinds a body, or ``None`` if it cannot be sent again.

    Args:
        stream: httpx's stream; its source is the attribute ``_stream`` or ``fields``.
    """
    fields = getattr(stream, "fields", None)
    if fields is not None:
        files = [field.file for field in fields if hasattr(field, "file")]
        can_rewind = all(
            isinstance(file, bytes | str) or find_position(file) is not None for file in files
        )
        return _do_nothing if can_rewind else None  # httpx does so itself.
    source: Any = getattr(stream, "_stream", None)
    position = find_position(source)
    if position is not None:
        return partial(source.seek, position)
    is_used_up = isinstance(source, Iterator | AsyncIterator) or hasattr(source, "read")
    is_whole = isinstance(source, Iterable | AsyncIterable) and not is_used_up
    return _do_nothing if is_whole else None


def _do_nothing() -> None:
    """Rewind a body that starts over by itself."""
