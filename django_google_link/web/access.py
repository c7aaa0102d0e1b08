"""``GoogleAccess``, the class of ``request.google``."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from ..accounts.authorize_links import AuthorizeRequest
from ..accounts.declared_scopes import declaring
from ..accounts.lookup import choose_account, linked_accounts, require_ready
from ..accounts.spent_states import read_declined as read_declined_tickets
from ..conf.clients import OAuthClient, get_client, name_provider_of
from ..conf.front_ends import get_front_end
from ..conf.scope_rules import missing_scopes
from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..exceptions import (
    AccountChoiceRequiredError,
    ConsentRequiredError,
    MissingScopesError,
    NotLinkedError,
)
from ..models import GoogleAccount
from ..scopes import IDENTITY_SCOPES, parse_scopes
from .pending import read_declined

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession
    from googleapiclient.discovery import Resource

    from ..api_clients.authorized_http import AuthorizedHttp
    from ..api_clients.credentials import AccountCredentials
    from ..api_clients.httpx_auth import HttpxAuth

#: The attribute of a decorated view with its requirement, for ``google_link_scopes``.
REQUIREMENT_ATTRIBUTE = "google_link_requirement"

AccountChooser = Callable[[HttpRequest], Any]

# In characters: the URL is part of a link and of the session.
_MAX_RETURN_URL = 1000


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """The options of a decorator: constants, shared by all requests of the view."""

    scopes: tuple[str, ...] | None = None
    optional_scopes: tuple[str, ...] = ()
    client: str | None = None
    account: AccountChooser | None = None
    return_url: str | None = None

    @classmethod
    def of(
        cls,
        *,
        scopes: str | Iterable[str] | None = None,
        optional_scopes: str | Iterable[str] = (),
        client: str | None = None,
        account: AccountChooser | None = None,
        return_url: str | None = None,
    ) -> Requirement:
        """Return the parsed options of a decorator."""
        return cls(
            scopes=None if scopes is None else parse_scopes(scopes),
            optional_scopes=parse_scopes(optional_scopes),
            client=client,
            account=account,
            return_url=return_url,
        )


class GoogleAccess:
    """The linked Google accounts of the user of a request.

    Accounts are looked up when they are first needed, and only once. True in a boolean context if
    the view's requirement is met.
    """

    def __init__(self, request: HttpRequest, requirement: Requirement) -> None:
        self._request = request
        self._requirement = requirement

    def __bool__(self) -> bool:
        return self.has_credentials()

    def has_credentials(self) -> bool:
        """Return whether an account is linked, active, and has granted all required scopes."""
        return self._problem is None

    @property
    def status(self) -> str:
        """``ready``, ``anonymous``, ``not_linked``, ``missing_scopes``,
        ``needs_reauthorization`` or ``account_choice_required``."""
        problem = self._problem
        if problem is None:
            return "ready"
        if self._user is None:
            return "anonymous"
        if isinstance(problem, NotLinkedError | MissingScopesError | AccountChoiceRequiredError):
            return problem.reason
        return "needs_reauthorization"

    @property
    def account(self) -> GoogleAccount | None:
        """The account that is used, or would be used if it were ready."""
        return self._outcome[0]

    @cached_property
    def accounts(self) -> Sequence[GoogleAccount]:
        """All accounts of this user linked through this client, the default one first."""
        if self._user is None:
            return ()
        accounts = linked_accounts(self._user, client=self._client_name)
        if not accounts:
            # A client that is not configured is an error of the project, not a missing link.
            get_client(self._client_name)
        return accounts

    @property
    def provider(self) -> str:
        """The provider's name for users: ``DISPLAY_NAME`` of the client, such as ``Google``."""
        return name_provider_of(self._client_name)

    @property
    def granted_scopes(self) -> frozenset[str]:
        """The scopes that the account has granted."""
        return frozenset(self.account.granted_scopes) if self.account else frozenset()

    @property
    def missing_scopes(self) -> frozenset[str]:
        """The required scopes that the account has yet to grant."""
        return missing_scopes(self.required_scopes, self.granted_scopes)

    @property
    def ends_at(self) -> datetime | None:
        """When the account's grant expires; ``None`` unless it is time-limited."""
        return self.account.ends_at if self.account else None

    def has_scopes(self, *scopes: str) -> bool:
        """Return whether the account is active and has granted all these scopes."""
        return self.account is not None and self.account.is_ready(*parse_scopes(scopes))

    def authorize_url(self, *scopes: str, return_url: str | None = None) -> str:
        """Return the URL of this site at which linking starts.

        It is signed for this user, and valid for a day. For an anonymous visitor, it is the URL of
        the login page.

        Args:
            scopes: scopes to request in addition to those of the view.
            return_url: where the user goes afterwards, on this site; by default this page.
        """
        return_url = self._keep_if_safe(return_url) or self.return_url
        if self._user is None:
            return self._login_url(return_url)
        if self.status == "account_choice_required":
            return f"{reverse('google_link:accounts')}?{urlencode({'next': return_url})}"
        return self._make_request(scopes, return_url=return_url).url()

    def link_request(self, *scopes: str) -> str:
        """Return a signed request for linking, for a front end of your own.

        ``POST links/`` of ``django_google_link.headless`` accepts it. It is empty for an anonymous
        visitor, and if the user has to choose an account.

        Args:
            scopes: scopes to request in addition to those of the view.
        """
        if self._user is None or self.status == "account_choice_required":
            return ""
        return self._make_request(scopes, return_url=self.return_url).sign()

    @property
    def credentials(self) -> AccountCredentials:
        """google-auth credentials of the account.

        Raises:
            ConsentRequiredError: if the user must act first; the subclass says why.
        """
        from ..api_clients.credentials import make_credentials_for

        with declaring(self.declares):
            return make_credentials_for(self._require_account())

    def session(self) -> AuthorizedSession:
        """Return a ``requests`` session that sends the account's access token.

        Raises:
            ConsentRequiredError: if the user must act first; the subclass says why.
        """
        from ..api_clients.sessions import open_session_for

        with declaring(self.declares):
            return open_session_for(self._require_account())

    def http(self) -> AuthorizedHttp:
        """Return an object with httplib2's interface that sends the account's access token.

        For ``request.execute(http=…)`` with a service that is built once per module.

        Raises:
            ConsentRequiredError: if the user must act first; the subclass says why.
            ImproperlyConfigured: if the extra ``api`` is not installed.
        """
        from ..api_clients.authorized_http import open_http_for

        with declaring(self.declares):
            return open_http_for(self._require_account())

    def httpx_auth(self) -> HttpxAuth:
        """Return an ``httpx.Auth`` that sends the account's access token.

        For ``Client`` and ``AsyncClient``: ``client.get(url, auth=request.google.httpx_auth())``.

        Raises:
            ConsentRequiredError: if the user must act first; the subclass says why.
            ImproperlyConfigured: if the extra ``httpx`` is not installed.
        """
        from ..api_clients.httpx_auth import HttpxAuth

        account = self._require_account()
        with declaring(self.declares):
            return HttpxAuth(lambda: account)

    def service(
        self, name: str, version: str, *, scopes: str | Iterable[str] = (), **kwargs: Any
    ) -> Resource:
        """Return a googleapiclient service for an API, authorized for the account.

        Args:
            name: the name of the API, such as ``"calendar"``.
            version: the version of the API, such as ``"v3"``.
            scopes: the scopes that the call needs in addition to those of the view.
            kwargs: those of ``services.build_service()``.

        Raises:
            ConsentRequiredError: if the user must act first; the subclass says why.
        """
        account = self._require_account()
        if scopes:
            require_ready(account, parse_scopes(scopes))
        from ..api_clients.discovery import build_service_for

        with declaring(self.declares):
            return build_service_for(account, name, version, scopes=parse_scopes(scopes), **kwargs)

    @cached_property
    def client(self) -> OAuthClient:
        """The OAuth client through which accounts are linked here."""
        return get_client(self._client_name)

    @cached_property
    def required_scopes(self) -> tuple[str, ...]:
        """The scopes of the view's requirement, or else those of the client."""
        scopes = self._requirement.scopes
        return self.client.scopes if scopes is None else scopes

    @property
    def return_url(self) -> str:
        """The page to which the user returns; by default this one, if its method is GET."""
        chosen = self._keep_if_safe(self._requirement.return_url)
        if chosen:
            return chosen
        # htmx requests a fragment of the page in this header. A path may be "//evil.example".
        whole_page = self._request.headers.get("HX-Current-URL")
        here = self._request.get_full_path() if self._request.method in {"GET", "HEAD"} else None
        return self._keep_if_safe(whole_page) or self._keep_if_safe(here) or default_return_url()

    def was_declined(self, *scopes: str) -> bool:
        """Return whether the user has just declined what is needed here, or one of these scopes."""
        if self.status == "account_choice_required":
            return False
        if self.status in {"ready", "missing_scopes"}:
            needed = (*self.missing_scopes, *scopes)
        else:
            needed = (*self.required_scopes, *IDENTITY_SCOPES, *scopes)
        session = getattr(self._request, "session", None)
        if session is not None and not read_declined(session, self._client_name).isdisjoint(needed):
            return True
        # Links of front ends record this in the database, not in a session.
        return (
            self._user is not None
            and self._has_front_end()
            and not read_declined_tickets(
                owner=str(self._user.pk), client=self._client_name
            ).isdisjoint(needed)
        )

    def build_absolute_uri(self, url: str) -> str:
        """Return the absolute URL of a path on this site."""
        return self._request.build_absolute_uri(url)

    def declares(self, account: GoogleAccount) -> Sequence[str]:
        """Return the scopes that the view names, if they can apply to this account."""
        if account.client != self._client_name or not self.is_for(account.user_id):
            return ()
        return (*self.required_scopes, *self._requirement.optional_scopes)

    def is_for(self, user_id: Any) -> bool:
        """Return whether the user of this request has this id."""
        return self._user is not None and self._user.pk == user_id

    def looked_up_again(self, error: ConsentRequiredError) -> GoogleAccess:
        """Return a new instance, read from the database, for the account that caused an error."""
        requirement, chosen = self._requirement, self._chosen
        if isinstance(error, AccountChoiceRequiredError):
            requirement, chosen = replace(requirement, scopes=(), account=None), None
        client = error.client or self._client_name
        if client != self._client_name or (error.account and error.account != self.account):
            # The requirement of the view applies to its own account only.
            requirement = replace(
                requirement,
                scopes=_list_lost_scopes(error.account),
                optional_scopes=(),
                client=client,
            )
        if client != self._client_name:
            chosen = None
        again = GoogleAccess(self._request, requirement)
        again._chosen = error.account if error.account in again.accounts else chosen
        return again

    async def alook_up(self) -> None:
        """Look everything up now, since queries are not allowed in the event loop later."""
        await sync_to_async(self._look_up)()

    def _look_up(self) -> None:
        for name in ("accounts", "required_scopes", "_chosen"):
            getattr(self, name)

    @cached_property
    def _client_name(self) -> str:
        return self._requirement.client or client_name(self._request)

    @cached_property
    def _user(self) -> Any:
        return _find_user(getattr(self._request, "user", None))

    @cached_property
    def _chosen(self) -> Any:
        chooser = self._requirement.account
        if chooser is None or self._user is None:
            return None
        return (async_to_sync(chooser) if iscoroutinefunction(chooser) else chooser)(self._request)

    @cached_property
    def _outcome(self) -> tuple[GoogleAccount | None, ConsentRequiredError | None]:
        """The account, whether it is ready or not, and the error if it is not."""
        try:
            return self._choose_account(), None
        except ConsentRequiredError as problem:
            return problem.account, problem

    @property
    def _problem(self) -> ConsentRequiredError | None:
        return self._outcome[1]

    def _require_account(self) -> GoogleAccount:
        account, problem = self._outcome
        if account is None or problem is not None:
            raise problem or NotLinkedError
        return account

    def _choose_account(self) -> GoogleAccount:
        if self._chosen is None:
            return choose_account(self.accounts, self.required_scopes)
        return require_ready(self._find_own_account(self._chosen), self.required_scopes)

    def _find_own_account(self, chosen: GoogleAccount | uuid.UUID | str) -> GoogleAccount:
        """Return the account that the view's ``account`` option chose, if it is this user's."""
        id = str(chosen.pk if isinstance(chosen, GoogleAccount) else chosen)
        for account in self.accounts:
            if str(account.pk) == id:
                return account
        raise Http404("This user has no such Google account.")

    def _has_front_end(self) -> bool:
        front_end = read_or_default(partial(get_front_end, self._client_name), None)
        return front_end is not None and front_end.is_there

    def _make_request(self, scopes: Sequence[str], *, return_url: str) -> AuthorizeRequest:
        required = parse_scopes((*self.required_scopes, *scopes))
        return AuthorizeRequest(
            user=str(self._user.pk),
            host=self._request.get_host(),
            client=self._client_name,
            scopes=parse_scopes(
                (
                    *self.client.identity_scopes,
                    *required,
                    *self._requirement.optional_scopes,
                    *self.client.scopes,
                )
            ),
            required=required,
            return_url=return_url,
            account=self.account.sub if self.account else "",
        )

    def _login_url(self, return_url: str) -> str:
        url = redirect_to_login(return_url).url
        if is_safe_url(self._request, url):
            return url
        # The login page of another site needs an absolute URL to return to.
        return redirect_to_login(self._request.build_absolute_uri(return_url)).url

    def _keep_if_safe(self, url: str | None) -> str | None:
        url = _shorten(str(url or ""))
        return url if url and is_safe_url(self._request, url) else None


