"""Each page of the app, in each of its forms, as its views make it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.conf import clock
from django_google_link.models import GoogleAccount, Reason, Status
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE, TASKS
from tests.support.flow import link
from tests.support.urls import local, query_of

#: As long as those of some people are.
LONG_ADDRESS = "bartholomew.featherstonehaugh-cholmondeley@mail.department.university.example"


class Walk:
    """A walk through the app, on which the pages are kept that are met."""

    def __init__(
        self, *, google: FakeGoogle, user: Any, settings: Settings, configure: Callable[..., None]
    ) -> None:
        self.google, self.user = google, user
        self.settings, self.configure = settings, configure
        self.alice = google.add_user("alice@gmail.com", name="Alice Example")
        self.browser = Client()
        self.browser.force_login(user)
        self.pages: dict[str, str] = {}

    def collect(self) -> dict[str, str]:
        """Return the HTML of the pages, by a name for each."""
        self._cancel()
        self._need_permission()
        self._link()
        self._choose_another()
        self._look_after_accounts()
        self._fail()
        return self.pages

    def _cancel(self) -> None:
        self._keep("accounts-none", self.browser.get("/google/"))
        self._come_back("cancelled", 403, deny=True)
        self._keep("permission-declined", self.browser.get("/agenda/"), 403)

    def _need_permission(self) -> None:
        # What was declined is remembered in the session.
        browser = Client()
        browser.force_login(self.user)
        self._keep("permission-not-linked", browser.post("/any-account/"), 403)

        def ask(name: str, reason: str = "", path: str = "/agenda/", **how: Any) -> None:
            GoogleAccount.objects.all().delete()
            status = Status.NEEDS_REAUTHORIZATION if reason else Status.ACTIVE
            make_google_account(
                self.user, scopes=[CALENDAR], status=status, status_reason=reason, **how
            )
            self._keep(name, browser.post(path), 403)

        ask("permission-missing", path="/files/")
        ask("permission-missing-long", path="/files/", email=LONG_ADDRESS)
        ask("permission-lost", Reason.REVOKED)
        ask("permission-session-policy", Reason.SESSION_POLICY)
        ask("permission-disabled", Reason.ACCOUNT_DISABLED)
        ask("permission-expired", Reason.EXPIRED)
        GoogleAccount.objects.update(is_default=False, status=Status.ACTIVE, status_reason="")
        make_google_account(self.user, scopes=[CALENDAR])
        GoogleAccount.objects.update(is_default=False)
        self._keep("permission-choice", browser.post("/agenda/"), 403)
        GoogleAccount.objects.all().delete()

    def _link(self) -> None:
        link(self.browser, self.google, self.alice)
        self._keep("accounts-one-confirmed", self.browser.get("/google/"))
        account = GoogleAccount.objects.get()
        self._keep("unlink", self.browser.get(f"/google/{account.pk}/unlink/"))
        self._keep("label", self.browser.get(f"/google/{account.pk}/label/"))
        too_long = self.browser.post(f"/google/{account.pk}/label/", {"label": "Home" * 100})
        self._keep("label-too-long", too_long)
        self._keep("not-linked", self.browser.get(f"/google/{uuid4()}/unlink/"), 404)
        self.browser.post(f"/google/{account.pk}/unlink/")
        self._keep("accounts-unlinked-confirmed", self.browser.get("/google/"))

    def _choose_another(self) -> None:
        def choose(name: str, who: FakeUser) -> None:
            start = AuthorizeRequest(
                user=str(self.user.pk),
                host="testserver",
                client="default",
                scopes=(*IDENTITY_SCOPES, CALENDAR),
                required=(CALENDAR,),
                return_url="/agenda/",
                account="42",
            ).url()
            self._come_back(name, 409, start=start, user=who)

        choose("other-account-unknown", self.alice)
        make_google_account(self.user, sub="42", email="expected@gmail.com")
        choose("other-account", self.alice)
        choose("other-account-long", self.google.add_user(LONG_ADDRESS))
        choose("other-account-same-name", self.google.add_user("expected@gmail.com"))
        GoogleAccount.objects.all().delete()

    def _look_after_accounts(self) -> None:
        scopes = [CALENDAR, DRIVE, TASKS]
        first = make_google_account(self.user, email="alice@work.example", scopes=scopes)
        make_google_account(self.user, email=LONG_ADDRESS, name="Bartholomew the Younger")
        make_google_account(
            self.user,
            email="former@gmail.com",
            status=Status.NEEDS_REAUTHORIZATION,
            status_reason=Reason.REVOKED,
        )
        self.browser.post(f"/google/{first.pk}/label/", {"label": "Work"})
        self.browser.post(f"/google/{first.pk}/make-default/")
        ends_at = clock.now() + timedelta(days=3)
        GoogleAccount.objects.filter(email=LONG_ADDRESS).update(refresh_token_expires_at=ends_at)
        self._keep("accounts-many", self.browser.get("/google/"))
        GoogleAccount.objects.update(is_default=False)
        self._keep("accounts-choice", self.browser.get("/google/?next=/agenda/"))
        GoogleAccount.objects.all().delete()

    def _fail(self) -> None:
        self._keep("failed", self.browser.get("/google/failed/"), 400)
        state = query_of(self.browser.get("/google/authorize/")["Location"])["state"]
        refused = self.browser.get(f"/google/callback/?error=server_error&state={state}")
        self._keep("refused", refused, 400)
        self.configure(HOSTED_DOMAIN="work.example")
        self._come_back("wrong-domain", 403, user=self.alice)
        self.configure(HOSTED_DOMAIN=None, REDIRECT_URI="https://www.testserver/google/callback/")
        self._keep("other-host", self.browser.get("/google/authorize/"), 400)
        self.configure(REDIRECT_URI=None)
        self.google.fail_next(endpoint="token", status=500)
        self._come_back("unreachable", 503, user=self.alice)
        self.google.fail_next(endpoint="token", status=401, body={"error": "invalid_client"})
        self._come_back("misconfigured", 503, user=self.alice)
        self.google.tamper_next_id_token(claims={"aud": "somebody else"})
        self._come_back("unusable-answer", 400, user=self.alice)
        self.settings.SESSION_COOKIE_SAMESITE = "Strict"
        self._keep("back-from-google", Client().get("/google/callback/?state=x&code=y"))

    def _come_back(
        self, name: str, status: int, *, start: str = "/google/authorize/", **how: Any
    ) -> None:
        """Keep what is shown after an answer at Google, which offers its user all accounts."""
        location = self.browser.get(start)["Location"]
        back = self.google.consent(re.sub(r"&(hd|login_hint)=[^&]*", "", location), **how)
        self._keep(name, self.browser.get(local(back)), status)

    def _keep(self, name: str, response: Any, status: int = 200) -> None:
        assert response.status_code == status, (name, response.status_code, response.headers)
        self.pages[name] = response.content.decode()
