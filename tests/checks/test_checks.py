"""System checks of what is around the settings: the site, where it is deployed, what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import run_checks
from django.db import connections
from pytest_django import DjangoDbBlocker, Settings

from django_google_link.encryption.keyring import key_ids
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import OTHER_KEY

CLIENT_ID = "1-id.apps.googleusercontent.com"
CALLBACK = "https://site.example/google/callback/"
LOOPBACK = "http://127.0.0.1:8000/google/callback/"
OFFICE_CALLBACK = "https://site.example/google/callback/default/"
OFFICE = {
    "ISSUER": "https://id.example.com",
    "AUTHORIZATION_ENDPOINT": "https://id.example.com/auth",
    "TOKEN_ENDPOINT": "https://id.example.com/token",
    "REVOCATION_ENDPOINT": "https://id.example.com/revoke",
    "JWKS_URI": "https://id.example.com/jwks",
}
FAKE = {
    key: url.replace("https://id.example.com", "http://127.0.0.1:9") for key, url in OFFICE.items()
}

urlpatterns: list[Any] = []


@pytest.fixture
def client_with(settings: Settings, tmp_path: Path) -> Callable[..., None]:
    """Replace the default client, by one with a secrets file that lists these redirect URIs."""

    def client_with(*listed: str, kind: str = "web", **keys: Any) -> None:
        path = tmp_path / "client_secret.json"
        content = {"client_id": CLIENT_ID, "client_secret": "hush-hush", "redirect_uris": listed}
        path.write_text(json.dumps({kind: content}))
        client = {"CLIENT_SECRETS_FILE": path, **keys}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}
        settings.ALLOWED_HOSTS = ["site.example", "www.site.example"]

    return client_with


def ids(**options: Any) -> set[str]:
    """Return the ids of what the app's checks find."""
    found = run_checks(**options)
    return {name for app, _, name in (str(m.id).rpartition(".") for m in found) if "google" in app}


def deployed() -> set[str]:
    """Return the ids of what the checks find where users are."""
    # What it says of Django's default cache has a test of its own.
    return ids(include_deployment_checks=True) - {"W032"}


def test_urls_that_are_not_included_are_found(settings: Settings) -> None:
    """The callback has to be somewhere."""
    settings.ROOT_URLCONF = __name__

    assert "E019" in ids()


@pytest.mark.parametrize(("position", "id"), [("Session", "E020"), ("Authentication", "E021")])
def test_middleware_that_is_missing_is_found(settings: Settings, position: str, id: str) -> None:
    """Sessions and users are needed."""
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if position not in path]

    assert id in ids()


class OwnSessionMiddleware(SessionMiddleware):
    """A project's own."""


def plain_middleware(get_response: Any) -> Any:
    """A middleware that is a function."""
    return get_response


def test_middleware_may_be_a_subclass(settings: Settings) -> None:
    """A subclass will do, and functions stand beside it."""
    settings.MIDDLEWARE = [
        f"{__name__}.{OwnSessionMiddleware.__name__}" if "Session" in path else path
        for path in settings.MIDDLEWARE
    ] + [f"{__name__}.plain_middleware"]

    assert ids().isdisjoint({"E020", "E021"})
    assert plain_middleware(len) is len


# Where users are


def test_deployment_that_is_well(client_with: Callable[..., None]) -> None:
    """The file knows the callback."""
    client_with(LOOPBACK, CALLBACK)
    assert deployed() == set()

    client_with(CALLBACK, REDIRECT_URI=CALLBACK)
    assert deployed() == set()


def test_redirect_uri_that_google_does_not_know(client_with: Callable[..., None]) -> None:
    """Google would refuse every user."""
    client_with(CALLBACK, REDIRECT_URI="https://www.site.example/google/callback/")

    assert deployed() == {"W008"}


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["web", "installed"])
@pytest.mark.parametrize(
    "listed",
    [[LOOPBACK], ["http://site.example/google/callback/", "https://localhost/google/callback/"]],
)
def test_redirect_uri_of_a_laptop(
    client_with: Callable[..., None], kind: str, listed: list[str]
) -> None:
    """Nobody but the developer would come back. A desktop client can have no other."""
    client_with(*listed, kind=kind)
    assert deployed() == {"W009"}

    client_with(REDIRECT_URI=LOOPBACK)
    assert deployed() == {"W009"}


def test_redirect_uri_that_is_built_behind_a_proxy(
    client_with: Callable[..., None], settings: Settings
) -> None:
    """It would begin with http."""
    client_with()
    assert deployed() == {"W010", "W025"}

    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert deployed() == {"W025"}


