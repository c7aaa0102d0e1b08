"""Providers that are not Google, as the kit plays them: strictly."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from django_google_link.conf.clients import get_client
from django_google_link.testing import FakeClient, FakeGoogle, FakeGoogleError, running_google
from tests.support.constants import CALLBACK

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.fixture
def other(google: FakeGoogle) -> FakeClient:
    """A client of a provider that speaks OAuth 2.0 and nothing else."""
    client = google.add_client(redirect_uris=[CALLBACK])
    client.is_googles = client.speaks_openid = False
    return client


def address(google: FakeGoogle, client: FakeClient, **params: str) -> str:
    """Return the address of an authorization request."""
    asked = {
        "client_id": client.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "read write",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **params,
    }
    url = requests.Request("GET", f"{google.url}/o/oauth2/v2/auth", params=asked).prepare().url
    assert url
    return url


def exchange(
    google: FakeGoogle, client: FakeClient, *, basic: bool = False, body: bool = True, **params: str
) -> Any:
    """Let Alice consent, and exchange the code."""
    location = google.consent(
        address(google, client, **params), user=google.user_with("alice@example.com")
    )
    code = location.split("code=")[1].split("&")[0].replace("%2F", "/")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    pair = (client.client_id, client.client_secret)
    if body:
        form |= {"client_id": pair[0], "client_secret": pair[1]}
    return requests.post(f"{google.url}/token", data=form, auth=pair if basic else None, timeout=5)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "params",
    [
        {"access_type": "offline"},
        {"include_granted_scopes": "true"},
        {"hd": "example.com"},
        {"nonce": "x"},
        {"prompt": "consent"},
        {"login_hint": "alice"},
        {"scope": "openid"},
        {"scope": "read,write"},
    ],
)
def test_what_it_does_not_know_is_refused(
    google: FakeGoogle, other: FakeClient, params: dict[str, str]
) -> None:
    """By a page that says what."""
    with pytest.raises(FakeGoogleError, match=r"invalid_(request|scope)"):
        google.consent(address(google, other, **params))


@pytest.mark.matrix
@pytest.mark.parametrize(
    "params", [{"access_type": "offline"}, {"hd": "*"}, {"prompt": "select_account consent"}]
)
def test_openid_provider_knows_nothing_of_google(
    google: FakeGoogle, other: FakeClient, params: dict[str, str]
) -> None:
    """But what OpenID has, it takes."""
    other.speaks_openid = True
    with pytest.raises(FakeGoogleError, match="Unknown parameter"):
        google.consent(address(google, other, **params))

    answer = exchange(google, other, scope="openid read", nonce="x", prompt="consent").json()

    assert answer["id_token"]
    assert answer["refresh_token"]


def test_answers_have_no_id_token(google: FakeGoogle, other: FakeClient) -> None:
    """And scopes as they were asked for."""
    answer = exchange(google, other).json()

    assert "id_token" not in answer
    assert answer["scope"] == "read write"
    assert answer["refresh_token"]

    again = exchange(google, other).json()
    assert again["refresh_token"] != answer["refresh_token"]


def test_scopes_may_be_separated_by_commas(google: FakeGoogle, other: FakeClient) -> None:
    """Then spaces separate nothing."""
    other.scope_separator = ","
    assert exchange(google, other, scope="read,write").json()["scope"] == "read,write"

    with pytest.raises(FakeGoogleError, match="invalid_scope"):
        google.consent(address(google, other, scope="read write"))


def test_there_may_be_no_refresh_tokens(google: FakeGoogle, other: FakeClient) -> None:
    """However it is asked."""
    other.gives_refresh_tokens = False

    assert "refresh_token" not in exchange(google, other).json()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("authentication", "basic", "body", "status"),
    [
        ("any", True, False, 200),
        ("any", False, True, 200),
        ("any", True, True, 200),
        ("client_secret_basic", True, False, 200),
        ("client_secret_basic", False, True, 401),
        ("client_secret_basic", True, True, 401),
        ("client_secret_post", False, True, 200),
        ("client_secret_post", True, False, 401),
        ("client_secret_post", True, True, 401),
    ],
)
def test_secret_is_shown_in_one_way(
    google: FakeGoogle,
    other: FakeClient,
    authentication: Any,
    basic: bool,
    body: bool,
    status: int,
) -> None:
    """RFC 6749 section 2.3: no more than one in a request."""
    other.authentication = authentication

    assert exchange(google, other, basic=basic, body=body).status_code == status


def test_revocation_asks_who_it_is(google: FakeGoogle, other: FakeClient) -> None:
    """Google does not; and nobody ends another client's tokens."""
    alice = google.user_with("alice@example.com")
    tokens = google.grant(alice, ["read"], client=other)
    form = {"token": tokens.refresh_token}
    own = {"client_id": other.client_id, "client_secret": other.client_secret}
    strangers = {
        "client_id": google.client.client_id,
        "client_secret": google.client.client_secret,
    }

    def revoke(**more: str) -> int:
        return requests.post(f"{google.url}/revoke", data={**form, **more}, timeout=5).status_code

    assert revoke() == 400
    assert revoke(**own | {"client_secret": "wrong"}) == 401
    assert revoke(**strangers) == 400
    assert revoke(**own) == 200


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("member", "expected"),
    [("sub", {"sub": "7"}), ("id", {"id": "7"}), ("data.user.id", {"data": {"user": {"id": "7"}}})],
)
def test_userinfo_has_the_subject_anywhere(
    google: FakeGoogle, other: FakeClient, member: str, expected: dict[str, Any]
) -> None:
    """Any token of a client that knows no OpenID may ask."""
    other.subject_member = member
    alice = google.add_user("alice@example.com", sub="7")
    token = google.grant(alice, ["read"], client=other).access_token

    answer = requests.get(
        f"{google.url}/v1/userinfo", headers={"Authorization": f"Bearer {token}"}, timeout=5
    ).json()

    assert answer == {"email": "alice@example.com", "name": "", "picture": "", **expected}


