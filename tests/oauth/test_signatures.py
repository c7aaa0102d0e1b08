"""How other providers than Google may sign ID tokens, and how nobody may."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pytest_django import Settings

from django_google_link.conf.clients import OAuthClient, get_client
from django_google_link.exceptions import IDTokenError
from django_google_link.oauth.id_token import verify_id_token
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle
from tests.support.providers import play_provider

# RFC 9864 has new names for what providers call so.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

NONCE = "nonce"
ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


@pytest.fixture(scope="module")
def rsa() -> RSAKey:
    """A key for RSA."""
    return RSAKey.generate_key(2048, auto_kid=True)


@pytest.fixture
def office(google: FakeGoogle, settings: Settings) -> OAuthClient:
    """A client of another provider."""
    play_provider(google, settings)
    return get_client()


@pytest.fixture
def make_key(rsa: RSAKey) -> Callable[[str], Any]:
    """Make a key for an algorithm."""

    def make_key(algorithm: str) -> Any:
        if algorithm in CURVES:
            return ECKey.generate_key(CURVES[algorithm], auto_kid=True)
        return OKPKey.generate_key("Ed25519", auto_kid=True) if algorithm == "EdDSA" else rsa

    return make_key


@pytest.fixture
def publish(google: FakeGoogle) -> Callable[..., None]:
    """Let the issuer publish these keys."""

    def publish(*keys: Any) -> None:
        google.fail_next(endpoint="certs", status=200, body={"keys": list(keys)})

    return publish


def public(key: Any, **parameters: Any) -> dict[str, Any]:
    """Return a key as it is published."""
    return {**key.as_dict(private=False), "use": "sig", **parameters}


def sign(google: FakeGoogle, key: Any, algorithm: str, **changes: Any) -> Secret:
    """Return a good ID token, with these changes."""
    now = int(time.time())
    claims = {
        "iss": google.url,
        "aud": google.client.client_id,
        "sub": "42",
        "iat": now,
        "exp": now + 60,
        "nonce": NONCE,
        **changes,
    }
    header = {"alg": algorithm, "kid": key.kid}
    return Secret(jwt.encode(header, claims, key, algorithms=[algorithm]))


@pytest.mark.matrix
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_issuer_may_sign_in_any_of_these_ways(
    google: FakeGoogle,
    office: OAuthClient,
    make_key: Callable[[str], Any],
    publish: Callable[..., None],
    algorithm: str,
) -> None:
    """Its keys may say for what they are, or not."""
    key = make_key(algorithm)
    publish(public(key))

    token = sign(google, key, algorithm)

    assert verify_id_token(office, token, nonce=NONCE).sub == "42"


@pytest.mark.matrix
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_issuer_does_not_name_is_refused(
    google: FakeGoogle,
    office: OAuthClient,
    make_key: Callable[[str], Any],
    publish: Callable[..., None],
    algorithm: str,
) -> None:
    """Its metadata says what it signs with."""
    key = make_key(algorithm)
    publish(public(key))
    others = [name for name in ALGORITHMS if name != algorithm]
    token = sign(google, key, algorithm)

    with pytest.raises(IDTokenError, match="not accepted"):
        verify_id_token(replace(office, signing_algorithms=(*others, "HS256")), token, nonce=NONCE)

    named = replace(office, signing_algorithms=("none", algorithm))
    assert verify_id_token(named, token, nonce=NONCE).sub == "42"


@pytest.mark.matrix
@pytest.mark.parametrize("named", [None, ("HS256", "none"), ("HS256", "none", "RS256")])
def test_shared_secrets_are_never_taken(
    google: FakeGoogle,
    office: OAuthClient,
    publish: Callable[..., None],
    named: tuple[str, ...] | None,
) -> None:
    """Whatever the issuer publishes and names (RFC 8725 section 3.1)."""
    key = OctKey.generate_key(256, auto_kid=True)
    publish({**key.as_dict(private=True), "alg": "HS256"})

    with pytest.raises(IDTokenError, match="not accepted"):
        verify_id_token(
            replace(office, signing_algorithms=named), sign(google, key, "HS256"), nonce=NONCE
        )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "parameters", [{"use": "enc"}, {"alg": "PS256"}, {"kty": "EC"}, {"kty": "oct"}, {"kid": "two"}]
)
def test_key_that_is_for_something_else_does_not_verify(
    google: FakeGoogle,
    office: OAuthClient,
    rsa: RSAKey,
    publish: Callable[..., None],
    parameters: dict[str, Any],
) -> None:
    """By its use, its algorithm or its kind."""
    publish(public(rsa, **parameters))

    with pytest.raises(IDTokenError, match="does not publish"):
        verify_id_token(office, sign(google, rsa, "RS256"), nonce=NONCE)


@pytest.mark.matrix
@pytest.mark.parametrize("broken", [{"n": "x"}, {"n": 5}, {"n": None}, {"e": ""}])
def test_key_that_is_none_is_no_outage(
    google: FakeGoogle,
    office: OAuthClient,
    rsa: RSAKey,
    publish: Callable[..., None],
    broken: dict[str, Any],
) -> None:
    """The provider was reached, and has published nonsense."""
    publish(public(rsa, **broken))

    with pytest.raises(IDTokenError, match="does not publish"):
        verify_id_token(office, sign(google, rsa, "RS256"), nonce=NONCE)


def test_keys_of_unknown_kinds_are_passed_over(
    google: FakeGoogle, office: OAuthClient, rsa: RSAKey, publish: Callable[..., None]
) -> None:
    """A new kind beside the one that signs stops nobody."""
    publish(
        {"kty": "AKP", "alg": "ML-DSA-44", "kid": "new", "pub": "x"},
        "a text",
        {"kty": "OKP", "crv": "X25519", "x": "x"},
        {},
        public(rsa),
    )

    assert verify_id_token(office, sign(google, rsa, "RS256"), nonce=NONCE).sub == "42"


def test_only_unknown_kinds_are_no_outage(
    google: FakeGoogle, office: OAuthClient, rsa: RSAKey, publish: Callable[..., None]
) -> None:
    """The provider can be reached."""
    publish({"kty": "AKP", "alg": "ML-DSA-44", "kid": rsa.kid, "pub": "x"})

    with pytest.raises(IDTokenError, match="does not publish"):
        verify_id_token(office, sign(google, rsa, "RS256"), nonce=NONCE)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("audience", "party", "is_ours"),
    [
        (["US"], None, True),
        (["US", "US"], None, True),
        ("US", "US", True),
        (["US"], "US", True),
        (["US", "another"], "US", True),
        (["US", "another"], None, False),
        (["US", "another"], "another", False),
        (["US"], "another", False),
        ("US", "another", False),
        ("US", ["US"], False),
        (["another"], "US", False),
        (["US", 5], "US", False),
        ([["US"]], "US", False),
        ([], "US", False),
        ({"US": 1}, "US", False),
    ],
)
def test_token_is_for_us_alone_or_issued_to_us(
    google: FakeGoogle,
    office: OAuthClient,
    rsa: RSAKey,
    publish: Callable[..., None],
    audience: Any,
    party: Any,
    is_ours: bool,
) -> None:
    """OpenID Connect Core section 3.1.3.7, points 3 to 5."""
    publish(public(rsa))
    changes = {"aud": named(audience, google.client.client_id)}
    if party is not None:
        changes["azp"] = named(party, google.client.client_id)
    token = sign(google, rsa, "RS256", **changes)

    if is_ours:
        assert verify_id_token(office, token, nonce=NONCE).sub == "42"
        return
    with pytest.raises(IDTokenError):
        verify_id_token(office, token, nonce=NONCE)


def named(value: Any, client_id: str) -> Any:
    """Put our client id in."""
    if isinstance(value, list):
        return [named(item, client_id) for item in value]
    return client_id if value == "US" else value


def test_googles_may_name_the_client_of_an_app(
    google: FakeGoogle, rsa: RSAKey, publish: Callable[..., None]
) -> None:
    """Of the same project: the audience is ours."""
    publish(public(rsa))
    token = sign(google, rsa, "RS256", azp="an app of the same project")

    assert verify_id_token(get_client(), token, nonce=NONCE).sub == "42"
