"""Whose endpoints a client has: Google's alone, or another provider's alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from pytest_django import Settings

from django_google_link.conf.clients import get_client, share_grant
from django_google_link.conf.providers import DEFAULT_ENDPOINTS, GOOGLE_TOKEN_ENDPOINTS
from django_google_link.conf.validators import read_or_default
from django_google_link.exceptions import SettingsError

OFFICE = {
    "ISSUER": "https://id.example.com",
    "AUTHORIZATION_ENDPOINT": "https://id.example.com/auth",
    "TOKEN_ENDPOINT": "https://id.example.com/token",
    "REVOCATION_ENDPOINT": "https://id.example.com/revoke",
    "JWKS_URI": "https://id.example.com/jwks",
}
LOOPBACK = {
    key: url.replace("https://id.example.com", "http://127.0.0.1:9") for key, url in OFFICE.items()
}
IN_FILES = {"AUTHORIZATION_ENDPOINT": "auth_uri", "TOKEN_ENDPOINT": "token_uri"}
FORMER = {
    "AUTHORIZATION_ENDPOINT": "https://accounts.google.com/o/oauth2/auth",
    "TOKEN_ENDPOINT": "https://www.googleapis.com/oauth2/v3/token",
}

Configure = Callable[..., None]


@pytest.fixture
def client_with(settings: Settings, tmp_path: Path) -> Configure:
    """Replace the default client, by one with these keys and with these in its secrets file."""

    def client_with(keys: dict[str, Any], in_file: dict[str, Any] | None = None) -> None:
        credentials: dict[str, Any] = {"CLIENT_ID": "id", "CLIENT_SECRET": "hush-hush"}
        if in_file is not None:
            path = tmp_path / "client_secret.json"
            content = {"client_id": "id", "client_secret": "hush-hush", **in_file}
            path.write_text(json.dumps({"web": content}))
            credentials = {"CLIENT_SECRETS_FILE": path}
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": {**credentials, **keys}},
        }

    return client_with


def endpoints() -> list[str]:
    """Return where the client sends anything, or believes anything from."""
    client = get_client()
    named = (
        client.issuer,
        client.authorization_endpoint,
        client.token_endpoint,
        client.revocation_endpoint,
        client.jwks_uri,
    )
    return [url for url in named if url]


def is_googles(url: str) -> bool:
    """Return whether an address is at Google."""
    return str(urlsplit(url).hostname).endswith((".google.com", ".googleapis.com"))


def choices(key: str) -> st.SearchStrategy[str | None]:
    """Return what may stand under a key: nothing, Google's, Google's former, or another's."""
    known = [None, "", DEFAULT_ENDPOINTS[key], FORMER.get(key), OFFICE[key], LOOPBACK[key]]
    return st.sampled_from(known)


written = st.fixed_dictionaries({key: choices(key) for key in OFFICE})
in_file = st.none() | st.fixed_dictionaries({name: choices(key) for key, name in IN_FILES.items()})


@pytest.mark.slow
@with_settings(max_examples=300)
@example(keys=LOOPBACK, file=None, provider="google")
@given(keys=written, file=in_file, provider=st.sampled_from([None, "google"]))
def test_no_client_is_of_two_providers(
    client_with: Configure, keys: dict[str, Any], file: dict[str, Any] | None, provider: str | None
) -> None:
    """Whatever is given, and wherever: all of it is Google's, or none."""
    client_with({**keys, "PROVIDER": provider}, file)

    used = read_or_default(endpoints, None)
    if used is None:
        return

    assert {is_googles(url) for url in used} in ({True}, {False})
    client = get_client()
    assert client.is_google is (is_googles(client.token_endpoint) or provider == "google")
    assert client.callback_args == (() if client.is_google else ("default",))
    if provider == "google":
        assert all(url.startswith("http://127.0.0.1:") for url in used)
        assert len(used) == len(OFFICE)


@pytest.mark.matrix
@pytest.mark.parametrize("left_out", OFFICE)
def test_what_another_provider_leaves_out_is_not_googles(
    client_with: Configure, left_out: str
) -> None:
    """It is off, or the client cannot work."""
    keys = {key: url for key, url in OFFICE.items() if key != left_out}
    client_with(keys)

    if left_out in {"AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT"}:
        with pytest.raises(SettingsError, match=f"has no {left_out}") as caught:
            get_client()
        assert caught.value.id == "E027"
        return
    client = get_client()
    assert client.issuer == keys.get("ISSUER", OFFICE["TOKEN_ENDPOINT"])
    assert client.revocation_endpoint == keys.get("REVOCATION_ENDPOINT")
    assert client.jwks_uri == keys.get("JWKS_URI")


@pytest.mark.matrix
@pytest.mark.parametrize("key", OFFICE)
@pytest.mark.parametrize("where", ["elsewhere", "at Google"])
def test_one_endpoint_of_the_other_is_refused(client_with: Configure, key: str, where: str) -> None:
    """One line of a developer's settings would send everybody's tokens to a stranger."""
    if where == "elsewhere":
        client_with({**DEFAULT_ENDPOINTS, key: OFFICE[key]})
    else:
        client_with({**OFFICE, key: DEFAULT_ENDPOINTS[key]})

    with pytest.raises(SettingsError) as caught:
        get_client()

    assert caught.value.id == "E030"
    assert key in caught.value.message


