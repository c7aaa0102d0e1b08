"""The token endpoint: codes, refresh tokens, PKCE, and who may ask."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.testing.app import CALENDAR, DRIVE, EMAIL, PROFILE, REDIRECT_URI, params_of

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:43]
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


def assert_error(response, error, description, status=400):
    """Check the shape of RFC 6749 section 5.2."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.json() == {"error": error, "error_description": description}


def test_code(app, alice):
    """A code becomes tokens in the form of Google's."""
    location = app.google.consent(app.authorization_url())

    response = app.exchange(location)

    tokens = response.json()
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert tokens.pop("access_token").startswith("ya29.")
    assert tokens.pop("refresh_token").startswith("1//")
    assert tokens == {"expires_in": 3599, "scope": CALENDAR, "token_type": "Bearer"}


def test_tokens_are_as_long_as_google_allows(app, alice):
    """Code, access token and refresh token keep within Google's published sizes."""
    location = app.google.consent(app.authorization_url())

    tokens = app.exchange(location).json()

    assert len(params_of(location)["code"]) <= 256
    assert len(tokens["access_token"]) <= 2048
    assert len(tokens["refresh_token"]) <= 512


def test_scopes_in_long_form(app, alice):
    """The short names of scopes come back in their long form."""
    tokens = app.link(scope=f"openid email profile {CALENDAR}")

    assert tokens["scope"] == f"openid {EMAIL} {PROFILE} {CALENDAR}"


def test_code_works_once(app, alice):
    """A code that was used is refused."""
    location = app.google.consent(app.authorization_url())
    app.exchange(location)

    response = app.exchange(location)

    assert_error(response, "invalid_grant", "Malformed auth code.")


def test_code_expires(app, alice, clock):
    """A code lives for ten minutes."""
    app.google.now = clock
    url = app.authorization_url(prompt="consent")
    first, second = app.google.consent(url), app.google.consent(url)

    clock.time += 599
    in_time = app.exchange(first)
    clock.time += 1
    late = app.exchange(second)

    assert in_time.status_code == 200
    assert_error(late, "invalid_grant", "Malformed auth code.")


def test_code_of_another_client(app, other_app, alice):
    """A code is of no use to another client, who does not use it up either."""
    location = app.google.consent(app.authorization_url())

    stolen = other_app.exchange(location)
    own = app.exchange(location)

    assert_error(stolen, "invalid_grant", "Malformed auth code.")
    assert own.status_code == 200


@pytest.mark.matrix
@pytest.mark.parametrize("redirect_uri", [f"{REDIRECT_URI}/", ""])
def test_code_with_another_redirect_uri(app, alice, redirect_uri):
    """A code belongs to the address that it was sent to, and is lost after a wrong try."""
    location = app.google.consent(app.authorization_url())

    wrong = app.exchange(location, redirect_uri=redirect_uri)
    right = app.exchange(location)

    assert_error(wrong, "redirect_uri_mismatch", "Bad Request")
    assert_error(right, "invalid_grant", "Malformed auth code.")


def test_code_of_a_revoked_grant(app, other_app, alice):
    """A grant that is taken back takes the code on its way with it, and no other client's."""
    location = app.google.consent(app.authorization_url())
    other_location = other_app.google.consent(other_app.authorization_url())

    app.google.revoke(alice)

    assert app.exchange(location).json()["error"] == "invalid_grant"
    assert other_app.exchange(other_location).status_code == 200


def test_verifier(app, alice):
    """The verifier of the challenge opens the code."""
    location = app.google.consent(app.authorization_url(**PKCE))

    response = app.exchange(location, code_verifier=VERIFIER)

    assert response.status_code == 200


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("challenge", "form", "description"),
    [
        (PKCE, {}, "Missing code verifier."),
        (PKCE, {"code_verifier": "w" * 43}, "Invalid code verifier."),
        ({}, {"code_verifier": VERIFIER}, "code_verifier or verifier is not needed."),
    ],
)
def test_verifier_that_does_not_fit(app, alice, challenge, form, description):
    """Once a challenge was sent its verifier is needed, and otherwise none is taken."""
    location = app.google.consent(app.authorization_url(**challenge))

    response = app.exchange(location, **form)

    assert_error(response, "invalid_grant", description)


