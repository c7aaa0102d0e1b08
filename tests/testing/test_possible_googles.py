"""Every Google that is possible, and providers that are not Google: one attribute away each."""

from __future__ import annotations

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from django_google_link.testing import FakeGoogle
from tests.testing.app import CALENDAR, DRIVE, EMAIL, PROFILE, REDIRECT_URI, App, params_of

IDENTITY = f"openid {EMAIL} {PROFILE}"


@pytest.fixture
def sibling_app(google, http):
    """An application whose client is of the same project."""
    client = google.add_client(project=google.client.project, redirect_uris=[REDIRECT_URI])
    return App(google, client, http)


@pytest.fixture(autouse=True)
def calendar(google):
    """Serve an API method of each scope."""
    google.answer("/calendar", {}, scopes=[CALENDAR])
    google.answer("/drive", {}, scopes=[DRIVE])


def claims_of(app, tokens):
    """Return the claims of an ID token, its signature verified."""
    keys = KeySet.import_key_set(app.http.get(f"{app.google.url}/oauth2/v3/certs").json())
    return jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims


def is_dead(app, refresh_token):
    """Tell whether a refresh token is refused as one that has ended."""
    response = app.refresh(refresh_token)
    return (response.status_code, response.json().get("error")) == (400, "invalid_grant")


def test_defaults():
    """They are what Google does, and where nobody knows, what asks more of the application."""
    google = FakeGoogle()

    assert google.prompt_consent_sends_refresh_token is True
    assert google.new_scopes_send_refresh_token is False
    assert google.old_refresh_tokens_grow is False
    assert google.refresh_sends_scope is True
    assert google.refresh_sends_id_token is True
    assert google.rotates_refresh_tokens is False
    assert google.reuse_ends_family is False
    assert google.revocation_ends_grant is True
    assert google.max_refresh_tokens == 100
    assert google.refresh_token_max_idle == 182 * 86_400
    assert (google.sends_iss, google.declares_iss) == (False, False)


# Whether an old refresh token grows


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("grows", "scopes"), [(False, CALENDAR), (True, f"{CALENDAR} {DRIVE}")], ids=["stays", "grows"]
)
def test_old_refresh_token_and_scopes_granted_later(app, alice, grows, scopes):
    """A refresh with it answers with, and opens, the scopes that it stands for by then."""
    app.google.old_refresh_tokens_grow = grows
    old = app.link()["refresh_token"]

    app.link(scope=DRIVE, include_granted_scopes="true")

    refreshed = app.refresh(old).json()
    assert refreshed["scope"] == scopes
    assert app.call("/calendar", refreshed["access_token"]).status_code == 200
    assert app.call("/drive", refreshed["access_token"]).status_code == (200 if grows else 403)


def test_old_refresh_tokens_of_others_do_not_grow(app, other_app, sibling_app, alice):
    """Only the user's own for the very client that was granted more."""
    app.google.old_refresh_tokens_grow = True
    bob = app.google.add_user("bob@example.com")
    of_bob = app.google.grant(bob, [CALENDAR]).refresh_token
    of_others = [
        (other, app.google.grant(alice, [CALENDAR], client=other.client).refresh_token)
        for other in (other_app, sibling_app)
    ]

    app.google.grant(alice, [DRIVE])

    for owner, token in [(app, of_bob), *of_others]:
        assert owner.refresh(token).json()["scope"] == CALENDAR


def test_new_refresh_token_stands_for_the_combined_authorization(app, alice):
    """With include_granted_scopes; without it, for the scopes of this authorization alone."""
    app.link()
    combined = app.link(scope=DRIVE, include_granted_scopes="true", prompt="consent")
    alone = app.link(scope=DRIVE, prompt="consent")

    assert app.refresh(combined["refresh_token"]).json()["scope"] == f"{DRIVE} {CALENDAR}"
    assert app.refresh(alone["refresh_token"]).json()["scope"] == DRIVE


# Whether a second authorization brings a refresh token


@pytest.mark.matrix
@pytest.mark.parametrize("sends", [True, False])
def test_second_authorization_with_new_scopes(app, alice, sends):
    """Google shows its consent page, and may or may not give a refresh token for it."""
    app.google.new_scopes_send_refresh_token = sends
    app.link()

    more = app.link(scope=f"{CALENDAR} {DRIVE}")
    same = app.link(scope=f"{CALENDAR} {DRIVE}", prompt="select_account")
    online = app.link(scope=EMAIL, access_type="online")

    assert ("refresh_token" in more) is sends
    assert "refresh_token" not in same
    assert "refresh_token" not in online


