"""Google's own libraries and other processes, which know nothing of the fake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token as google_id_token
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow
from googleapiclient import discovery_cache
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError

from tests.testing.app import CALENDAR, DRIVE, REDIRECT_URI

SCOPES = ["openid", "https://www.googleapis.com/auth/userinfo.email", CALENDAR, DRIVE]


@pytest.fixture(autouse=True)
def _loopback(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def credentials(google, alice):
    tokens = google.grant(alice, [CALENDAR])
    client = google.client_settings()
    return Credentials(
        token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        token_uri=client["TOKEN_ENDPOINT"],
        client_id=client["CLIENT_ID"],
        client_secret=client["CLIENT_SECRET"],
    )


def test_flow(google, alice):
    """google-auth-oauthlib goes the whole way: consent, PKCE, tokens, ID token, refresh, API."""
    google.route("/calendar", scopes=[CALENDAR])(lambda request, user: {"of": user.email})
    flow = Flow.from_client_config(google.client_secrets(), SCOPES, redirect_uri=REDIRECT_URI)
    url, state = flow.authorization_url(access_type="offline", include_granted_scopes="true")

    location = google.consent(url)
    flow.fetch_token(authorization_response=location)
    flow.oauth2session.close()

    credentials = flow.credentials
    claims = google_id_token.verify_token(
        credentials.id_token,
        Request(),
        audience=google.client.client_id,
        certs_url=google.client_settings()["JWKS_URI"],
    )
    first_token = credentials.token
    credentials.refresh(Request())
    with AuthorizedSession(credentials) as session:
        answer = session.get(f"{google.url}/calendar").json()
    assert f"state={state}" in location
    assert google.requests_to("token")[0].form["code_verifier"] == flow.code_verifier
    assert (claims["iss"], claims["sub"]) == (google.url, alice.sub)
    assert set(credentials.granted_scopes) == set(SCOPES)
    assert credentials.token != first_token
    assert answer == {"of": "alice@example.com"}


def test_flow_with_partial_consent(google, alice):
    """google-auth-oauthlib sees what was granted; its refresh asks for all again, and fails."""
    flow = Flow.from_client_config(google.client_secrets(), SCOPES, redirect_uri=REDIRECT_URI)
    url, _ = flow.authorization_url(access_type="offline")

    flow.fetch_token(authorization_response=google.consent(url, grant=[CALENDAR]))
    flow.oauth2session.close()

    assert set(flow.credentials.granted_scopes) == {*SCOPES} - {DRIVE}
    with pytest.raises(RefreshError, match="invalid_scope"):
        flow.credentials.refresh(Request())


def test_credentials_after_revocation(google, alice, credentials):
    """google-auth understands a grant that is gone."""
    google.revoke(alice)

    with pytest.raises(RefreshError, match=r"invalid_grant: Token has been expired or revoked\."):
        credentials.refresh(Request())


def test_session_refreshes_after_401(google, credentials):
    """google-auth takes the fake's 401 for what it is, and refreshes."""
    google.route("/calendar", scopes=[CALENDAR])(lambda request, user: {"of": user.email})
    google.expire_access_tokens()

    with AuthorizedSession(credentials) as session:
        response = session.get(f"{google.url}/calendar")

    assert response.json() == {"of": "alice@example.com"}
    assert len(google.requests_to("token")) == 1


def calendar_service(google, credentials):
    """Build Google's own client of the calendar, for another host."""
    document = json.loads(discovery_cache.get_static_doc("calendar", "v3"))
    return build_from_document(document | {"rootUrl": f"{google.url}/"}, credentials=credentials)


def test_api_client(google, credentials):
    """googleapiclient calls a registered route, with its own paths and parameters."""

    @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
    def events(request, user, id):
        return {"items": [{"summary": f"{id} {request.args['maxResults']}"}]}

    with calendar_service(google, credentials) as calendar:
        answer = calendar.events().list(calendarId="primary", maxResults=3).execute()

    assert answer == {"items": [{"summary": "primary 3"}]}


def test_api_client_without_the_scope(google, credentials):
    """googleapiclient understands the error of a missing scope."""
    path = "/calendar/v3/calendars/<id>/events"
    google.route(path, scopes=[DRIVE])(lambda request, user, id: {})

    with (
        calendar_service(google, credentials) as calendar,
        pytest.raises(HttpError, match="insufficient authentication scopes") as caught,
    ):
        calendar.events().list(calendarId="primary").execute()

    assert caught.value.status_code == 403
    assert caught.value.error_details[0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


def test_other_process(google):
    """Another process can use the fake."""
    code = (
        "import json, sys, urllib.request\n"
        "with urllib.request.urlopen(sys.argv[1]) as answer:\n"
        "    print(json.load(answer)['issuer'])"
    )
    url = f"{google.url}/.well-known/openid-configuration"

    command = [sys.executable, "-c", code, url]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout

    assert shown.strip() == google.url