def test_online_gives_no_refresh_token(app, alice):
    """Without access_type=offline there is no refresh token."""
    tokens = app.link(access_type=None)

    assert "refresh_token" not in tokens


def test_refresh_token_the_first_time_only(app, alice):
    """The second authorization gives no refresh token, asked or not."""
    first, second = app.link(), app.link()
    third = app.link(scope=f"{CALENDAR} {DRIVE}")
    fourth = app.link(prompt="select_account")

    assert "refresh_token" in first
    assert "refresh_token" not in second
    assert "refresh_token" not in third
    assert "refresh_token" not in fourth


def test_refresh_token_again_with_prompt_consent(app, alice):
    """A renewed consent gives one more refresh token, and the old one goes on working."""
    first, second = app.link(), app.link(prompt="consent")

    assert first["refresh_token"] != second["refresh_token"]
    assert app.refresh(first["refresh_token"]).status_code == 200


def test_refresh_token_again_after_revocation(app, alice):
    """After the user took the grant back, the next one is the first again."""
    app.link()
    app.google.revoke(alice)

    assert "refresh_token" in app.link()


@pytest.mark.matrix
@pytest.mark.parametrize(("access_type", "sent"), [("offline", True), ("online", False)])
def test_refresh_token_always(app, alice, access_type, sent):
    """When told to, each offline authorization gives a refresh token."""
    app.google.always_sends_refresh_token = True
    app.link()

    tokens = app.link(access_type=access_type)

    assert ("refresh_token" in tokens) is sent


def test_only_what_is_granted_now(app, alice):
    """Without include_granted_scopes a token has the scopes of this authorization alone."""
    app.google.grant(alice, [DRIVE])

    tokens = app.link()

    assert tokens["scope"] == CALENDAR
    assert app.google.granted_scopes(alice) == {CALENDAR, DRIVE}


def test_include_granted_scopes(app, alice):
    """With include_granted_scopes=true the earlier scopes are in the new token too."""
    app.google.grant(alice, [DRIVE])

    location = app.google.consent(app.authorization_url(include_granted_scopes="true"))

    assert params_of(location)["scope"] == f"{CALENDAR} {DRIVE}"
    assert app.exchange(location).json()["scope"] == f"{CALENDAR} {DRIVE}"


def test_include_granted_scopes_of_nobody_else(app, other_app, alice):
    """Scopes granted to another client are not included."""
    app.google.grant(alice, [DRIVE], client=other_app.client)

    tokens = app.link(include_granted_scopes="true")

    assert tokens["scope"] == CALENDAR


def test_refresh(app, alice):
    """A refresh gives a new access token with the same scopes, and no new refresh token."""
    tokens = app.link(scope=f"openid {CALENDAR}")

    refreshed = app.refresh(tokens["refresh_token"]).json()

    assert refreshed.pop("access_token") != tokens["access_token"]
    assert refreshed.pop("id_token")
    assert refreshed == {
        "expires_in": 3599,
        "scope": f"openid {CALENDAR}",
        "token_type": "Bearer",
    }


def test_refresh_with_unknown_token(app):
    """A refresh token that is unknown is as dead as one that was revoked."""
    response = app.refresh("1//unknown")

    assert_error(response, "invalid_grant", "Token has been expired or revoked.")


def test_refresh_with_an_access_token(app, alice):
    """An access token is no refresh token."""
    tokens = app.google.grant(alice, [CALENDAR])

    response = app.refresh(tokens.access_token)

    assert response.json()["error"] == "invalid_grant"


def test_refresh_by_another_client(app, other_app, alice):
    """A refresh token is bound to its client."""
    tokens = app.google.grant(alice, [CALENDAR])

    response = other_app.refresh(tokens.refresh_token)

    assert_error(response, "unauthorized_client", "Unauthorized")


def test_refresh_with_fewer_scopes(app, alice):
    """A refresh may ask for less (RFC 6749 section 6), this once."""
    tokens = app.google.grant(alice, [CALENDAR, DRIVE])

    less = app.refresh(tokens.refresh_token, scope=DRIVE).json()
    whole = app.refresh(tokens.refresh_token).json()

    assert less["scope"] == DRIVE
    assert whole["scope"] == f"{CALENDAR} {DRIVE}"


