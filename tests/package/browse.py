"""Link an account as a user does in a browser, over HTTP, and look at it: run beside a server.

The argument is JSON: see ``Visit`` in ``sites.py``.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from django_google_link.testing import FakeUser
from django_google_link.testing.browser.consent import Answer, give_consent

VISIT = json.loads(sys.argv[1])
EMAIL = "anna@example.org"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where the browser is. At Google it has not looked yet."""

    url: str
    status: int = 0
    text: str = ""

    @property
    def is_at_google(self) -> bool:
        return not self.status


class Browser:
    """Keeps the cookies of one user at one host, whatever the name of that host leads to."""

    def __init__(self, host: str) -> None:
        self.site = f"http://{host}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"Host": host, "Accept": "text/html"})

    def open(self, url: str, data: dict[str, str] | None = None) -> Page:
        """Open a page, send a form to it if there is data, and go where that leads."""
        url = urljoin(self.site, url)
        while url.startswith(f"{self.site}/"):
            address = url.replace(self.site, VISIT["address"], 1)
            response = self.session.request(
                "GET" if data is None else "POST",
                address,
                data=data,
                allow_redirects=False,
                timeout=30,
            )
            if not response.is_redirect:
                return Page(url=url, status=response.status_code, text=response.text)
            url, data = urljoin(url, response.headers["Location"]), None
        return Page(url=url)

    def submit(self, page: Page, **fields: str) -> Page:
        """Send the form on a page."""
        [token, *_] = re.findall(r'name="csrfmiddlewaretoken" value="(.+?)"', page.text)
        return self.open(page.url, {**fields, "csrfmiddlewaretoken": token})

    def log_in(self) -> Page:
        """Open the view, log in where that leads, and return where the user comes to."""
        page = self.open(VISIT["view"])
        assert page.status == 200, page
        if not VISIT["login_link"]:
            return self.submit(page, username="anna", password="pw")
        [link] = re.findall(rf'href="({VISIT["login_link"]}[^"]*)"', page.text)
        asked = self.submit(self.open(unescape(link)))
        scopes = parse_qs(urlsplit(asked.url).query)["scope"][0].split()
        assert set(scopes) == {"openid", "email", "profile"}, asked
        return self.consent(asked, choose=True)

    def consent(self, page: Page, *, choose: bool) -> Page:
        """Agree at Google, and come back.

        Args:
            choose: the account; or leave the one that is preselected.
        """
        assert page.is_at_google, page
        found = requests.get(page.url, timeout=10).text
        [*_, sub] = re.findall(r'value="(1\d{20})"', found)
        user = FakeUser(email=EMAIL, sub=sub) if choose else None
        return self.open(give_consent(page.url, Answer(user=user)))


def look(browser: Browser, url: str, *texts: str) -> str:
    """Return a page on which these texts have to be."""
    page = browser.open(url)
    assert page.status == 200, page
    shown = page.text.replace("<wbr>", "")
    for text in texts:
        assert text in shown, (text, page)
    return shown


host, *others = VISIT["hosts"]
anna = Browser(host)
page = anna.log_in()
# Who has logged in with Google is not asked which account.
page = anna.consent(page, choose=not VISIT["login_link"])
assert urlsplit(page.url).path == VISIT["view"], page
assert "Team meeting" in page.text, page

look(anna, "/google/", EMAIL, *VISIT["texts"])
if VISIT["admin"]:
    accounts = f"{VISIT['admin']}google_link/googleaccount/"
    listed = look(anna, accounts, EMAIL, *VISIT["admin_texts"])
    [change, *_] = re.findall(rf'href="({accounts}[0-9a-f-]+/change/[^"]*)"', listed)
    look(anna, unescape(change), EMAIL, *VISIT["admin_texts"])

for other in others:
    # A user of the same number and name, who has linked nothing there.
    namesake = Browser(other)
    assert namesake.log_in().is_at_google
    assert EMAIL not in look(namesake, "/google/")

print(f"{VISIT['name']}: at /google/ {EMAIL} was linked, and {VISIT['view']} shows its events.")