@pytest.mark.matrix
@pytest.mark.parametrize("scope", [CALENDAR, DRIVE])
def test_no_second_refresh_token_even_with_prompt_consent(app, alice, scope):
    """A fault that Google is not known for: the first one is the only one."""
    app.google.prompt_consent_sends_refresh_token = False

    first = app.link(prompt="consent")
    second = app.link(scope=scope, prompt="consent")

    assert "refresh_token" in first
    assert "refresh_token" not in second


def test_new_scopes_bring_one_where_prompt_consent_does_not(app, alice):
    """Each attribute speaks for itself."""
    app.google.prompt_consent_sends_refresh_token = False
    app.google.new_scopes_send_refresh_token = True
    app.link()

    assert "refresh_token" in app.link(scope=DRIVE, prompt="consent")
    assert "refresh_token" not in app.link(scope=DRIVE, prompt="consent")


# Who an authorization response is from


@pytest.mark.matrix
@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("declares", [True, False])
def test_iss_sent_and_declared(app, alice, sends, declares):
    """Both in every combination (RFC 9207)."""
    app.google.sends_iss, app.google.declares_iss = sends, declares

    document = app.http.get(f"{app.google.url}/.well-known/openid-configuration").json()
    params = params_of(app.google.consent(app.authorization_url()))

    assert document["authorization_response_iss_parameter_supported"] is declares
    assert params.get("iss") == (app.google.url if sends else None)


# What a refresh answers


def test_refresh_without_scope(app, alice):
    """RFC 6749 section 5.1 lets it be left out where it is as before; codes still bring it."""
    app.google.refresh_sends_scope = False
    tokens = app.link()

    refreshed = app.refresh(tokens["refresh_token"]).json()

    assert tokens["scope"] == CALENDAR
    assert set(refreshed) == {"access_token", "expires_in", "token_type"}


def test_refresh_without_id_token(app, alice):
    """OpenID Connect Core section 12.2 lets it be left out; codes still bring it."""
    app.google.refresh_sends_id_token = False
    tokens = app.link(scope=IDENTITY)

    refreshed = app.refresh(tokens["refresh_token"]).json()

    assert "id_token" in tokens
    assert set(refreshed) == {"access_token", "expires_in", "scope", "token_type"}


def test_renamed_account(app, alice):
    """What an account is called now stands in later ID tokens and userinfo; its sub stays."""
    tokens = app.link(scope=IDENTITY)
    sub = alice.sub

    alice.email, alice.name = "alice@corp.example", "Alice Roe"
    alice.picture, alice.hosted_domain = "https://example.com/a.png", "corp.example"
    alice.email_verified = False
    refreshed = app.refresh(tokens["refresh_token"]).json()

    now = {
        "sub": sub,
        "email": "alice@corp.example",
        "email_verified": False,
        "name": "Alice Roe",
        "picture": "https://example.com/a.png",
        "hd": "corp.example",
    }
    assert claims_of(app, tokens)["email"] == "alice@example.com"
    assert now.items() <= claims_of(app, refreshed).items()
    assert app.call("/v1/userinfo", refreshed["access_token"]).json() == now
    assert app.open(prompt="none", scope=IDENTITY, login_hint=alice.email).status_code == 302


# Refresh tokens that are replaced


def test_rotation(app, alice):
    """Each refresh gives a new refresh token for the same scopes, and kills the old one."""
    app.google.rotates_refresh_tokens = True
    first = app.link()["refresh_token"]

    second = app.refresh(first).json()
    third = app.refresh(second["refresh_token"]).json()

    assert len({first, second["refresh_token"], third["refresh_token"]}) == 3
    assert third["scope"] == CALENDAR
    assert is_dead(app, first)
    assert is_dead(app, second["refresh_token"])
    assert not is_dead(app, third["refresh_token"])
    assert app.call("/calendar", second["access_token"]).status_code == 200


def test_rotation_keeps_the_scopes_and_the_end(app, alice, clock):
    """A refresh for less leaves the token as it was, and time-limited access stays so."""
    app.google.now = clock
    app.google.rotates_refresh_tokens, app.google.refresh_token_lifetime = True, 7200
    first = app.link(scope=f"{CALENDAR} {DRIVE}")["refresh_token"]

    clock.time += 7199
    second = app.refresh(first, scope=DRIVE).json()
    third = app.refresh(second["refresh_token"]).json()
    clock.time += 1

    assert second["refresh_token_expires_in"] == 1
    assert (second["scope"], third["scope"]) == (DRIVE, f"{CALENDAR} {DRIVE}")
    assert is_dead(app, third["refresh_token"])