@pytest.mark.matrix
@pytest.mark.parametrize(
    "url",
    [
        "https://ACCOUNTS.google.com",
        "https://accounts.google.com:443",
        "https://accounts.google.com.",
        "https://accounts.google.com/",
    ],
)
def test_issuer_that_is_nearly_googles_is_none_of_googles(client_with: Configure, url: str) -> None:
    """It would be compared with the issuer of ID tokens, exactly."""
    client_with({"ISSUER": url})
    with pytest.raises(SettingsError) as caught:
        get_client()
    assert caught.value.id == "E027"

    client_with({**OFFICE, "ISSUER": url})
    with pytest.raises(SettingsError) as caught:
        get_client()
    assert caught.value.id == "E030"


@pytest.mark.matrix
@pytest.mark.parametrize("url", sorted(GOOGLE_TOKEN_ENDPOINTS))
def test_secrets_file_with_a_former_endpoint_of_google(client_with: Configure, url: str) -> None:
    """A file that was downloaded years ago is of a client of Google's all the same."""
    client_with({}, {"auth_uri": FORMER["AUTHORIZATION_ENDPOINT"], "token_uri": url})

    assert get_client().is_google
    assert endpoints() == [
        DEFAULT_ENDPOINTS[key]
        for key in (
            "ISSUER",
            "AUTHORIZATION_ENDPOINT",
            "TOKEN_ENDPOINT",
            "REVOCATION_ENDPOINT",
            "JWKS_URI",
        )
    ]


@pytest.mark.matrix
@pytest.mark.parametrize("provider", ["Google", "microsoft", "", 5, ["google"], True])
def test_provider_is_google_or_nothing(client_with: Configure, provider: Any) -> None:
    """There is no other that is treated in a way of its own."""
    client_with({**LOOPBACK, "PROVIDER": provider})

    with pytest.raises(SettingsError) as caught:
        get_client()
    assert caught.value.id == "E026"


@pytest.mark.matrix
@pytest.mark.parametrize("key", LOOPBACK)
@pytest.mark.parametrize("url", [None, "https://id.example.com", "https://127.0.0.1.example.com"])
def test_only_what_is_all_on_loopback_may_say_that_it_is_google(
    client_with: Configure, key: str, url: str | None
) -> None:
    """Who does is trusted with what is Google's."""
    client_with({**LOOPBACK, "PROVIDER": "google"})
    assert get_client().is_google

    client_with({**LOOPBACK, "PROVIDER": "google", key: url})
    with pytest.raises(SettingsError) as caught:
        get_client()
    assert caught.value.id == "E026"


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["a/b", ".", ".."])
def test_name_that_cannot_stand_in_an_address(settings: Settings, name: str) -> None:
    """Browsers would make another address of that of its callback; Google's has no name in it."""
    client = {"CLIENT_ID": "id", "CLIENT_SECRET": "hush-hush"}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {name: client}}
    assert get_client(name).callback_args == ()

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {name: {**client, **OFFICE}}}
    with pytest.raises(SettingsError) as caught:
        get_client(name)
    assert caught.value.id == "E002"


@pytest.mark.matrix
@pytest.mark.parametrize("key", ["CLIENT_ID", "ISSUER", "TOKEN_ENDPOINT"])
def test_what_no_column_could_hold_is_refused(client_with: Configure, key: str) -> None:
    """Each link stores it: the first user would meet the database's error."""
    keys = dict(OFFICE)
    if key == "TOKEN_ENDPOINT":
        del keys["ISSUER"]  # It stands for one.
    base = OFFICE.get(key, "")

    client_with({**keys, key: base.ljust(255, "x")})
    assert len(get_client().issuer if key != "CLIENT_ID" else get_client().client_id) == 255

    client_with({**keys, key: base.ljust(256, "x")})
    with pytest.raises(SettingsError, match="longer than 255") as caught:
        get_client()
    assert caught.value.id == "E012"


@dataclass(frozen=True)
class Issued:
    """To whom tokens were issued, and by whom."""

    client_id: str
    issuer: str = DEFAULT_ENDPOINTS["ISSUER"]


ONE = "123456789012-one.apps.googleusercontent.com"
TWO = "123456789012-two.apps.googleusercontent.com"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (Issued(ONE), Issued(ONE), True),
        (Issued(ONE), Issued(TWO), True),
        (Issued(ONE), Issued("123456789013-two.apps.googleusercontent.com"), False),
        (Issued(ONE), Issued("123456789012-two.apps.example.com"), False),
        (Issued("123456789012-one.example.com"), Issued("123456789012-two.example.com"), False),
        (Issued("123456789012"), Issued("123456789012-one"), False),
        (
            Issued("one-x.apps.googleusercontent.com"),
            Issued("one-y.apps.googleusercontent.com"),
            False,
        ),
        (Issued(""), Issued("-x.apps.googleusercontent.com"), False),
        (Issued(ONE, OFFICE["ISSUER"]), Issued(TWO, OFFICE["ISSUER"]), False),
        (Issued(ONE, OFFICE["ISSUER"]), Issued(ONE, OFFICE["ISSUER"]), True),
        (Issued(ONE), Issued(ONE, OFFICE["ISSUER"]), False),
        (Issued(ONE), Issued(TWO, OFFICE["ISSUER"]), False),
    ],
)
def test_clients_of_one_project_at_google_share_grants(
    one: Issued, other: Issued, shared: bool
) -> None:
    """At Google alone, and by the whole form of its ids: what is shared is spared or settled."""
    assert share_grant(one, other) is share_grant(other, one) is shared
