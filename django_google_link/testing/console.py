"""What has to be set up at Google in advance: users, clients and service accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .provider.behaviour import Behaviour
from .provider.endpoints import PATHS, client_endpoints
from .provider.errors import FakeGoogleError
from .provider.identities import (
    ClientType,
    FakeClient,
    FakeUser,
    random_client_id,
    random_client_secret,
    random_sub,
)
from .provider.provider import Provider
from .provider.service_accounts import FakeServiceAccount


class Console(Behaviour):
    """The part of ``FakeGoogle`` that registers users and clients, like Google's console.

    Attributes:
        client: the client that is used if none is named.
    """

    def __init__(self) -> None:
        super().__init__()
        self._provider = Provider(self)
        self.client = self.add_client()

    @property
    def url(self) -> str:
        """The base URL and issuer, such as ``http://127.0.0.1:8001``.

        Raises:
            FakeGoogleError: before the first start.
        """
        if not self._provider.issuer:
            raise FakeGoogleError("Start this FakeGoogle first, or use it in a with statement.")
        return self._provider.issuer

    def add_user(
        self,
        email: str,
        *,
        sub: str | None = None,
        name: str = "",
        picture: str = "",
        hosted_domain: str | None = None,
        email_verified: bool = True,
    ) -> FakeUser:
        """Add a Google account.

        Args:
            email: the e-mail address.
            sub: the subject; random by default.
            name: the full name.
            picture: the URL of the profile picture.
            hosted_domain: the Google Workspace domain, sent as ``hd``.
            email_verified: the claim of this name.

        Raises:
            ValueError: if another account has this ``sub`` or e-mail address.
        """
        user = FakeUser(
            email=email,
            sub=sub or random_sub(),
            name=name,
            picture=picture,
            hosted_domain=hosted_domain,
            email_verified=email_verified,
        )
        with self._provider.lock:
            self._provider.directory.add_user(user)
        return user

    def user_with(self, email: str) -> FakeUser:
        """Return the account with this e-mail address. Add it if it does not exist."""
        with self._provider.lock:
            user = self._provider.directory.find_user(email)
            if user is None:
                user = FakeUser(email=email, sub=random_sub())
                self._provider.directory.add_user(user)
        return user

    def remove_user(self, user: FakeUser) -> None:
        """Delete a Google account, with its grants. Its address can be used again."""
        with self._provider.lock:
            self._provider.remove_user(user)

    def client_with(self, client_id: str) -> FakeClient:
        """Return the client with this id.

        Raises:
            FakeGoogleError: if there is none.
        """
        with self._provider.lock:
            client = self._provider.directory.clients.get(client_id)
        if client is None:
            raise FakeGoogleError(f"There is no client with the id {client_id!r}.")
        return client

    def add_client(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        redirect_uris: Iterable[str] = (),
        type: ClientType = "web",
        project: str | None = None,
    ) -> FakeClient:
        """Register a client, as in Google's console.

        Args:
            client_id: the client id; random by default.
            client_secret: the client secret; random by default.
            redirect_uris: the redirect URIs, which are compared exactly.
            type: ``"web"``, or ``"installed"`` for programs that listen on any loopback port.
            project: the number of the client's project, if the client id is random. With
                ``google.client.project``, the client shares the grants of the first one. By default
                the client has a project of its own.

        Raises:
            ValueError: if another client has this id.
        """
        client = FakeClient(
            client_id=client_id or random_client_id(project),
            client_secret=client_secret or random_client_secret(),
            redirect_uris=list(redirect_uris),
            type=type,
        )
        with self._provider.lock:
            self._provider.directory.add_client(client)
        return client

    def add_service_account(
        self,
        name: str = "robot",
        *,
        delegated_scopes: Iterable[str] = (),
        impersonators: Iterable[FakeServiceAccount] = (),
    ) -> FakeServiceAccount:
        """Create a service account with a key.

        Args:
            name: the first part of its e-mail address.
            delegated_scopes: the scopes with which it may impersonate every user who has a
                ``hosted_domain``; ``"*"`` allows any.
            impersonators: the service accounts that may request tokens for this one.

        Raises:
            ValueError: if there is a service account with this name.
        """
        with self._provider.lock:
            accounts = self._provider.directory.service_accounts
            account = FakeServiceAccount(
                email=f"{name}@fake-google.iam.gserviceaccount.com",
                sub=random_sub(),
                number=len(accounts),
                delegated_scopes=list(delegated_scopes),
                impersonators=list(impersonators),
            )
            if account.email in accounts:
                raise ValueError(f"There is already a service account {account.email}.")
            accounts[account.email] = account
        return account

    def service_account_info(self, account: FakeServiceAccount) -> dict[str, Any]:
        """Return the content of the key file that Google's console offers for download."""
        return account.info(self.url + PATHS["token"])

    def client_settings(self, client: FakeClient | None = None) -> dict[str, Any]:
        """Return the settings of a client, for ``GOOGLE_LINK["CLIENTS"]``."""
        client = client or self.client
        settings = {
            "CLIENT_ID": client.client_id,
            "CLIENT_SECRET": client.client_secret,
            **client_endpoints(self.url),
        }
        if client.speaks_google:
            return settings
        del settings["PROVIDER"]
        if not client.speaks_openid:
            del settings["JWKS_URI"]
            settings |= {
                "IDENTITY": "userinfo",
                "USERINFO_ENDPOINT": self.url + PATHS["userinfo"],
                "SUBJECT_MEMBER": client.subject_member,
            }
        if client.authentication != "any":
            settings["TOKEN_ENDPOINT_AUTH_METHOD"] = client.authentication
        return {
            **settings,
            "SCOPE_SEPARATOR": client.scope_separator,
            "REFRESH_TOKENS": client.gives_refresh_tokens,
        }

    def client_secrets(
        self, client: FakeClient | None = None, type: ClientType | None = None
    ) -> dict[str, Any]:
        """Return the content of the secrets file that Google's console offers for download.

        Args:
            client: the client; by default the first one.
            type: the single key of the file; by default the client's type.
        """
        client = client or self.client
        content = {
            "client_id": client.client_id,
            "project_id": "fake-google",
            "auth_uri": self.url + PATHS["authorize"],
            "token_uri": self.url + PATHS["token"],
            "auth_provider_x509_cert_url": self.url + PATHS["certs"],
            "client_secret": client.client_secret,
            "redirect_uris": list(client.redirect_uris),
        }
        return {type or client.type: content}
