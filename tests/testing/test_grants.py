"""Grants that end or change at Google."""

from __future__ import annotations

import pytest

from django_google_link.testing import FakeGoogleError
from django_google_link.testing.provider.grants import Token
from tests.testing.app import CALENDAR, DRIVE, EMAIL


@pytest.fixture(autouse=True)
def calendar(google):
    """Serve an API method."""

    @google.route("/calendar", scopes=[CALENDAR])
    def calendar(request, user):
        return {"of": user.email}


def is_live(app, tokens):
    """Tell whether the refresh token works, and whether the access token does."""
    refreshed = app.refresh(tokens.refresh_token).status_code == 200
    return refreshed, app.call("/calendar", tokens.access_token).status_code == 200


def test_grant(google, app, alice):
    """A grant made without a flow has tokens that work."""
    tokens = google.grant(alice, [CALENDAR, "email"])

    assert is_live(app, tokens) == (True, True)
    assert tokens.expires_in == 3599
    assert google.granted_scopes(alice) == {CALENDAR, EMAIL}


def test_grant_grows(google, alice):
    """A further grant adds to the earlier one."""
    google.grant(alice, [CALENDAR])
    google.grant(alice, [DRIVE])

    assert google.granted_scopes(alice) == {CALENDAR, DRIVE}


def test_grant_for_a_client(google, other_app, alice):
    """A grant belongs to the named client alone."""
    tokens = google.grant(alice, [CALENDAR], client=other_app.client)

    assert is_live(other_app, tokens) == (True, True)
    assert google.granted_scopes(alice) is None
    assert google.granted_scopes(alice, other_app.client) == {CALENDAR}


def test_grant_with_an_end(google, app, alice, clock):
    """A grant without a flow follows the lifetimes as well."""
    google.now = clock
    google.refresh_token_lifetime = 100
    google.access_token_lifetime = 10
    tokens = google.grant(alice, [CALENDAR])

    clock.time += 9
    before = app.call("/calendar", tokens.access_token).status_code
    clock.time += 1
    at_the_end = is_live(app, tokens)
    clock.time += 90

    assert tokens.expires_in == 10
    assert before == 200
    assert at_the_end == (True, False)
    assert is_live(app, tokens) == (False, False)


def test_grant_without_an_end(google, app, alice, clock):
    """Without a lifetime, and without an end for idleness, a refresh token goes on and on."""
    google.now = clock
    google.refresh_token_max_idle = None
    tokens = google.grant(alice, [CALENDAR])

    clock.time += 10 * 365 * 86400

    assert is_live(app, tokens) == (True, False)


def test_tokens_keep_to_themselves(google, app, alice):
    """No repr shows a token or a secret."""
    tokens = google.grant(alice, [CALENDAR])
    app.refresh(tokens.refresh_token)
    app.call(f"/calendar?access_token={tokens.access_token}", tokens.access_token)

    token = Token(value="ya29.x", user=alice, client=google.client, scopes=(), expires_at=None)
    shown = repr([tokens, token, google, google.client, google.requests, vars(google)])

    for secret in (
        tokens.refresh_token,
        tokens.access_token,
        google.client.client_secret,
        "ya29.x",
    ):
        assert secret not in shown


@pytest.mark.parametrize("by", ["refresh_token", "access_token"])
def test_revoke_over_http(google, app, alice, by):
    """Revoking either token ends the whole grant: every token of this user and project."""
    first, second = google.grant(alice, [CALENDAR]), google.grant(alice, [DRIVE])

    response = app.revoke(getattr(first, by))

    assert response.status_code == 200
    assert response.json() == {}
    assert google.granted_scopes(alice) is None
    assert is_live(app, first) == is_live(app, second) == (False, False)


def test_revoke_leaves_others_alone(google, app, other_app, alice):
    """Another user's grant, and the user's grant to another project, stay."""
    bob = google.add_user("bob@example.com")
    tokens = google.grant(alice, [CALENDAR])
    of_bob = google.grant(bob, [CALENDAR])
    of_other_client = google.grant(alice, [CALENDAR], client=other_app.client)

    app.revoke(tokens.refresh_token)

    assert is_live(app, of_bob) == (True, True)
    assert is_live(other_app, of_other_client) == (True, True)


