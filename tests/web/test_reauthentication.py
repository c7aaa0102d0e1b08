"""``REAUTHENTICATION``: whoever links or unlinks may have to prove who they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.flow import link

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("api/google/", include("django_google_link.headless.urls")),
]


def ask(request: HttpRequest) -> HttpResponse | None:
    """Send everybody away who has not proved who they are."""
    if request.session.get("proved"):
        return None
    return HttpResponseRedirect(f"/prove/?next={request.get_full_path()}")


def refuse(request: HttpRequest) -> HttpResponse:
    """Let nobody go on."""
    return HttpResponse("No.", status=418)


def answer_nonsense(request: HttpRequest) -> Any:
    """Return something else."""
    return True


async def ask_later(request: HttpRequest) -> None:
    """The pages are synchronous."""
    raise NotImplementedError


def use(settings: Settings, function: Any) -> None:
    """Name a function of this module."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "REAUTHENTICATION": f"{__name__}.{function.__name__}",
    }


def prove(browser: Client) -> None:
    """Let the user have proved it in this session."""
    session = browser.session
    session["proved"] = True
    session.save()


def test_linking_waits_for_it(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """The user comes back to where they were going, and goes on from there."""
    use(settings, ask)

    sent = browser.get("/google/authorize/")
    assert sent["Location"] == "/prove/?next=/google/authorize/"
    assert google.requests == []

    prove(browser)
    link(browser, google, alice)
    assert GoogleAccount.objects.exists()


def test_unlinking_waits_for_it(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings
) -> None:
    """Before the question and after it."""
    use(settings, ask)
    page = f"/google/{make_google_account(user).pk}/unlink/"

    for response in (browser.get(page), browser.post(page)):
        assert response["Location"] == f"/prove/?next={page}"
    assert GoogleAccount.objects.exists()

    prove(browser)
    assert browser.get(page).status_code == 200
    browser.post(page)
    assert not GoogleAccount.objects.exists()


def test_anothers_account_is_a_404_first(
    browser: Client, other_user: Any, settings: Settings
) -> None:
    """Nobody proves anything for what is not theirs."""
    use(settings, ask)

    page = f"/google/{make_google_account(other_user).pk}/unlink/"

    assert browser.get(page).status_code == 404


def test_what_gives_nobody_access_is_not_asked(
    browser: Client, user: Any, settings: Settings
) -> None:
    """Labels, and the choice of the default account; nor is a page that is only looked at."""
    use(settings, refuse)
    account = make_google_account(user)

    assert browser.get("/google/").status_code == 200
    browser.post(f"/google/{account.pk}/label/", {"label": "Work"})
    browser.post(f"/google/{account.pk}/make-default/")

    account.refresh_from_db()
    assert (account.label, account.is_chosen_default) == ("Work", True)


def test_json_says_where_to_prove_it(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings
) -> None:
    """A script follows no redirect to a page."""
    account = make_google_account(user)
    start: dict[str, Any] = {"data": "{}", "content_type": "application/json"}
    for function, url in ((ask, "/prove/?next="), (refuse, None)):
        use(settings, function)
        for response in (
            browser.post("/api/google/links/", **start),
            browser.delete(f"/api/google/accounts/{account.pk}/"),
        ):
            assert response.status_code == 403
            said = response.json()
            assert said["error"] == "reauthentication_required"
            assert (said["reauthentication_url"] or "").startswith(url or "")
            assert bool(said["reauthentication_url"]) == bool(url)
    assert GoogleAccount.objects.exists()
    assert browser.get("/api/google/accounts/").status_code == 200

    use(settings, ask)
    prove(browser)
    assert browser.delete(f"/api/google/accounts/{account.pk}/").status_code == 204


@pytest.mark.parametrize("value", [answer_nonsense, ask_later])
def test_function_that_cannot_work_lets_nobody_go_on(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings, value: Any
) -> None:
    """It says which."""
    use(settings, value)
    account = make_google_account(user)

    with pytest.raises(ImproperlyConfigured, match="REAUTHENTICATION"):
        browser.post(f"/google/{account.pk}/unlink/")
    with pytest.raises(ImproperlyConfigured, match="REAUTHENTICATION"):
        browser.get("/google/authorize/")

    assert GoogleAccount.objects.exists()
