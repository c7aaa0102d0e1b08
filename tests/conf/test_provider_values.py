"""How a provider differs from Google: what may be said of it, and what is told of a mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.utils import translation
from django.utils.translation import gettext_lazy
from pytest_django import Settings

from django_google_link.conf.clients import OAuthClient, get_client
from django_google_link.exceptions import SettingsError
from django_google_link.scopes import IDENTITY_SCOPES

Configure = Callable[..., OAuthClient]

OTHER = {
    "ISSUER": "https://id.example.com",
    "AUTHORIZATION_ENDPOINT": "https://id.example.com/auth",
    "TOKEN_ENDPOINT": "https://id.example.com/token",
    "REVOCATION_ENDPOINT": "https://id.example.com/revoke",
    "JWKS_URI": "https://id.example.com/jwks",
}
USERINFO = {**OTHER, "IDENTITY": "userinfo", "USERINFO_ENDPOINT": "https://id.example.com/me"}


@pytest.fixture
def client_with(settings: Settings) -> Configure:
    """Replace the default client by one with these keys, and return it."""

    def client_with(**keys: Any) -> OAuthClient:
        client = {"CLIENT_ID": "id", "CLIENT_SECRET": "hush-hush", **keys}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}
        return get_client()

    return client_with


def test_google_needs_none_of_it(client_with: Configure) -> None:
    """Nothing is said, and all is as Google has it."""
    client = client_with()

    assert client.display_name == "Google"
    assert client.identity == "id_token"
    assert client.identity_scopes == IDENTITY_SCOPES
    assert client.scope_separator == " "
    assert client.gives_refresh_tokens
    assert not client.discovers_endpoints


def test_other_provider_is_called_as_its_host(client_with: Configure) -> None:
    """Better than the name of somebody else."""
    assert client_with(**OTHER).display_name == "id.example.com"
    assert client_with(**{**OTHER, "ISSUER": None}).display_name == "id.example.com"


def test_display_name_may_be_translated(client_with: Configure) -> None:
    """It is text for people."""
    client_with(**OTHER, DISPLAY_NAME=gettext_lazy("Monday"))

    with translation.override("de"):
        assert get_client().display_name == "Montag"


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["userinfo", "none"])
def test_identity_scopes_are_for_openid(client_with: Configure, kind: str) -> None:
    """A provider that knows no OpenID may refuse them; what the settings name is asked."""
    keys = USERINFO if kind == "userinfo" else {**OTHER, "IDENTITY": kind}

    assert client_with(**keys).identity_scopes == ()
    assert client_with(**keys, IDENTITY_SCOPES="read:user").identity_scopes == ("read:user",)


def test_address_and_name_may_be_left_out(client_with: Configure) -> None:
    """Only ``openid`` brings an ID token."""
    assert client_with(**OTHER, IDENTITY_SCOPES=["openid"]).identity_scopes == ("openid",)
    assert client_with(IDENTITY_SCOPES=["openid"]).identity_scopes == ("openid",)


def test_issuer_alone_means_its_metadata(client_with: Configure) -> None:
    """Its endpoints are looked up when they are needed; those that are given stay."""
    client = client_with(ISSUER="https://id.example.com", REVOCATION_ENDPOINT=OTHER["JWKS_URI"])

    assert client.discovers_endpoints
    assert client.issuer == "https://id.example.com"
    assert (client.token_endpoint, client.authorization_endpoint) == ("", "")
    assert client.revocation_endpoint == OTHER["JWKS_URI"]
    assert not client.is_google


def test_userinfo_endpoint_may_come_from_metadata(client_with: Configure) -> None:
    """It is published there, too."""
    client = client_with(ISSUER="https://id.example.com", IDENTITY="userinfo")

    assert client.userinfo_endpoint is None
    assert client.subject_member == "sub"


def test_all_may_be_said(client_with: Configure) -> None:
    """Each setting is read into what it stands for."""
    client = client_with(
        **USERINFO,
        SUBJECT_MEMBER="data.id",
        TOKEN_ENDPOINT_AUTH_METHOD="client_secret_basic",
        SCOPE_SEPARATOR=",",
        REFRESH_TOKENS=False,
        DISPLAY_NAME="Example & Co",
    )

    assert client.userinfo_endpoint == "https://id.example.com/me"
    assert client.subject_member == "data.id"
    assert client.token_endpoint_auth_method == "client_secret_basic"
    assert client.scope_separator == ","
    assert not client.gives_refresh_tokens
    assert client.display_name == "Example & Co"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("id", "keys", "said"),
    [
        ("E036", {**OTHER, "IDENTITY": "oauth"}, "IDENTITY"),
        ("E036", {**OTHER, "IDENTITY": ["none"]}, "IDENTITY"),
        ("E028", {**OTHER, "IDENTITY": "userinfo"}, "USERINFO_ENDPOINT"),
        (
            "E015",
            {**USERINFO, "USERINFO_ENDPOINT": "http://id.example.com/me"},
            "USERINFO_ENDPOINT",
        ),
        ("E030", {**USERINFO, "USERINFO_ENDPOINT": "https://www.googleapis.com/me"}, "USERINFO"),
        ("E037", {**USERINFO, "SUBJECT_MEMBER": ""}, "SUBJECT_MEMBER"),
        ("E037", {**USERINFO, "SUBJECT_MEMBER": "data..id"}, "SUBJECT_MEMBER"),
        ("E037", {**USERINFO, "SUBJECT_MEMBER": ["id"]}, "SUBJECT_MEMBER"),
        ("E037", {**USERINFO, "SUBJECT_MEMBER": "i\nd"}, "SUBJECT_MEMBER"),
        ("E038", {"TOKEN_ENDPOINT_AUTH_METHOD": "basic"}, "client_secret_basic"),
        ("E039", {**OTHER, "SCOPE_SEPARATOR": ";"}, "SCOPE_SEPARATOR"),
        ("E039", {**OTHER, "SCOPE_SEPARATOR": 1}, "SCOPE_SEPARATOR"),
        ("E040", {**OTHER, "REFRESH_TOKENS": "no"}, "REFRESH_TOKENS"),
        ("E041", {**OTHER, "IDENTITY_SCOPES": 1}, "IDENTITY_SCOPES"),
        ("E042", {**OTHER, "DISPLAY_NAME": " "}, "DISPLAY_NAME"),
        ("E042", {**OTHER, "DISPLAY_NAME": 1}, "DISPLAY_NAME"),
        ("E042", {**OTHER, "DISPLAY_NAME": "a\nb"}, "DISPLAY_NAME"),
        ("E042", {**OTHER, "DISPLAY_NAME": "a" * 61}, "DISPLAY_NAME"),
        ("E043", {**OTHER, "HOSTED_DOMAIN": "example.com"}, "HOSTED_DOMAIN"),
        ("E043", {**OTHER, "IDENTITY": "none", "HOSTED_DOMAIN": "example.com"}, "HOSTED_DOMAIN"),
        ("E043", {**OTHER, "IDENTITY": "none", "SUBJECT_MEMBER": "id"}, "SUBJECT_MEMBER"),
        ("E043", {**USERINFO, "IDENTITY": "id_token"}, "USERINFO_ENDPOINT"),
        ("E043", {**OTHER, "IDENTITY_SCOPES": ["email"]}, "openid"),
        ("E043", {"IDENTITY_SCOPES": []}, "openid"),
        ("E043", {"IDENTITY": "none"}, "IDENTITY"),
        ("E043", {"SCOPE_SEPARATOR": ","}, "SCOPE_SEPARATOR"),
        ("E043", {"REFRESH_TOKENS": False}, "REFRESH_TOKENS"),
    ],
)
def test_mistake_is_told(client_with: Configure, id: str, keys: dict[str, Any], said: str) -> None:
    """By the check, and where the client is read."""
    with pytest.raises(SettingsError) as caught:
        client_with(**keys)

    assert caught.value.id == id
    assert said in caught.value.message + caught.value.hint
    assert f"django_google_link.{id}" in {message.id for message in run_checks()}


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["userinfo", "none"])
def test_only_an_id_token_needs_keys(client_with: Configure, kind: str) -> None:
    """What is missing is told of the kind that was chosen."""
    keys = {**(USERINFO if kind == "userinfo" else OTHER), "IDENTITY": kind}
    client_with(**{**keys, "JWKS_URI": None, "ISSUER": None})
    found = {message.id for message in run_checks()}
    assert "django_google_link.E028" not in found

    client_with(**{**OTHER, "JWKS_URI": None})
    assert "django_google_link.E028" in {message.id for message in run_checks()}


def test_metadata_is_not_read_by_a_check(client_with: Configure) -> None:
    """Whatever it names: the provider may be away while a site starts."""
    client_with(ISSUER="http://127.0.0.1:9")

    assert not {"E027", "E028", "W013"} & {str(m.id).rpartition(".")[2] for m in run_checks()}
