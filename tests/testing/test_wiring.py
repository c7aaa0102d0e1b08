"""Settings that lead to a fake Google, where a project has other providers as well."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.conf.clients import get_client
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle
from django_google_link.testing.wiring import lead_to_fake
from tests.support.urls import query_of

OFFICE = {
    "CLIENT_ID": "daybook",
    "CLIENT_SECRET": "hush-hush",
    "ISSUER": "https://id.example.com",
    "AUTHORIZATION_ENDPOINT": "https://id.example.com/auth",
    "TOKEN_ENDPOINT": "https://id.example.com/token",
    "JWKS_URI": "https://id.example.com/jwks",
}


@pytest.mark.matrix
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("second", "callback", "is_google"),
    [
        ({}, "/google/callback/", True),
        (
            {"TOKEN_ENDPOINT": "https://www.googleapis.com/oauth2/v4/token"},
            "/google/callback/",
            True,
        ),
        ({"PROVIDER": "google", "ISSUER": "http://127.0.0.1:9"}, "/google/callback/", True),
        (OFFICE, "/google/callback/second/", False),
    ],
)
def test_each_client_has_the_callback_that_it_has_in_production(
    browser: Client, user: Any, second: dict[str, str], callback: str, is_google: bool
) -> None:
    """The fake knows it, and it is linked there."""
    project = {"CLIENTS": {"default": {}, "second": second}, "ENCRYPTION_KEYS": []}
    request = AuthorizeRequest(
        user=str(user.pk),
        host="testserver",
        client="second",
        scopes=("openid", "email"),
        required=(),
        return_url="/",
    )
    with FakeGoogle() as google, override_settings(GOOGLE_LINK=lead_to_fake(google, project)):
        assert get_client("second").is_google is is_google
        location = browser.get(request.url())["Location"]
        assert query_of(location)["redirect_uri"] == f"http://testserver{callback}"
        google.browse(browser, request.url(), user=google.add_user("alice@gmail.com"))

    assert GoogleAccount.objects.get().client == "second"
