"""Whom an ID token names, and which ones name nobody (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    HostedDomainError,
    IDTokenError,
    RefreshUnavailableError,
)
from django_google_link.oauth.id_token import Identity, verify_id_token
from django_google_link.oauth.published import find_signing_key
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle
from django_google_link.testing.clock import travel

NONCE = "nonce"


@pytest.fixture(scope="module")
def key() -> RSAKey:
    """The issuer's signing key."""
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


@pytest.fixture
def certs(google: FakeGoogle) -> Callable[..., None]:
    """Let the issuer publish these keys, this often."""

    def certs(*keys: Any, count: int = 1, cache_control: str = "max-age=3600") -> None:
        published = KeySet(list(keys)).as_dict(private=False) if keys else {"keys": []}
        google.fail_next(
            count,
            endpoint="certs",
            status=200,
            body=dict(published),
            headers={"Cache-Control": cache_control},
        )

    return certs


@pytest.fixture
def verify(google: FakeGoogle, key: RSAKey, certs: Callable[..., None]) -> Callable[..., Identity]:
    """Sign these claims over good ones, and verify."""
    certs(key)

    def verify(signing_key: Any = key, header: Any = None, **changes: Any) -> Identity:
        header = header or {"alg": "RS256", "kid": "one"}
        token = jwt.encode(header, claims(google, **changes), signing_key)
        return verify_id_token(get_client(), Secret(token), nonce=NONCE)

    return verify


def claims(google: FakeGoogle, **changes: Any) -> dict[str, Any]:
    """Return good claims with these changes; ``None`` leaves a claim out."""
    now = int(time.time())
    good = {
        "iss": google.url,
        "aud": google.client.client_id,
        "sub": "42",
        "iat": now,
        "exp": now + 3600,
        "nonce": NONCE,
        "email": "alice@gmail.com",
        "email_verified": True,
        "name": "Alice",
        "picture": "https://lh3.googleusercontent.com/a/x",
        "hd": "example.com",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_good_token_names_the_account(verify: Callable[..., Identity]) -> None:
    """All that is kept of it."""
    assert verify() == Identity(
        sub="42",
        email="alice@gmail.com",
        email_verified=True,
        name="Alice",
        picture="https://lh3.googleusercontent.com/a/x",
        hosted_domain="example.com",
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": ["x"]},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"aud": 5},
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": None},
        {"iat": 10**11},
        {"nbf": 10**11},
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": ["nonce"]},
        {"sub": None},
        {"sub": ""},
        {"sub": "4" * 256},
        {"sub": "4\n2"},
        {"sub": 42},
    ],
)
def test_bad_claim_is_refused(verify: Callable[..., Identity], changes: dict[str, Any]) -> None:
    """ASVS 10.5.1 to 10.5.4: missing, wrong, or of another kind."""
    with pytest.raises(IDTokenError):
        verify(**changes)


@pytest.mark.matrix
@pytest.mark.parametrize(("late", "accepted"), [(5, True), (50, True), (90, False)])
def test_clocks_may_differ_by_a_minute(
    verify: Callable[..., Identity], late: int, accepted: bool
) -> None:
    """A token that has just expired, or was issued a little ahead."""
    now = int(time.time())

    for changes in ({"exp": now - late}, {"iat": now + late}):
        if accepted:
            assert verify(**changes).sub == "42"
        else:
            with pytest.raises(IDTokenError):
                verify(**changes)


def test_audience_may_be_a_list_for_us(google: FakeGoogle, verify: Callable[..., Identity]) -> None:
    """Several audiences: only where we are the authorized party."""
    ours = google.client.client_id

    with pytest.raises(IDTokenError):
        verify(aud=[ours, "another"], azp="another")

    assert verify(aud=[ours, "another"], azp=ours).sub == "42"


def test_signature_of_another_key_is_refused(verify: Callable[..., Identity]) -> None:
    """The same key id is not the same key."""
    with pytest.raises(IDTokenError):
        verify(RSAKey.generate_key(2048))


def test_algorithm_is_never_the_tokens_choice(
    google: FakeGoogle, certs: Callable[..., None], key: RSAKey
) -> None:
    """HS256 with the public key as the secret: the classic. And none at all."""
    certs(key)
    for algorithm, secret in (("HS256", key.as_pem(private=False)), ("none", b"")):
        header = {"alg": algorithm, "kid": "one"}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims(google)))
        digest = hmac.new(secret, signed.encode(), "sha256").digest() if secret else b""

        with pytest.raises(IDTokenError):
            verify_id_token(get_client(), Secret(f"{signed}.{encoded(digest)}"), nonce=NONCE)


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.matrix
@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "e30.e30.", "\x00"])
def test_malformed_token_is_refused(
    google: FakeGoogle, certs: Callable[..., None], key: RSAKey, token: str
) -> None:
    """Segments, base64, JSON."""
    certs(key)

    with pytest.raises(IDTokenError):
        verify_id_token(get_client(), Secret(token), nonce=NONCE)


