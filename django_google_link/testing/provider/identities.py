"""Google accounts, and clients registered in Google's console."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .service_accounts import FakeServiceAccount

_LOWER = string.ascii_lowercase + string.digits
ClientType = Literal["web", "installed"]
Authentication = Literal["any", "client_secret_post", "client_secret_basic"]
_SUFFIX = ".apps.googleusercontent.com"


def random_client_id(project: str | None = None) -> str:
    """Return a client id in Google's format.

    Args:
        project: the number of its project; random by default.
    """
    return f"{project or _pick_random(string.digits, 12)}-{_pick_random(_LOWER, 32)}{_SUFFIX}"


def random_client_secret() -> str:
    """Return a client secret in Google's format."""
    return f"GOCSPX-{_pick_random(string.ascii_letters + string.digits, 28)}"


def random_sub() -> str:
    """Return a ``sub`` in Google's format: a number too large for any integer column."""
    return f"1{_pick_random(string.digits, 20)}"


def _pick_random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass(eq=False, kw_only=True)
class FakeUser:
    """A Google account. All attributes except ``sub`` may be changed at any time."""

    email: str
    sub: str
    name: str = ""
    picture: str = ""
    hosted_domain: str | None = None
    email_verified: bool = True


@dataclass(eq=False, kw_only=True)
class FakeClient:
    """An OAuth client. Its attributes may be changed at any time.

    A client of type ``"installed"`` may use any port and path on loopback as its redirect URI (RFC
    8252 section 7.3); a ``"web"`` client only its ``redirect_uris``, exactly. With ``any_host``
    only their paths are compared, unlike at Google, since a test site has several host names.

    Pages that run Google's script have one of its ``javascript_origins``.

    Clients whose ids begin with the same project number share the grants of users.

    A client that is not Google's is treated like by a strict provider that is not Google:
    parameters that only Google defines are rejected, and revocation requires authentication.

    Attributes:
        is_googles: whether it is treated like by Google.
        speaks_openid: if false, it gets no ID tokens, and parameters that only OpenID Connect
            defines are rejected too. It is then not treated like by Google, either.
        authentication: how it has to authenticate (RFC 6749 section 2.3.1): in the body with
            ``"client_secret_post"``, in the header with ``"client_secret_basic"``, or ``"any"``.
        scope_separator: the separator of scopes in requests and responses.
        gives_refresh_tokens: whether it is issued refresh tokens.
        subject_member: the member with the subject in userinfo responses, such as ``"data.id"``.
    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: list[str] = field(default_factory=list)
    type: ClientType = "web"
    any_host: bool = False
    javascript_origins: list[str] = field(default_factory=list)
    is_googles: bool = True
    speaks_openid: bool = True
    authentication: Authentication = "any"
    scope_separator: str = " "
    gives_refresh_tokens: bool = True
    subject_member: str = "sub"

    @property
    def speaks_google(self) -> bool:
        """Whether it is treated like by Google."""
        return self.is_googles and self.speaks_openid

    @property
    def project(self) -> str:
        """The project number at the beginning of a client id in Google's format.

        A client with any other id is its own project, named like the client.
        """
        number, _, rest = self.client_id.partition("-")
        return number if number.isdecimal() and rest.endswith(_SUFFIX) else self.client_id


class Directory:
    """The registered accounts and clients. The caller holds the provider's lock."""

    def __init__(self) -> None:
        self.users: dict[str, FakeUser] = {}
        self.clients: dict[str, FakeClient] = {}
        self.service_accounts: dict[str, FakeServiceAccount] = {}

    def add_user(self, user: FakeUser) -> None:
        """Add an account.

        Raises:
            ValueError: if another account has this ``sub`` or e-mail address.
        """
        if user.sub in self.users or self.find_user(user.email):
            raise ValueError(f"There is already an account {user.email} or {user.sub}.")
        self.users[user.sub] = user

    def add_client(self, client: FakeClient) -> None:
        """Register a client.

        Raises:
            ValueError: if another client has this id.
        """
        if client.client_id in self.clients:
            raise ValueError(f"There is already a client {client.client_id}.")
        self.clients[client.client_id] = client

    def find_user(self, hint: str) -> FakeUser | None:
        """Return the account with this ``sub`` or e-mail address, if there is one."""
        hint = hint.casefold()
        users = self.users.values()
        return next((user for user in users if hint in (user.sub, user.email.casefold())), None)

    def users_in(self, hosted_domain: str | None) -> list[FakeUser]:
        """Return the accounts that match an ``hd`` parameter; ``"*"`` is any Workspace domain."""
        return list(_filter_by_domain(self.users.values(), hosted_domain))


def _filter_by_domain(users: Iterable[FakeUser], hosted_domain: str | None) -> Iterable[FakeUser]:
    if not hosted_domain:
        return users
    if hosted_domain == "*":
        return (user for user in users if user.hosted_domain)
    return (user for user in users if user.hosted_domain == hosted_domain)
