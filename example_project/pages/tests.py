"""Tests of the pages with a fake Google: ``manage.py test pages``."""

from io import StringIO
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.test import TestCase, override_settings
from rest_framework_simplejwt.tokens import AccessToken

from django_google_link.testing import FakeGoogleMixin

from .google import CALENDAR, DRIVE, TASKS

EVENTS = "/calendar/v3/calendars/primary/events"
DENTIST = {
    "summary": "Dentist",
    "start": {"dateTime": "2027-01-08T08:30:00+01:00"},
    "end": {"dateTime": "2027-01-08T09:15:00+01:00"},
}
HTML = {"accept": "text/html"}


# Without the key file, which exists only in the demo.
WITH_SERVICE_ACCOUNT = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": {"reports": {}}}


@override_settings(GOOGLE_LINK=WITH_SERVICE_ACCOUNT)
class PageTests(FakeGoogleMixin, TestCase):
    """What Anna sees."""

    def setUp(self) -> None:
        super().setUp()
        self.anna = User.objects.create_user("anna", email="anna@daybook.example")
        self.client.force_login(self.anna)
        self.fake_google.add_user("anna@example.com")
        self.fake_google.answer(EVENTS, {"items": [DENTIST], "timeZone": "Europe/Berlin"})

    def browse(self, path: str) -> Any:
        """Visit a page, going through Google if it redirects there."""
        return self.fake_google.browse(self.client, path, headers=HTML)

    def test_agenda(self) -> None:
        """It is shown after consent, and offers the tasks that were not granted."""
        self.fake_google.grant_only(CALENDAR)

        page = self.browse("/agenda/")

        self.assertContains(page, "Dentist")
        self.assertContains(page, "Show my tasks here, too")

    def test_agenda_with_tasks(self) -> None:
        """They are shown below the events."""
        self.fake_google.answer("/tasks/v1/lists/@default/tasks", {"items": [{"title": "Sweep"}]})
        self.link_google_account(self.anna, scopes=[CALENDAR, TASKS])

        self.assertContains(self.browse("/agenda/"), "Sweep")

    def test_agenda_for_scripts(self) -> None:
        """The response is JSON: the events, or the URL for consent."""
        refused = self.client.get("/agenda.json", headers={"accept": "application/json"})
        self.link_google_account(self.anna, scopes=[CALENDAR])

        answer = self.client.get("/agenda.json")

        self.assertEqual(refused.status_code, 403)
        self.assertIn("/google/authorize/", refused.json()["authorize_url"])
        self.assertEqual(answer.json(), {"events": ["Dentist"]})

    def test_agenda_for_the_app(self) -> None:
        """Its user has a JWT, and links with the ``link_request`` of the 403."""
        headers = {"authorization": f"Bearer {AccessToken.for_user(self.anna)}"}
        refused = self.client.get("/api/agenda/", headers=headers)
        wanted = {"link_request": refused.json()["link_request"]}

        link = self.post("/api/google/links/", wanted, headers)
        self.post("/api/google/links/complete/", self.fake_google.answer_link(link), headers)

        agenda = self.client.get("/api/agenda/", headers=headers)
        self.assertEqual(refused.status_code, 403)
        self.assertEqual(agenda.json()["events"][0]["summary"], "Dentist")

    def post(self, path: str, data: Any, headers: dict[str, str]) -> Any:
        """Send JSON, and return the answer's content."""
        return self.client.post(path, data, content_type="application/json", headers=headers).json()

    def test_files(self) -> None:
        """The search words are quoted in the query for Drive."""
        self.link_google_account(self.anna, scopes=[DRIVE])
        self.fake_google.answer("/drive/v3/files", {"files": []})

        self.assertContains(self.browse("/files/?q=Ben's"), "No file has")

        [request] = self.fake_google.requests_to("/drive/v3/files")
        self.assertIn(r"name contains 'Ben\'s'", request.query["q"])

    def test_google_is_down(self) -> None:
        """A page is shown instead of a server error."""
        self.link_google_account(self.anna, access_token="")
        self.fake_google.fail_next(status=503)

        self.assertContains(self.browse("/agenda/"), "Google", status_code=503)

    def test_grant_that_was_revoked(self) -> None:
        """The user gets an e-mail, and the page asks for consent again."""
        self.link_google_account(self.anna, email="anna@example.com", access_token="")
        self.fake_google.revoke(self.fake_google.user_with("anna@example.com"))

        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.get("/agenda/", headers=HTML)

        self.assertEqual(response.status_code, 302)
        self.assertIn("no longer works", mail.outbox[0].body)

    def test_report(self) -> None:
        """It is written by the service account of the site."""
        path = "/v4/spreadsheets/numbers/values/A1:append"
        self.fake_google.answer(path, {}, method="POST")

        call_command("report", "numbers", stdout=StringIO())

        [request] = self.fake_google.requests_to(path)
        self.assertEqual(request.json["values"][0][1], 0)
