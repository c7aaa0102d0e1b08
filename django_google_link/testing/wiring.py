"""Leads the settings of a project to a fake Google."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.urls import NoReverseMatch, reverse

from ..conf.providers import is_of_another_provider
from .provider.identities import FakeClient

if TYPE_CHECKING:
    from .fake import FakeGoogle

_KEY = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
_CREDENTIALS = frozenset({"CLIENT_SECRETS_FILE", "REDIRECT_URI"})
_SOURCES = frozenset({"FILE", "IMPERSONATE", "DEFAULT_CREDENTIALS"})


def lead_to_fake(google: FakeGoogle, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``GOOGLE_LINK`` with all clients and service accounts led to this fake Google.

    Other settings, such as names and scopes, do not change. The encryption key is a new one, so
    that neither a secrets file nor an environment variable is needed. Clients whose ``CLIENT_ID``
    is of the same Google Cloud project share a project at the fake too.

    Args:
        google: the fake Google, which has been started.
        settings: the project's ``GOOGLE_LINK``.
    """
    clients = settings.get("CLIENTS") or {"default": {}}
    accounts = settings.get("SERVICE_ACCOUNTS") or {}
    projects: dict[str, str] = {}
    return {
        **settings,
        "ENCRYPTION_KEYS": [_KEY],
        "CLIENTS": {
            name: _lead_client(google, name, client, projects, is_first=position == 0)
            for position, (name, client) in enumerate(clients.items())
        },
        "SERVICE_ACCOUNTS": {
            name: _lead_service_account(google, account) for name, account in accounts.items()
        },
    }


def _lead_client(
    google: FakeGoogle,
    name: str,
    client: Mapping[str, Any],
    projects: dict[str, str],
    *,
    is_first: bool,
) -> dict[str, Any]:
    real = FakeClient(client_id=str(client.get("CLIENT_ID") or ""), client_secret="").project
    fake = google.client if is_first else google.add_client(project=projects.get(real))
    if real:
        projects.setdefault(real, fake.project)
    fake.any_host = True
    fake.redirect_uris += [*_find_callbacks(name), *client.get("FRONT_END_REDIRECT_URIS", ())]
    fake.javascript_origins += client.get("FRONT_END_ORIGINS", ())
    if is_of_another_provider(client):
        # It has its own callback, and none of the features that only Google has.
        _play_other_provider(fake, client)
    kept = {key: value for key, value in client.items() if key not in _CREDENTIALS}
    led = {**kept, **google.client_settings(fake)}
    if client.get("IDENTITY") == "none":
        led["IDENTITY"] = "none"
        del led["USERINFO_ENDPOINT"], led["SUBJECT_MEMBER"]
    return led


def _play_other_provider(fake: FakeClient, client: Mapping[str, Any]) -> None:
    """Make the fake treat a client like the provider that its settings describe."""
    fake.is_googles = False
    fake.speaks_openid = client.get("IDENTITY", "id_token") == "id_token"
    fake.authentication = client.get("TOKEN_ENDPOINT_AUTH_METHOD") or "any"
    fake.scope_separator = client.get("SCOPE_SEPARATOR") or " "
    fake.gives_refresh_tokens = client.get("REFRESH_TOKENS", True)
    fake.subject_member = client.get("SUBJECT_MEMBER") or "sub"


def _find_callbacks(name: str) -> list[str]:
    """Return the callback URLs for Google and for another provider's client of this name."""
    try:
        return [
            f"http://testserver{reverse('google_link:callback', args=args)}"
            for args in ((), (name,))
        ]
    except NoReverseMatch:
        return []


def _lead_service_account(google: FakeGoogle, account: Mapping[str, Any]) -> dict[str, Any]:
    # A unique name for each test, since access tokens in the cache outlive a test.
    fake = google.add_service_account(f"robot-{secrets.token_hex(4)}")
    if account.get("SUBJECTS"):
        fake.delegated_scopes = ["*"]
    kept = {key: value for key, value in account.items() if key not in _SOURCES}
    return {**kept, "INFO": google.service_account_info(fake), "API_ENDPOINT": google.url}
