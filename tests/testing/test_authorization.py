"""What the authorization endpoint refuses, and when it asks nothing."""

from __future__ import annotations

import pytest

from django_google_link.testing import FakeGoogleError
from tests.testing.app import CALENDAR, DRIVE, EMAIL, REDIRECT_URI, params_of


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"client_id": None}, "invalid_request Missing required parameter: client_id"),
        ({"client_id": "nobody"}, "invalid_client The OAuth client was not found."),
        ({"redirect_uri": None}, "invalid_request Missing required parameter: redirect_uri"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, "redirect_uri_mismatch Not registered"),
        ({"redirect_uri": "http://localhost:1/"}, "redirect_uri_mismatch Not registered"),
        ({"response_type": None}, "invalid_request Missing required parameter: response_type"),
        ({"response_type": "token"}, "unsupported_response_type Not code: token"),
        ({"scope": None}, "invalid_request Missing required parameter: scope"),
        ({"scope": "calendar.readonly"}, "invalid_scope Some requested scopes were invalid"),
        ({"scope": " "}, "invalid_request Missing required parameter: scope"),
        ({"code_challenge": "x" * 43}, "invalid_request code_challenge"),
        ({"code_challenge_method": "S256"}, "invalid_request code_challenge"),
        (
            {"code_challenge": "x" * 43, "code_challenge_method": "plain"},
            "invalid_request code_challenge",
        ),
        (
            {"code_challenge": "x" * 42, "code_challenge_method": "S256"},
            "invalid_request code_challenge",
        ),
        ({"prompt": "login"}, "invalid_request Invalid parameter value for prompt: login"),
        ({"prompt": "none consent"}, "invalid_request Invalid parameter value for prompt"),
        ({"access_type": "forever"}, "invalid_request Invalid parameter value for access_type"),
        (
            {"include_granted_scopes": "True"},
            "invalid_request Invalid parameter value for include_granted_scopes: True",
        ),
    ],
)
def test_bad_request_is_shown_and_never_redirected(app, alice, params, error):
    """A bad request gets a page with status 400, even if its redirect_uri is fine."""
    response = app.open(**params)

    assert response.status_code == 400
    assert "Location" not in response.headers
    with pytest.raises(FakeGoogleError, match=f"^Access blocked Error 400: {error}"):
        app.google.consent(app.authorization_url(**params))


def test_parameter_given_twice(app, alice):
    """A parameter given twice is refused (RFC 6749 section 3.1)."""
    url = f"{app.authorization_url()}&scope={DRIVE}"

    with pytest.raises(FakeGoogleError, match="Parameter given more than once: scope"):
        app.google.consent(url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_installed_client_returns_to_any_loopback_port(google, app, alice, host):
    """An installed client may listen on any loopback port (RFC 8252 section 7.3)."""
    app.client = google.add_client(type="installed")

    location = google.consent(app.authorization_url(redirect_uri=f"http://{host}:43210/"))

    assert location.startswith(f"http://{host}:43210/?")


@pytest.mark.parametrize("redirect_uri", ["https://localhost:1/", "http://app.example/"])
def test_installed_client_returns_nowhere_else(google, app, alice, redirect_uri):
    """An installed client cannot have the code sent anywhere but to loopback."""
    app.client = google.add_client(type="installed")

    response = app.open(redirect_uri=redirect_uri)

    assert response.status_code == 400


def test_first_time_asks(app, alice):
    """A user who has granted nothing is asked."""
    response = app.open()

    assert response.status_code == 200
    assert "alice@example.com" in response.text


def test_nothing_left_to_ask(app, alice):
    """The only user, having granted all that is asked, is sent back at once."""
    app.google.grant(alice, [CALENDAR, "email"])

    response = app.open(scope=f"{CALENDAR} email")

    assert response.status_code == 302
    assert params_of(response.headers["Location"])["prompt"] == "none"
    assert params_of(response.headers["Location"])["scope"] == f"{CALENDAR} {EMAIL}"


def test_one_more_scope_asks(app, alice):
    """A scope that has not been granted yet has to be asked for."""
    app.google.grant(alice, [CALENDAR])

    response = app.open(scope=f"{CALENDAR} {DRIVE}")

    assert response.status_code == 200


def test_grant_to_another_client_counts_for_nothing(app, other_app, alice):
    """What the user granted to one client is asked anew for another."""
    app.google.grant(alice, [CALENDAR])

    response = other_app.open()

    assert response.status_code == 200


@pytest.mark.parametrize("prompt", ["consent", "select_account", "consent select_account"])
def test_prompt_asks_again(app, alice, prompt):
    """With a prompt the page is shown although all is granted."""
    app.google.grant(alice, [CALENDAR])

    response = app.open(prompt=prompt)

    assert response.status_code == 200


def test_several_users_and_no_hint_asks(app, alice):
    """With several accounts Google cannot know which one is meant."""
    app.google.add_user("bob@example.com")
    app.google.grant(alice, [CALENDAR])

    response = app.open()

    assert response.status_code == 200


@pytest.mark.parametrize("hint", ["sub", "email"])
def test_hint_tells_which_user(app, alice, hint):
    """A login_hint of either kind names the user, who is then sent back at once."""
    app.google.add_user("bob@example.com")
    app.google.grant(alice, [CALENDAR])

    response = app.open(login_hint=getattr(alice, hint))

    assert response.status_code == 302


def test_prompt_none_with_a_grant(app, alice):
    """With prompt=none a user who has granted all is sent back with a code."""
    app.google.grant(alice, [CALENDAR])

    location = app.google.consent(app.authorization_url(prompt="none"))

    assert "code" in params_of(location)


def test_prompt_none_without_a_grant(app, alice):
    """With prompt=none no page is shown; the client learns that one was needed."""
    location = app.google.consent(app.authorization_url(prompt="none"))

    assert params_of(location) == {"state": "a state", "error": "interaction_required"}


def test_revoked_grant_asks_again(app, alice):
    """A grant that was taken back has to be given anew."""
    app.google.grant(alice, [CALENDAR])
    app.google.revoke(alice)

    response = app.open()

    assert response.status_code == 200