def test_refused_refresh_replaces_nothing(app, other_app, alice):
    """A stranger, or a wanted for more, does not cost the token."""
    app.google.rotates_refresh_tokens = True
    token = app.link()["refresh_token"]

    stranger = other_app.refresh(token).json()["error"]
    more = app.refresh(token, scope=DRIVE).json()["error"]

    assert (stranger, more) == ("unauthorized_client", "invalid_scope")
    assert app.refresh(token).status_code == 200


@pytest.mark.matrix
@pytest.mark.parametrize("ends", [True, False])
def test_reuse_of_a_replaced_token(app, alice, ends):
    """The whole family may die of it; what came of another authorization lives on."""
    app.google.rotates_refresh_tokens, app.google.reuse_ends_family = True, ends
    other = app.link()["refresh_token"]
    first = app.link(prompt="consent")["refresh_token"]
    second = app.refresh(first).json()

    assert is_dead(app, first)

    assert app.call("/calendar", second["access_token"]).status_code == (401 if ends else 200)
    assert is_dead(app, second["refresh_token"]) is ends
    assert not is_dead(app, other)


def test_reuse_by_another_client_ends_nothing(app, other_app, alice):
    """Who knows no more than the old token cannot do harm with it."""
    app.google.rotates_refresh_tokens = app.google.reuse_ends_family = True
    first = app.link()["refresh_token"]
    second = app.refresh(first).json()["refresh_token"]

    assert is_dead(other_app, first)
    assert not is_dead(app, second)


@pytest.mark.matrix
@pytest.mark.parametrize("rotates", [True, False], ids=["rotated", "by a second consent"])
def test_revoking_a_replaced_refresh_token_ends_the_grant(app, alice, rotates):
    """As at Google: whoever tidies up the old token has killed the new one."""
    app.google.rotates_refresh_tokens = rotates
    old = app.link()["refresh_token"]
    new = app.refresh(old).json() if rotates else app.link(prompt="consent")

    response = app.revoke(old)

    assert response.status_code == 200
    assert app.google.granted_scopes(alice) is None
    assert is_dead(app, new["refresh_token"])
    assert app.call("/calendar", new["access_token"]).status_code == 401
    assert app.revoke(old).json()["error"] == "invalid_token"


def test_revocation_elsewhere_ends_one_authorization(app, alice):
    """Where each token is its own, a refresh token takes along what came of it, and no more."""
    app.google.revocation_ends_grant = False
    first, second = app.link(), app.link(prompt="consent")

    app.revoke(second["access_token"])
    of_others = app.call("/calendar", first["access_token"]).status_code
    its_refresh_token = app.refresh(second["refresh_token"]).status_code
    app.revoke(first["refresh_token"])

    assert (of_others, its_refresh_token) == (200, 200)
    assert is_dead(app, first["refresh_token"])
    assert app.call("/calendar", first["access_token"]).status_code == 401
    assert app.call("/calendar", second["access_token"]).status_code == 401
    assert not is_dead(app, second["refresh_token"])
    assert app.google.granted_scopes(alice) == {CALENDAR}


# A grant is the project's


def test_grant_counts_for_the_whole_project(app, sibling_app, alice):
    """What one client was granted is not asked again for another, which gets no refresh token."""
    app.link()

    response = sibling_app.open()
    tokens = sibling_app.exchange(response.headers["Location"]).json()

    assert response.status_code == 302
    assert tokens["scope"] == CALENDAR
    assert "refresh_token" not in tokens
    assert "refresh_token" in sibling_app.link(prompt="consent")
    assert app.google.granted_scopes(alice, sibling_app.client) == {CALENDAR}


def test_include_granted_scopes_of_the_project(app, sibling_app, other_app, alice):
    """Scopes that were granted to another client of the project come along; no other project's."""
    app.google.grant(alice, [DRIVE], client=sibling_app.client)
    app.google.grant(alice, [EMAIL], client=other_app.client)

    tokens = app.link(include_granted_scopes="true", prompt="consent")

    assert tokens["scope"] == f"{CALENDAR} {DRIVE}"
    assert app.refresh(tokens["refresh_token"]).json()["scope"] == f"{CALENDAR} {DRIVE}"