def test_refresh_with_more_scopes(app, alice):
    """A refresh cannot ask for more than was granted."""
    tokens = app.google.grant(alice, [CALENDAR])

    response = app.refresh(tokens.refresh_token, scope=f"{CALENDAR} {DRIVE}")

    assert_error(response, "invalid_scope", "Some requested scopes were not granted.")


def test_refresh_token_with_an_end(app, alice, clock):
    """Time-limited access says how long it lasts, and ends then."""
    app.google.now = clock
    app.google.refresh_token_lifetime = 7200
    tokens = app.link()

    clock.time += 7199
    refreshed = app.refresh(tokens["refresh_token"])
    clock.time += 1
    late = app.refresh(tokens["refresh_token"])

    assert tokens["refresh_token_expires_in"] == 7200
    assert refreshed.json()["refresh_token_expires_in"] == 1
    assert late.json()["error"] == "invalid_grant"


def test_hundred_refresh_tokens(app, other_app, alice):
    """Beyond 100 refresh tokens of one user for one client, the oldest dies silently."""
    bob = app.google.add_user("bob@example.com")
    others = [
        (app, app.google.grant(bob, [CALENDAR])),
        (other_app, app.google.grant(alice, [CALENDAR], client=other_app.client)),
    ]
    tokens = [app.google.grant(alice, [CALENDAR]).refresh_token for _ in range(101)]

    assert_error(app.refresh(tokens[0]), "invalid_grant", "Token has been expired or revoked.")
    assert app.refresh(tokens[1]).status_code == 200
    assert app.refresh(tokens[100]).status_code == 200
    for owner, others_tokens in others:
        assert owner.refresh(others_tokens.refresh_token).status_code == 200


def test_client_by_http_basic(app, alice):
    """The client may authenticate by HTTP Basic, urlencoded as RFC 6749 section 2.3.1 says."""
    client = app.google.add_client(client_id="an id", client_secret="a+b%c")
    tokens = app.google.grant(alice, [CALENDAR], client=client)
    data = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}

    response = app.http.post(f"{app.google.url}/token", data=data, auth=("an+id", "a%2Bb%25c"))

    assert response.status_code == 200


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("form", "error", "description", "status"),
    [
        ({"client_id": "nobody"}, "invalid_client", "The OAuth client was not found.", 401),
        ({"client_secret": "wrong"}, "invalid_client", "Unauthorized", 401),
        ({"client_secret": None}, "invalid_client", "Unauthorized", 401),
        (
            {"client_id": None},
            *("invalid_request", "Could not determine client ID from request.", 400),
        ),
    ],
)
def test_wrong_client(app, form, error, description, status):
    """Who is not a client, or has the wrong secret, gets nothing."""
    response = app.refresh("1//unknown", **form)

    assert_error(response, error, description, status)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("form", "error", "description"),
    [
        ({}, "invalid_request", "Missing required parameter: grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type", "Invalid grant_type: password"),
        (
            {"grant_type": "authorization_code"},
            *("invalid_request", "Missing required parameter: code"),
        ),
        (
            {"grant_type": "refresh_token", "refresh_token": ""},
            *("invalid_request", "Missing required parameter: refresh_token"),
        ),
    ],
)
def test_incomplete_request(app, form, error, description):
    """What is missing or unknown is named."""
    response = app.token(**form)

    assert_error(response, error, description)


def test_get_is_refused(app):
    """Tokens are asked for by POST only."""
    response = app.http.get(f"{app.google.url}/token")

    assert response.status_code == 405


def test_parameters_in_the_address_are_not_read(app, alice):
    """A token in the address, where it ends up in logs, is not taken."""
    tokens = app.google.grant(alice, [CALENDAR])
    url = f"{app.google.url}/token?refresh_token={tokens.refresh_token}"

    response = app.http.post(
        url,
        data={
            "client_id": app.client.client_id,
            "client_secret": app.client.client_secret,
            "grant_type": "refresh_token",
        },
    )

    assert_error(response, "invalid_request", "Missing required parameter: refresh_token")
