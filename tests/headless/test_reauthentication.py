"""``REAUTHENTICATION`` at each mount: whoever starts a link or ends one proves who they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle
from django_google_link.testing.accounts import make_google_account
from tests.support.front_ends import FrontEnd, refusal
from tests.support.mounts import MOUNTS

pytestmark = pytest.mark.django_db


def refuse(request: HttpRequest) -> HttpResponse:
    """Let nobody go on."""
    return HttpResponse("No.", status=418)


def test_nobody_starts_or_ends_a_link(mounted: FrontEnd, user: Any, settings: Settings) -> None:
    """At none of them; what is only looked at or labelled is not asked about."""
    account = make_google_account(user)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REAUTHENTICATION": f"{__name__}.refuse"}

    for response in (
        mounted.send("POST", "links/", {}),
        mounted.send("DELETE", f"accounts/{account.pk}/"),
    ):
        assert response.status_code == 403
        assert response.json()["error"] == "reauthentication_required"
        assert response.json()["reauthentication_url"] is None

    assert GoogleAccount.objects.exists()
    assert mounted.send("GET", "accounts/").status_code == 200


@pytest.mark.usefixtures("allow_front_end", "api_site")
@pytest.mark.parametrize("api", [*MOUNTS.values(), "/open/google/"])
def test_nobody_has_to_log_in_first(google: FakeGoogle, settings: Settings, api: str) -> None:
    """There is nobody yet who could prove anything."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REAUTHENTICATION": f"{__name__}.refuse"}
    nobody = FrontEnd(Client(), api=api)

    assert refusal(nobody.send("POST", "links/", {})) == (401, "login_required")
