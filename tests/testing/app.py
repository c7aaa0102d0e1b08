"""A client application that knows nothing of the fake but the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

if TYPE_CHECKING:
    from django_google_link.testing import FakeClient, FakeGoogle

REDIRECT_URI = "http://app.example/callback"
CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
DRIVE = "https://www.googleapis.com/auth/drive.file"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
PROFILE = "https://www.googleapis.com/auth/userinfo.profile"


def params_of(location: str) -> dict[str, str]:
    """Return the parameters that came back to the client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


class App:
    """Speaks OAuth over HTTP, with no library that would hide what is on the wire."""

    def __init__(self, google: FakeGoogle, client: FakeClient, http: requests.Session) -> None:
        self.google = google
        self.client = client
        self.http = http

    def authorization_url(self, **params: Any) -> str:
        """Return a URL that asks for offline access to a calendar; ``None`` leaves one out."""
        defaults = {
            "client_id": self.client.client_id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": CALENDAR,
            "access_type": "offline",
            "state": "a state",
        }
        given = {name: value for name, value in (defaults | params).items() if value is not None}
        return f"{self.google.url}/o/oauth2/v2/auth?{urlencode(given)}"

    def open(self, **params: Any) -> requests.Response:
        """GET the authorization URL."""
        return self.http.get(self.authorization_url(**params), allow_redirects=False)

    def token(self, **form: Any) -> requests.Response:
        """POST to the token endpoint, with the client's id and secret in the body."""
        defaults = {
            "client_id": self.client.client_id,
            "client_secret": self.client.client_secret,
        }
        return self.http.post(f"{self.google.url}/token", data=defaults | form)

    def exchange(self, location: str, **form: Any) -> requests.Response:
        """Exchange the code that came back."""
        defaults = {
            "grant_type": "authorization_code",
            "code": params_of(location)["code"],
            "redirect_uri": REDIRECT_URI,
        }
        return self.token(**(defaults | form))

    def refresh(self, refresh_token: str, **form: Any) -> requests.Response:
        """Ask for a new access token."""
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    def link(self, **params: Any) -> dict[str, Any]:
        """Go through the whole flow, with a user who allows everything; return the tokens."""
        response = self.exchange(self.google.consent(self.authorization_url(**params)))
        response.raise_for_status()
        tokens: dict[str, Any] = response.json()
        return tokens

    def call(self, path: str, access_token: str, method: str = "GET") -> requests.Response:
        """Call an API."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self.http.request(method, self.google.url + path, headers=headers)

    def revoke(self, token: str) -> requests.Response:
        """Revoke a token."""
        return self.http.post(f"{self.google.url}/revoke", data={"token": token})
