"""How pytest users test their views."""

import pytest
from diary.views import DRIVE, nightly_report

EVENTS = "/calendar/v3/calendars/primary/events"
FILES = "/drive/v3/files"

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna(django_user_model):
    return django_user_model.objects.create_user("anna")


@pytest.fixture
def browser(client, anna):
    client.force_login(anna)
    return client


def test_agenda(browser, anna, fake_google, link_google_account):
    link_google_account(anna)
    fake_google.answer(EVENTS, {"items": [{"summary": "Dentist"}]})

    assert browser.get("/agenda/").content == b"Dentist"


def test_consent(browser, anna, fake_google):
    fake_google.add_user("anna@gmail.com")
    fake_google.answer(EVENTS, {"items": []})

    assert fake_google.browse(browser, "/agenda/").status_code == 200
    assert anna.google_accounts.get().email == "anna@gmail.com"


def test_user_who_says_no(browser, fake_google):
    fake_google.add_user("anna@gmail.com")
    fake_google.deny()

    page = fake_google.browse(browser, "/agenda/")

    assert "You cancelled" in page.content.decode()


def test_user_who_unticks_a_box(browser, anna, fake_google):
    fake_google.add_user("anna@gmail.com")
    fake_google.grant_only()

    page = fake_google.browse(browser, "/files/")

    assert page.status_code == 403
    assert DRIVE in page.context["missing_scopes"][0]["scope"]


def test_session(browser, anna, fake_google, link_google_account):
    link_google_account(anna, scopes=[DRIVE])
    fake_google.answer(FILES, {"files": [{"name": "Letter"}]}, scopes=[DRIVE])

    assert browser.get("/files/").content == b"Letter"
    [call] = fake_google.requests_to(FILES)
    assert call.headers["Authorization"].startswith("Bearer ")


def test_grant_that_was_revoked(browser, anna, fake_google, link_google_account):
    account = link_google_account(anna, email="anna@gmail.com")
    fake_google.answer(EVENTS, {"items": []})
    fake_google.revoke(fake_google.user_with("anna@gmail.com"))

    assert browser.get("/agenda/").status_code == 302
    account.refresh_from_db()
    assert not account.is_active


def test_google_that_is_down(browser, anna, fake_google, link_google_account):
    link_google_account(anna, access_token="")
    fake_google.fail_next(status=503)

    assert browser.get("/agenda/").status_code == 503


def test_report_of_the_site_itself(fake_google):
    path = "/v4/spreadsheets/numbers/values/A1"
    fake_google.answer(path, {}, method="PUT")

    nightly_report("numbers", 42)

    [call] = fake_google.requests_to(path)
    assert call.query["valueInputOption"] == "RAW"
    assert call.json == {"values": [[42]]}
