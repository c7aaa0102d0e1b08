"""Userinfo and the API routes that tests register."""

from __future__ import annotations

import pytest
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from tests.testing.app import CALENDAR, DRIVE

REALM = 'Bearer realm="https://accounts.google.com/"'
REFUSED = (("ACCESS_TOKEN_EXPIRED", "authError"), f'{REALM}, error="invalid_token"')


@pytest.fixture
def token(google, alice):
    return google.grant(alice, [CALENDAR]).access_token


def test_route(google, app, token):
    """A handler gets the request, the user and the path's arguments; its data goes out as JSON."""

    @google.route("/calendars/<id>/events", scopes=[CALENDAR, DRIVE])
    def events(request, user, id):
        return {"id": id, "user": user.email, "max": request.args["max"]}

    response = app.call("/calendars/primary/events?max=5", token)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.json() == {"id": "primary", "user": "alice@example.com", "max": "5"}


def test_route_with_a_response(google, app, token):
    """A handler may answer with anything that HTTP allows."""

    @google.route("/teapot", methods=["POST", "PUT"])
    def teapot(request, user):
        return Response(request.method, 418)

    assert app.call("/teapot", token, "POST").text == "POST"
    assert app.call("/teapot", token, "PUT").status_code == 418
    assert app.call("/teapot", token, "GET").status_code == 405


def test_route_with_a_list(google, app, token):
    """JSON data may be a list."""
    google.route("/list")(lambda request, user: [1, 2])

    assert app.call("/list", token).json() == [1, 2]


def test_route_replaced(google, app, token):
    """The handler registered last is the one that answers."""
    google.route("/version")(lambda request, user: {"version": 1})
    google.route("/version")(lambda request, user: {"version": 2})

    assert app.call("/version", token).json() == {"version": 2}


def test_route_arguments_of_any_name(google, app, token):
    """The path's arguments may be called what they like."""
    google.route("/<provider>")(lambda request, user, provider: {"provider": provider})

    assert app.call("/x", token).json() == {"provider": "x"}


def test_route_that_raises(google, app, token):
    """A handler may raise werkzeug's HTTP errors."""

    @google.route("/missing")
    def missing(request, user):
        raise NotFound

    assert app.call("/missing", token).status_code == 404


def test_route_returns_the_handler(google):
    """The decorator leaves the function as it is."""

    handler = dict

    assert google.route("/x")(handler) is handler


def test_unknown_path(app, token):
    """What nobody registered is not there, and the answer says how to change that."""
    answer = app.call("/nothing", token)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        "/nothing is not registered at this fake: use answer() or route()."
    )


def test_start_page(google, http):
    """Who opens the address learns what it is, and which accounts there are."""
    assert "no accounts yet" in http.get(google.url).text

    google.add_user("eve@gmail.com")

    assert "eve@gmail.com" in http.get(google.url).text


@pytest.mark.matrix
@pytest.mark.parametrize("path", ["/calendar", "/v1/userinfo"])
@pytest.mark.parametrize(
    ("authorization", "reasons", "challenge"),
    [
        (None, ("CREDENTIALS_MISSING", "required"), REALM),
        ("Bearer ya29.unknown", *REFUSED),
        ("Bearer ", *REFUSED),
        ("Basic YTpi", *REFUSED),
    ],
)
def test_no_live_token(google, app, path, authorization, reasons, challenge):
    """Who has no live token gets a 401 in Google's shape."""
    google.route("/calendar")(lambda request, user: {})
    headers = {"Authorization": authorization} if authorization else {}

    response = app.http.get(google.url + path, headers=headers)

    error = response.json()["error"]
    assert response.status_code == error["code"] == 401
    assert response.headers["WWW-Authenticate"] == challenge
    assert error["status"] == "UNAUTHENTICATED"
    assert (error["details"][0]["reason"], error["errors"][0]["reason"]) == reasons


def test_token_in_the_address(google, app, token):
    """A token in the address is not taken."""
    google.route("/calendar")(lambda request, user: {})

    response = app.http.get(f"{google.url}/calendar?access_token={token}")

    assert response.status_code == 401


def test_refresh_token_at_the_api(google, app, alice):
    """A refresh token opens no API."""
    google.route("/calendar")(lambda request, user: {})

    response = app.call("/calendar", google.grant(alice, [CALENDAR]).refresh_token)

    assert response.status_code == 401


def test_expired_token(google, app, alice, clock):
    """An access token is refused from the second on at which its lifetime ends."""
    google.now = clock
    google.route("/calendar")(lambda request, user: {})
    google.access_token_lifetime = 60
    tokens = app.link()

    clock.time += 59
    before = app.call("/calendar", tokens["access_token"])
    clock.time += 1
    after = app.call("/calendar", tokens["access_token"])

    assert tokens["expires_in"] == 60
    assert (before.status_code, after.status_code) == (200, 401)


def test_missing_scope(google, app, token):
    """Who has none of the scopes gets a 403 in Google's shape, which names the scopes."""
    google.route("/files", scopes=[DRIVE, "email"])(lambda request, user: {})

    response = app.call("/files", token)

    error = response.json()["error"]
    assert response.status_code == error["code"] == 403
    assert error["status"] == "PERMISSION_DENIED"
    assert error["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert error["errors"][0]["reason"] == "insufficientPermissions"
    assert response.headers["WWW-Authenticate"] == (
        f'{REALM}, error="insufficient_scope", '
        f'scope="{DRIVE} https://www.googleapis.com/auth/userinfo.email"'
    )


def test_userinfo(google, app, alice):
    """Userinfo tells what the scopes allow."""
    whole = google.grant(alice, ["openid", "email", "profile"])
    part = google.grant(alice, ["openid"])

    assert app.call("/v1/userinfo", whole.access_token).json() == {
        "sub": alice.sub,
        "email": "alice@example.com",
        "email_verified": True,
        "name": "Alice Doe",
    }
    assert app.call("/v1/userinfo", part.access_token).json() == {"sub": alice.sub}


def test_userinfo_without_identity_scopes(app, token):
    """A token for a calendar tells nothing about its owner."""
    assert app.call("/v1/userinfo", token).status_code == 403


def test_account_that_changes(google, app, alice):
    """A user may take another address; the sub stays, and the old address is free."""
    tokens = google.grant(alice, ["openid", "email"])

    alice.email = "doe@example.com"
    heir = google.add_user("alice@example.com")

    info = app.call("/v1/userinfo", tokens.access_token).json()
    assert (info["sub"], info["email"]) == (alice.sub, "doe@example.com")
    assert heir.sub != alice.sub


def test_answer_at_an_address(google):
    """The path alone is wanted: somebody has pasted where Google has it."""
    with pytest.raises(ValueError, match="Omit the host"):
        google.answer("https://www.googleapis.com/drive/v3/files", {})
