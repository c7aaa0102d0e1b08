"""How users of Django's own test runner test their views."""

from django.contrib.auth.models import User
from django.test import TestCase

from django_google_link.testing import FakeGoogleMixin


class AgendaTests(FakeGoogleMixin, TestCase):
    """The view of the events."""

    def setUp(self):
        super().setUp()
        self.anna = User.objects.create_user("anna")
        self.client.force_login(self.anna)

    def test_agenda(self):
        self.link_google_account(self.anna)
        path = "/calendar/v3/calendars/primary/events"
        self.fake_google.answer(path, {"items": [{"summary": "Dentist"}]})

        self.assertContains(self.client.get("/agenda/"), "Dentist")

    def test_not_linked(self):
        response = self.client.get("/agenda/")

        self.assertIn("/google/authorize/", response["Location"])
