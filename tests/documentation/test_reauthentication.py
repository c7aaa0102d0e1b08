"""The recipes for asking who it is once more work with what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.signals import user_logged_in
from django.contrib.auth.views import LoginView
from django.test import Client
from django.urls import include, path
from freezegun import freeze_time
from pytest_django import Settings

from django_google_link.checks.settings import check_settings
from django_google_link.models import GoogleAccount
from django_google_link.testing.accounts import make_google_account
from tests.documentation.pages import block_with, run, use_templates

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("accounts/", include("allauth.account.urls")),
]


def require_recent_login(request: Any) -> Any:
    """Stand in for the page's function, where a dotted path leads to."""
    return RECIPE["require_recent_login"](request)


def require_reauthentication(request: Any) -> Any:
    """The same for allauth's."""
    return RECIPE["require_reauthentication"](request)


RECIPE: dict[str, Any] = {}


@pytest.fixture
def login_recipe() -> Iterator[None]:
    """Run the code of the page, and disconnect what it connects."""
    receivers = list(user_logged_in.receivers)
    RECIPE.update(run("howto/reauthentication", "LONGEST ="))
    yield
    user_logged_in.receivers = receivers
    user_logged_in.sender_receivers_cache.clear()


def use(settings: Settings, function: Any) -> None:
    """Put the setting of the page in place, with the function of this module."""
    names = {"__name__": "settings"}
    exec(block_with("howto/reauthentication", "REAUTHENTICATION"), names)
    assert set(names["GOOGLE_LINK"]) == {"REAUTHENTICATION"}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "REAUTHENTICATION": f"{__name__}.{function.__name__}",
    }
    assert check_settings() == []


@pytest.mark.slow
@pytest.mark.usefixtures("login_recipe", "google")
def test_age_of_a_login(client: Client, user: Any, settings: Settings) -> None:
    """Fresh it is enough; later the password is asked, and then it is again."""
    use(settings, require_recent_login)
    use_templates(settings, {"login.html": "{{ form }}"})
    page = f"/google/{make_google_account(user).pk}/unlink/"
    with freeze_time() as frozen:
        client.post("/login/", {"username": "anna", "password": "pw"})
        assert client.get(page).status_code == 200

        frozen.tick(timedelta(minutes=16))
        sent = client.post(page)
        assert sent["Location"] == f"/login/?next={page}"
        assert GoogleAccount.objects.exists()

        back = client.post(sent["Location"], {"username": "anna", "password": "pw"})
        assert back["Location"] == page
        client.post(page)

    assert not GoogleAccount.objects.exists()


@pytest.mark.usefixtures("google")
def test_allauth(client: Client, user: Any, settings: Settings) -> None:
    """Its middleware sends the user to its own page, and back."""
    RECIPE.update(run("howto/reauthentication", "import reauthentication_required"))
    use(settings, require_reauthentication)
    page = f"/google/{make_google_account(user).pk}/unlink/"
    client.force_login(user)

    sent = client.get(page)
    assert sent["Location"].startswith("/accounts/reauthenticate/?next=")

    back = client.post(sent["Location"], {"password": "pw"})
    assert back["Location"] == page
    assert client.get(page).status_code == 200
    client.post(page)
    assert not GoogleAccount.objects.exists()