def _shorten(url: str) -> str:
    """Return a URL that fits into a link and a session, without its query if it is too long."""
    if len(url) > _MAX_RETURN_URL:
        url = url.partition("?")[0]
    return url if len(url) <= _MAX_RETURN_URL else ""


def access_for(request: HttpRequest, error: ConsentRequiredError) -> GoogleAccess:
    """Return the access for an error in a view without a requirement."""
    requirement = Requirement(scopes=_list_lost_scopes(error.account), client=error.client or None)
    return GoogleAccess(request, requirement)


def client_name(request: HttpRequest) -> str:
    """Return the name of the OAuth client for this request, according to ``CLIENT_RESOLVER``."""
    resolver = conf.client_resolver
    return resolver(request) if resolver else "default"


def default_return_url() -> str:
    """Return where users go if nothing else is specified."""
    return resolve_url(conf.redirect_url or "google_link:accounts")


def is_safe_url(request: HttpRequest, url: str) -> bool:
    """Return whether a URL is on this site and does not downgrade https to http."""
    if any(unicodedata.category(character)[0] == "C" for character in url):
        return False
    return url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )


def _list_lost_scopes(account: GoogleAccount | None) -> tuple[str, ...]:
    """Return the scopes to request again for an account that has to be linked again."""
    if account is None or account.is_active:
        return ()
    return tuple(scope for scope in account.granted_scopes if scope not in IDENTITY_SCOPES)


def _find_user(user: Any) -> Any:
    return user if user is not None and user.is_authenticated else None