@pytest.mark.parametrize("keys", [OFFICE, {"API_ENDPOINT": "https://elsewhere.example/"}])
def test_endpoint_that_is_not_googles(
    client_with: Callable[..., None], settings: Settings, keys: dict[str, str]
) -> None:
    """A line of a developer's settings that was deployed by mistake gets everybody's tokens."""
    callback = OFFICE_CALLBACK if keys is OFFICE else CALLBACK
    client_with(callback, **keys)
    assert deployed() == {"W011"}

    settings.DEBUG = True
    assert deployed() == set()


def test_service_account_of_an_emulator(
    client_with: Callable[..., None], settings: Settings
) -> None:
    """It would get what opens the account."""
    client_with(CALLBACK)
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "SERVICE_ACCOUNTS": {"reports": {"DEFAULT_CREDENTIALS": True, "API_ENDPOINT": "https://e"}},
    }
    assert deployed() == {"W011"}

    settings.DEBUG = True
    assert deployed() == set()


@pytest.mark.parametrize(
    ("accounts", "expected"), [({"reports": {"DEFAULT_CREDENTIALS": True}}, set()), (5, {"E011"})]
)
def test_service_accounts_without_an_emulator(
    client_with: Callable[..., None], settings: Settings, accounts: Any, expected: set[str]
) -> None:
    """Those that talk to Google are fine, and those that are broken are left to another check."""
    client_with(CALLBACK)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}

    assert deployed() == expected


def test_deployment_checks_leave_to_others_what_they_say(
    client_with: Callable[..., None], settings: Settings
) -> None:
    """A client that cannot be read at all has an id of its own."""
    client_with(CALLBACK, SCOPES=5)
    assert deployed() == {"E014"}

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": 5}
    assert deployed() == {"E002"}


# What is stored


@pytest.mark.slow
@pytest.mark.django_db
def test_key_that_was_taken_out_too_early_is_found(user: Any, settings: Settings) -> None:
    """It has to be put back until all is re-encrypted."""
    [key] = key_ids()
    make_google_account(user)
    assert ids(databases=["default"]) == set()

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}
    [message] = (m for m in run_checks(databases=["default"]) if str(m.id).endswith("W007"))

    assert f"The key {key}, which is not configured, is needed for 1 of" in message.msg
    assert "W007" not in ids()


@pytest.mark.django_db
def test_stored_keys_are_not_compared_with_none(user: Any, settings: Settings) -> None:
    """That there are no keys is what is wrong."""
    make_google_account(user)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}

    assert ids(databases=["default"]) == {"E003"}


def test_stored_keys_before_the_first_migration(
    django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``migrate`` runs these checks first."""
    file = tmp_path / "empty.sqlite3"
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": {}}
    empty = {**connections.settings["default"], **sqlite}
    monkeypatch.setitem(connections.settings, "empty", empty)
    try:
        with django_db_blocker.unblock():
            assert ids(databases=["empty"]) == set()
            connections["empty"].close()
    finally:
        del connections["empty"]


class Elsewhere:
    """A router that keeps the accounts in another database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return app_label != "google_link"


@pytest.mark.django_db
def test_stored_keys_of_a_database_without_accounts(user: Any, settings: Settings) -> None:
    """The tables are not there, and need not be."""
    make_google_account(user)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}
    settings.DATABASE_ROUTERS = [Elsewhere()]

    assert "W007" not in ids(databases=["default"])


# Settings that are for something else


def test_worker_without_urls_is_well(settings: Settings) -> None:
    """It serves nothing."""
    del settings.ROOT_URLCONF

    assert ids(tags=["urls"]) == set()


