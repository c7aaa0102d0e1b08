"""Link an account as a front end does, over HTTP, and call a view with it: run beside a server.

The arguments are the site, where its endpoints are, a view, and where tokens are given, or nothing.
"""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from django_google_link.testing import FakeUser
from django_google_link.testing.browser.consent import Answer, give_consent

SITE, API, VIEW, TOKEN_URL = sys.argv[1:]
PAGE = "https://app.example.com/linked/"


def log_in() -> requests.Session:
    """Return a session that the site knows as its user's, by a token or by a cookie."""
    session = requests.Session()
    session.trust_env = False
    user = {"username": "anna", "password": "pw"}
    if TOKEN_URL:
        tokens = session.post(SITE + TOKEN_URL, json=user, timeout=10).json()
        session.headers["Authorization"] = f"Bearer {tokens['access']}"
        return session
    form = session.get(f"{SITE}/admin/login/", timeout=10)
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(.+?)"', form.text)
    session.post(f"{SITE}/admin/login/", data={**user, "csrfmiddlewaretoken": token}, timeout=10)
    session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
    return session


def ask(session: requests.Session, path: str, data: Any = None) -> tuple[int, Any]:
    """Send JSON, or get some; return the status and the content."""
    method, headers = ("GET" if data is None else "POST"), {"Accept": "application/json"}
    response = session.request(method, SITE + path, json=data, headers=headers, timeout=30)
    return response.status_code, response.json()


app = log_in()
status, refused = ask(app, VIEW)
assert status == 403, (status, refused)
assert refused["reason"] == "not_linked", refused

status, link = ask(app, f"{API}links/", {"link_request": refused["link_request"]})
assert status == 200, (status, link)
url = link["authorization_url"]
asked = dict(parse_qsl(urlsplit(url).query))
assert asked["redirect_uri"] == PAGE, asked
assert asked["code_challenge_method"] == "S256", asked

[*_, chosen] = re.findall(r'value="(1\d{20})"', requests.get(url, timeout=10).text)
anna = FakeUser(email="anna@example.org", sub=chosen)
back = give_consent(url, Answer(user=anna))
assert back.startswith(f"{PAGE}?"), back
came = {**dict(parse_qsl(urlsplit(back).query)), "ticket": link["ticket"], "redirect_uri": PAGE}
status, linked = ask(app, f"{API}links/complete/", came)
assert status == 200, (status, linked)
assert linked["missing_scopes"] == [], linked
status, again = ask(app, f"{API}links/complete/", came)
assert (status, again["error"]) == (409, "ticket_used"), (status, again)

status, listed = ask(app, f"{API}accounts/")
assert listed == {"accounts": [linked["account"]]}, listed
status, events = ask(app, VIEW)
assert status == 200, (status, events)
assert "Team meeting" in str(events), events
print(f"At {API} {linked['account']['email']} was linked, and {VIEW} answers with its events.")