def test_revoke_what_is_gone(google, app, alice):
    """A token that is unknown, or revoked already, is an invalid one."""
    tokens = google.grant(alice, [CALENDAR])
    app.revoke(tokens.refresh_token)

    again, unknown = app.revoke(tokens.refresh_token), app.revoke("1//unknown")

    assert again.status_code == unknown.status_code == 400
    assert again.json()["error"] == unknown.json()["error"] == "invalid_token"


def test_revoke_an_expired_access_token(google, app, alice, clock):
    """An access token that has expired revokes nothing."""
    google.now = clock
    tokens = google.grant(alice, [CALENDAR])

    clock.time += 3599
    response = app.revoke(tokens.access_token)

    assert response.json()["error"] == "invalid_token"
    assert google.granted_scopes(alice) == {CALENDAR}


def test_revoke_with_the_token_in_the_address(google, app, alice):
    """A token in the address, where it ends up in logs, is not taken."""
    tokens = google.grant(alice, [CALENDAR])
    url = f"{google.url}/revoke?token={tokens.refresh_token}"

    by_get, by_post = app.http.get(url), app.http.post(url)

    assert by_get.status_code == 405
    assert by_post.status_code == 400
    assert by_post.json()["error"] == "invalid_request"
    assert is_live(app, tokens) == (True, True)


def test_revoke_by_the_user(google, app, alice):
    """What the user takes back is gone for the client; doing it twice is no error."""
    tokens = google.grant(alice, [CALENDAR])

    google.revoke(alice)
    google.revoke(alice)

    assert is_live(app, tokens) == (False, False)


def test_revoke_by_the_user_for_one_client(google, app, other_app, alice):
    """The user may take back the grant of one project and leave the other's."""
    tokens = google.grant(alice, [CALENDAR])
    other = google.grant(alice, [CALENDAR], client=other_app.client)

    google.revoke(alice, other_app.client)

    assert is_live(app, tokens) == (True, True)
    assert is_live(other_app, other) == (False, False)


def test_expire_access_tokens(google, app, alice):
    """Every access token is refused, and refresh tokens go on to give new ones."""
    tokens = google.grant(alice, [CALENDAR])

    google.expire_access_tokens()

    assert is_live(app, tokens) == (True, False)
    renewed = app.refresh(tokens.refresh_token).json()["access_token"]
    assert app.call("/calendar", renewed).status_code == 200


def test_expire_access_tokens_of_a_user(google, app, alice):
    """Only this user's access tokens are refused."""
    bob = google.add_user("bob@example.com")
    of_alice, of_bob = google.grant(alice, [CALENDAR]), google.grant(bob, [CALENDAR])

    google.expire_access_tokens(alice)

    assert is_live(app, of_alice) == (True, False)
    assert is_live(app, of_bob) == (True, True)


def test_set_scopes(google, app, alice):
    """Scopes that were cut are gone from tokens that live, and from those to come."""
    tokens = google.grant(alice, [CALENDAR, DRIVE])

    google.set_scopes(alice, [DRIVE, "email"])

    assert google.granted_scopes(alice) == {DRIVE, EMAIL}
    assert is_live(app, tokens) == (True, False)
    assert app.refresh(tokens.refresh_token).json()["scope"] == f"{DRIVE} {EMAIL}"


def test_set_scopes_of_one_grant(google, app, other_app, alice):
    """Only the named client's grant changes, and only the user's."""
    bob = google.add_user("bob@example.com")
    own, of_bob = google.grant(alice, [CALENDAR]), google.grant(bob, [CALENDAR])
    google.grant(alice, [CALENDAR], client=other_app.client)

    google.set_scopes(alice, [DRIVE], other_app.client)

    assert google.granted_scopes(alice, other_app.client) == {DRIVE}
    assert is_live(app, own) == is_live(app, of_bob) == (True, True)


def test_set_scopes_without_a_grant(google, alice):
    """There is nothing to change where nothing was granted."""
    with pytest.raises(FakeGoogleError, match=r"alice@example\.com has no grant"):
        google.set_scopes(alice, [DRIVE])