def test_token_without_a_key_id_is_verified_by_the_only_key(
    verify: Callable[..., Identity], key: RSAKey
) -> None:
    """The key id is optional (RFC 7515 section 4.1.4)."""
    assert verify(key, {"alg": "RS256"}).sub == "42"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"email": None}, "email", ""),
        ({"email": "not an address"}, "email", ""),
        ({"email": ["x"]}, "email", ""),
        ({"email": "a" * 300 + "@gmail.com"}, "email", ""),
        ({"email": "not an address"}, "email_verified", False),
        ({"email_verified": "true"}, "email_verified", True),
        ({"email_verified": False}, "email_verified", False),
        ({"email_verified": "yes"}, "email_verified", False),
        ({"name": "A\x00l\nice"}, "name", "Alice"),
        ({"name": "x" * 5000}, "name", "x" * 200),
        ({"name": {"x": 1}}, "name", ""),
        ({"picture": "javascript:alert(1)"}, "picture", ""),
        ({"picture": "http://a.example/x"}, "picture", ""),
        ({"picture": "https://" + "x" * 2000}, "picture", ""),
        ({"hd": None}, "hosted_domain", ""),
    ],
)
def test_odd_claims_are_left_out(
    verify: Callable[..., Identity], changes: dict[str, Any], field: str, expected: Any
) -> None:
    """What is only for display never stands in the way, nor reaches a page as it is."""
    assert getattr(verify(**changes), field) == expected


@pytest.mark.matrix
@pytest.mark.parametrize("hd", ["evil.example", None, "EXAMPLE.COM"])
def test_hosted_domain_must_match(
    verify: Callable[..., Identity], configure: Callable[..., None], hd: str | None
) -> None:
    """Only accounts of the organization."""
    configure(HOSTED_DOMAIN="example.com")

    with pytest.raises(HostedDomainError, match=r"example\.com"):
        verify(hd=hd)

    assert verify(hd="example.com").hosted_domain == "example.com"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("domains", "accepted", "refused"),
    [
        (["Example.com", "example.org"], ["example.com", "example.org"], ["a.example.com", "*"]),
        ("*", ["example.com", "example.org"], []),
    ],
)
@pytest.mark.parametrize("nothing", [None, "", 5, True, ["example.com"], {"example.com": 1}])
def test_hosted_domain_is_one_of_several(
    verify: Callable[..., Identity],
    configure: Callable[..., None],
    domains: Any,
    accepted: list[str],
    refused: list[str],
    nothing: Any,
) -> None:
    """Of a list, or any; a private account is of none."""
    configure(HOSTED_DOMAIN=domains)

    for hd in accepted:
        assert verify(hd=hd).hosted_domain == hd
    for hd in [*refused, nothing]:
        with pytest.raises(HostedDomainError, match=r"a Google Workspace|example\.com or example"):
            verify(hd=hd)


# The issuer's keys


def test_keys_are_cached_as_their_headers_say(
    google: FakeGoogle, verify: Callable[..., Identity]
) -> None:
    """Fetched once, not once per token."""
    for _ in range(3):
        verify()

    assert len(google.requests_to("certs")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("cache_control", ["max-age=0", "no-store, max-age=0"])
def test_keys_that_must_not_be_cached_are_fetched_again(
    google: FakeGoogle, certs: Callable[..., None], key: RSAKey, cache_control: str
) -> None:
    """No longer than allowed."""
    certs(key, count=2, cache_control=cache_control)
    token = Secret(jwt.encode({"alg": "RS256", "kid": "one"}, claims(google), key))

    for _ in range(2):
        verify_id_token(get_client(), token, nonce=NONCE)

    assert len(google.requests_to("certs")) == 2


def test_keys_without_headers_are_kept_for_a_while(
    google: FakeGoogle, certs: Callable[..., None], key: RSAKey
) -> None:
    """Some minutes, where the issuer does not say."""
    certs(key, cache_control="public")
    token = Secret(jwt.encode({"alg": "RS256", "kid": "one"}, claims(google), key))

    for _ in range(2):
        verify_id_token(get_client(), token, nonce=NONCE)

    assert len(google.requests_to("certs")) == 1


def test_new_key_is_fetched_when_a_token_names_it(
    google: FakeGoogle,
    verify: Callable[..., Identity],
    certs: Callable[..., None],
    key: RSAKey,
) -> None:
    """A rotated key works before the cache runs out."""
    verify()
    new = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})
    certs(key, new)

    with travel(minutes=2):
        assert verify(new, {"alg": "RS256", "kid": "two"}).sub == "42"