@pytest.mark.matrix
@pytest.mark.parametrize("published", ["openid", "oauth", ""])
def test_metadata_is_one_or_the_other(google: FakeGoogle, published: Any) -> None:
    """Or none."""
    google.metadata = published

    def status(name: str) -> int:
        return requests.get(f"{google.url}/.well-known/{name}", timeout=5).status_code

    assert status("openid-configuration") == (200 if published == "openid" else 404)
    assert status("oauth-authorization-server") == (200 if published == "oauth" else 404)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["userinfo", "none"])
def test_settings_of_a_project_say_how_it_is(settings: Any, kind: str) -> None:
    """The fake serves its clients as the providers that they are of."""
    own = {"USERINFO_ENDPOINT": "https://x.example/me", "SUBJECT_MEMBER": "data.id"}
    settings.GOOGLE_LINK = {
        "CLIENTS": {
            "default": {"CLIENT_ID": "id", "CLIENT_SECRET": "s"},
            "video": {
                "CLIENT_ID": "id",
                "CLIENT_SECRET": "s",
                "ISSUER": "https://x.example",
                "IDENTITY": kind,
                "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic",
                "SCOPE_SEPARATOR": ",",
                "REFRESH_TOKENS": False,
                "DISPLAY_NAME": "Video",
                **(own if kind == "userinfo" else {}),
            },
        }
    }

    with running_google() as google:
        video = get_client("video")
        assert get_client().is_google

        assert video.identity == kind
        assert video.token_endpoint == f"{google.url}/token"
        assert video.userinfo_endpoint == (
            f"{google.url}/v1/userinfo" if kind == "userinfo" else None
        )
        assert video.subject_member == ("data.id" if kind == "userinfo" else "sub")
        assert video.authenticates_by_header
        assert video.scope_separator == ","
        assert not video.gives_refresh_tokens
        assert (video.display_name, video.is_google) == ("Video", False)
        fake = google.client_with(video.client_id)
        assert (fake.authentication, fake.scope_separator) == ("client_secret_basic", ",")
        assert not fake.speaks_google