def test_middleware_that_is_not_there_is_for_django_to_tell(settings: Settings) -> None:
    """Not a traceback from here."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "nowhere.Middleware"]

    assert ids() == set()


# Other providers than Google


@pytest.fixture
def clients_with(settings: Settings, tmp_path: Path) -> Callable[..., None]:
    """Replace the clients, by some with these keys and these redirect URIs in a secrets file."""

    def clients_with(**clients: dict[str, Any]) -> None:
        made: dict[str, Any] = {}
        for name, keys in clients.items():
            credentials: dict[str, Any] = {"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": "hush-hush"}
            listed = keys.pop("listed", None)
            if listed:
                path = tmp_path / f"{name}.json"
                content = {"client_id": "id", "client_secret": "hush", "redirect_uris": listed}
                path.write_text(json.dumps({"web": content}))
                credentials = {"CLIENT_SECRETS_FILE": path}
            made[name] = {**credentials, **keys}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": made}

    return clients_with


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("left_out", "id"),
    [("JWKS_URI", "E028"), ("ISSUER", "E028"), ("REVOCATION_ENDPOINT", "W013")],
)
def test_endpoint_that_another_provider_has_not(
    clients_with: Callable[..., None], left_out: str, id: str
) -> None:
    """Google's does not stand in for it, and what does not work without it is said."""
    clients_with(default={}, office=dict(OFFICE))
    assert ids() == set()

    clients_with(default={}, office={**OFFICE, left_out: None})
    [message] = (m for m in run_checks() if str(m.id).endswith(id))

    assert ids() == {id}
    assert f"'office' has no {left_out}" in message.msg


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("google", "office"),
    [
        ({"REDIRECT_URI": CALLBACK}, {"REDIRECT_URI": CALLBACK}),
        ({"listed": [LOOPBACK, CALLBACK]}, {"REDIRECT_URI": CALLBACK}),
        ({"listed": [CALLBACK]}, {"listed": [CALLBACK, LOOPBACK]}),
        ({}, {"REDIRECT_URI": CALLBACK}),
        ({}, {"listed": [LOOPBACK]}),
        ({"REDIRECT_URI": CALLBACK}, {"REDIRECT_URI": "https://SITE.example:443/google/callback/"}),
        ({"REDIRECT_URI": CALLBACK}, {"REDIRECT_URI": f"{CALLBACK}?office=1"}),
        ({"REDIRECT_URI": "https://site.example/google/callback/office/"}, {}),
    ],
)
def test_redirect_uri_at_two_issuers(
    clients_with: Callable[..., None], google: dict[str, Any], office: dict[str, Any]
) -> None:
    """One of them could take part in the flow of the other: set, listed in files, or built."""
    clients_with(default=google, office={**OFFICE, **office})

    assert "E029" in ids()


def test_redirect_uri_of_each_issuer_is_its_own(clients_with: Callable[..., None]) -> None:
    """Clients of one issuer may share theirs, as those of one site do at Google."""
    clients_with(default={}, second={}, office=dict(OFFICE))
    assert "E029" not in ids()

    clients_with(
        default={"REDIRECT_URI": CALLBACK},
        second={"REDIRECT_URI": CALLBACK},
        office={**OFFICE, "REDIRECT_URI": "https://site.example/google/callback/office/"},
    )
    assert ids() == set()

    other = {key: url.replace("id.", "ids.") for key, url in OFFICE.items()}
    clients_with(office=dict(OFFICE), other=dict(other), default={"REDIRECT_URI": CALLBACK})
    assert "E029" not in ids()


def test_fake_google_beside_google(clients_with: Callable[..., None]) -> None:
    """Both have the address that has no name in it."""
    clients_with(default={}, fake={**FAKE, "PROVIDER": "google"})

    assert "E029" in ids()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://site.example/google/security-events/", set()),
        ("https://site.example/other/google/security-events/", set()),
        (None, set()),
        ("http://127.0.0.1:8000/google/security-events/", {"W021"}),
        ("https://localhost/google/security-events/", {"W021"}),
        ("https://site.example/events/", {"W022"}),
        ("http://site.example/google/security-events/", {"E050"}),
        ("", {"E050"}),
        (7, {"E050"}),
    ],
)
def test_address_for_security_events(settings: Settings, url: Any, found: set[str]) -> None:
    """Google has to reach it, by https, and it has to lead to the receiver."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SECURITY_EVENTS_URL": url}

    assert deployed() & {"E050", "W021", "W022"} == found


LINKS, USERS = "django_google_link", get_user_model()._meta.app_config.name


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"TENANT_APPS": [USERS]}, {"E066"}),
        ({"TENANT_APPS": [USERS, "django_google_link.apps.GoogleLinkConfig"]}, set()),
        ({"TENANT_APPS": [LINKS]}, set()),
        ({"TENANT_TYPES": {"public": {"APPS": [LINKS]}, "shop": {"APPS": [USERS]}}}, {"E066"}),
        ({"TENANTS": {"public": {}, "default": {"APPS": [USERS, LINKS]}}}, set()),
        ({"TENANTS": {"blue": "blue.example"}}, set()),
        ({"TENANTS": ["blue"]}, set()),
    ],
)
def test_links_that_are_shared_by_tenants_with_users_of_their_own(
    settings: Settings, values: dict[str, Any], found: set[str]
) -> None:
    """Users of the same number would have the same links."""
    for name, value in values.items():
        setattr(settings, name, value)

    assert ids() & {"E066"} == found