def test_new_key_is_fetched_though_the_clock_was_put_back(
    verify: Callable[..., Identity], certs: Callable[..., None], key: RSAKey
) -> None:
    """The last time would be a moment ago for an hour."""
    verify()
    certs(key, RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"}))

    with travel(hours=-1):
        assert find_signing_key(str(get_client().jwks_uri), "two")


def test_made_up_key_ids_do_not_hammer_the_issuer(
    google: FakeGoogle, verify: Callable[..., Identity], key: RSAKey
) -> None:
    """Once a minute at the most."""
    for number in range(5):
        with pytest.raises(IDTokenError, match="does not publish"):
            verify(key, {"alg": "RS256", "kid": f"made up {number}"})

    assert len(google.requests_to("certs")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 404, "body": {"keys": []}},
        {"status": 200, "body": "<html>"},
        {"status": 200, "body": {}},
        {"status": 200, "body": {"keys": "x"}},
        {"status": 200, "body": {"keys": [5]}},
        {"drop": True},
    ],
)
def test_keys_that_cannot_be_had_are_an_error_of_their_own(
    google: FakeGoogle, key: RSAKey, fault: dict[str, Any]
) -> None:
    """It is not the user's token that is bad."""
    google.fail_next(endpoint="certs", **fault)
    token = Secret(jwt.encode({"alg": "RS256", "kid": "one"}, claims(google), key))

    with pytest.raises(RefreshUnavailableError):
        verify_id_token(get_client(), token, nonce=NONCE)


@pytest.mark.matrix
@pytest.mark.parametrize("value", [1, 1.0, "True", [True], {"": 1}])
def test_address_is_verified_only_where_it_says_so(
    verify: Callable[..., Identity], value: Any
) -> None:
    """True, or the text that some providers write."""
    assert not verify(email_verified=value).email_verified
    assert verify(email_verified="true").email_verified


@pytest.mark.matrix
@pytest.mark.parametrize("exp", [10**400, -(10**400), 1e300])
def test_times_beyond_any_clock(verify: Callable[..., Identity], exp: Any) -> None:
    """An integer may be larger than any float."""
    with pytest.raises(IDTokenError, match="times are not numbers"):
        verify(exp=exp)


@pytest.mark.matrix
@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256", "HS256"])
def test_algorithms_are_a_list_of_ours(
    google: FakeGoogle, certs: Callable[..., None], alg: str
) -> None:
    """Though the issuer publishes a key for it: RFC 8725 section 3.1."""
    if alg == "HS256":
        key: Any = OctKey.generate_key(256, {"kid": "one", "alg": alg}, private=True)
        published = key.as_dict(private=True)
        body = {"keys": [published]}
        google.fail_next(endpoint="certs", status=200, body=body)
    else:
        key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": alg})
        certs(key)
    token = jwt.encode({"alg": alg, "kid": "one"}, claims(google), key, algorithms=[alg])

    with pytest.raises(IDTokenError, match="not accepted"):
        verify_id_token(get_client(), Secret(token), nonce=NONCE)


def test_key_set_with_a_strange_key_is_kept(
    google: FakeGoogle, key: RSAKey, certs: Callable[..., None]
) -> None:
    """A key id that is no text names no key, and does no harm to the others."""
    odd = {**key.as_dict(private=False), "kid": ["one"]}
    body = {"keys": [odd, key.as_dict(private=False)]}
    headers = {"Cache-Control": "max-age=3600"}
    google.fail_next(endpoint="certs", status=200, body=body, headers=headers)

    for _ in range(2):
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims(google), key)
        assert verify_id_token(get_client(), Secret(token), nonce=NONCE).sub == "42"
    assert len(google.requests_to("certs")) == 1


def test_token_nested_too_deeply_is_malformed(
    google: FakeGoogle, key: RSAKey, certs: Callable[..., None]
) -> None:
    """Signed by the issuer, and nothing that can be read."""
    import jwt as pyjwt

    certs(key)
    payload = b'{"sub": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    token = pyjwt.PyJWS().encode(payload, key.private_key, "RS256", {"kid": "one"})

    with pytest.raises(IDTokenError, match="not valid"):
        verify_id_token(get_client(), Secret(token), nonce=NONCE)


def test_provider_without_keys_cannot_be_believed(google: FakeGoogle) -> None:
    """Where nobody says by which keys it signs."""
    client = replace(get_client(), jwks_uri=None)

    with pytest.raises(IDTokenError, match="JWKS_URI"):
        verify_id_token(client, Secret("a.b.c"), nonce=NONCE)