@pytest.mark.matrix
@pytest.mark.parametrize("by", ["refresh_token", "access_token"])
def test_revocation_ends_the_grant_of_the_project(app, sibling_app, other_app, alice, by):
    """For all its clients, codes on their way included; not for another project's, nor user's."""
    bob = app.google.add_user("bob@example.com")
    own, of_bob = app.google.grant(alice, [CALENDAR]), app.google.grant(bob, [CALENDAR])
    of_sibling = app.google.grant(alice, [DRIVE], client=sibling_app.client)
    of_other = app.google.grant(alice, [CALENDAR], client=other_app.client)
    locations = [
        each.google.consent(each.authorization_url(prompt="consent"), user=user)
        for each, user in [(sibling_app, alice), (other_app, alice), (sibling_app, bob)]
    ]

    app.revoke(getattr(own, by))

    assert is_dead(app, own.refresh_token)
    assert is_dead(sibling_app, of_sibling.refresh_token)
    assert app.call("/drive", of_sibling.access_token).status_code == 401
    assert app.google.granted_scopes(alice, sibling_app.client) is None
    assert not is_dead(app, of_bob.refresh_token)
    assert not is_dead(other_app, of_other.refresh_token)
    assert app.call("/calendar", of_other.access_token).status_code == 200
    statuses = [
        each.exchange(location).status_code
        for each, location in zip([sibling_app, other_app, sibling_app], locations, strict=True)
    ]
    assert statuses == [400, 200, 200]


def test_user_takes_back_the_grant_of_the_project(app, sibling_app, alice):
    """The page of Google's lists projects, not clients."""
    tokens = app.google.grant(alice, [CALENDAR])

    app.google.revoke(alice, sibling_app.client)

    assert is_dead(app, tokens.refresh_token)


def test_scopes_that_are_cut_are_cut_for_the_project(app, sibling_app, alice):
    """Tokens of the other clients keep what is left, and get nothing new."""
    tokens = app.google.grant(alice, [CALENDAR, DRIVE], client=sibling_app.client)

    app.google.set_scopes(alice, [DRIVE, EMAIL])

    assert app.google.granted_scopes(alice, sibling_app.client) == {DRIVE, EMAIL}
    assert sibling_app.refresh(tokens.refresh_token).json()["scope"] == DRIVE


# Refresh tokens that die by themselves


def test_number_of_refresh_tokens(app, sibling_app, alice):
    """It may be set lower than Google's; each client of the project has its own."""
    app.google.max_refresh_tokens = 2
    of_sibling = app.google.grant(alice, [CALENDAR], client=sibling_app.client).refresh_token
    tokens = [app.link(prompt="consent")["refresh_token"] for _ in range(3)]

    assert [is_dead(app, token) for token in tokens] == [True, False, False]
    assert not is_dead(sibling_app, of_sibling)


def test_dead_refresh_tokens_are_not_counted(app, alice, clock):
    """One that has expired takes no place from those that live."""
    app.google.now, app.google.max_refresh_tokens = clock, 2
    first = app.google.grant(alice, [CALENDAR]).refresh_token
    app.google.refresh_token_lifetime = 10
    app.google.grant(alice, [CALENDAR])

    clock.time += 10
    app.google.grant(alice, [CALENDAR])

    assert not is_dead(app, first)


def test_idle_refresh_token(app, alice, clock):
    """Half a year without use ends it; each use begins the half year anew."""
    app.google.now = clock
    used = app.google.grant(alice, [CALENDAR])
    idle = app.google.grant(alice, [CALENDAR])
    half_a_year = app.google.refresh_token_max_idle

    clock.time += half_a_year - 1
    app.refresh(used.refresh_token)
    clock.time += 1

    assert is_dead(app, idle.refresh_token)
    assert not is_dead(app, used.refresh_token)


# Definite refusals


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("error", "subtype", "status"),
    [
        ("access_denied", None, 400),
        ("access_denied", None, 403),
        ("invalid_grant", "invalid_rapt", 400),
        ("invalid_client", None, 401),
        ("unauthorized_client", None, 401),
        ("deleted_client", None, 401),
        ("admin_policy_enforced", None, 400),
        ("made_up_by_a_provider", None, 400),
    ],
)
def test_refusal_of_a_refresh(app, alice, error, subtype, status):
    """Any code under any status, once, and the token is as good as before."""
    app.google.rotates_refresh_tokens = True
    token = app.link()["refresh_token"]
    app.google.error_next(error, subtype=subtype, status=status)

    response = app.refresh(token)

    expected = {"error": error} | ({"error_subtype": subtype} if subtype else {})
    assert (response.status_code, response.json()) == (status, expected)
    assert app.refresh(token).status_code == 200


def test_behaviour_is_settable_while_it_runs(app, alice):
    """Attributes are read at each request."""
    token = app.link()["refresh_token"]
    first = app.refresh(token).json()
    app.google.rotates_refresh_tokens, app.google.refresh_sends_scope = True, False

    second = app.refresh(token).json()

    assert set(second) - set(first) == {"refresh_token"}
    assert set(first) - set(second) == {"scope"}
