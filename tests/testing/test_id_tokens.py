"""ID tokens, the keys that sign them, and what may be wrong with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from tests.testing.app import CALENDAR

SCOPE = f"openid email profile {CALENDAR}"


def published_keys(app):
    """Return the key set that the fake publishes now."""
    return KeySet.import_key_set(app.http.get(f"{app.google.url}/oauth2/v3/certs").json())


def verified(app, id_token, algorithm="RS256"):
    """Return the token, its signature verified with the published keys."""
    return jwt.decode(id_token, published_keys(app), algorithms=[algorithm])


def unverified(id_token):
    """Return header, claims and signature of a token, as they stand."""
    header, claims, signature = id_token.split(".")
    return json.loads(decoded(header)), json.loads(decoded(claims)), decoded(signature)


def decoded(part):
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_claims(google, app, clock):
    """The claims are those of Google's ID tokens."""
    google.now = clock
    user = google.add_user(
        "bob@corp.example",
        sub="112233",
        name="Bob",
        picture="https://example.com/bob.png",
        hosted_domain="corp.example",
        email_verified=False,
    )

    tokens = app.link(scope=SCOPE, nonce="a nonce")

    digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    token = verified(app, tokens["id_token"])
    assert token.header["alg"] == "RS256"
    assert token.claims == {
        "iss": google.url,
        "aud": google.client.client_id,
        "azp": google.client.client_id,
        "sub": user.sub,
        "email": "bob@corp.example",
        "email_verified": False,
        "name": "Bob",
        "picture": "https://example.com/bob.png",
        "hd": "corp.example",
        "nonce": "a nonce",
        "iat": clock.time,
        "exp": clock.time + 3600,
        "at_hash": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }


def test_claims_follow_the_scopes(app, alice):
    """Without email, profile and nonce nothing is told of them."""
    tokens = app.link(scope="openid")

    claims = verified(app, tokens["id_token"]).claims
    assert set(claims) == {"iss", "aud", "azp", "sub", "iat", "exp", "at_hash"}


def test_claims_of_refresh(app, alice):
    """A refresh renews the ID token, without the nonce."""
    tokens = app.link(scope=SCOPE, nonce="a nonce")

    refreshed = app.refresh(tokens["refresh_token"]).json()

    claims = verified(app, refreshed["id_token"]).claims
    assert claims["sub"] == alice.sub
    assert "nonce" not in claims


def test_no_id_token_without_openid(app, alice):
    """Who does not ask for openid gets no ID token."""
    tokens = app.link(scope=f"email {CALENDAR}")

    assert "id_token" not in tokens


def test_sub_is_a_long_number(app, alice):
    """A made-up sub has Google's form: more digits than any integer column holds."""
    assert len(alice.sub) == 21
    assert alice.sub.isdecimal()


def test_rotated_key(app, alice):
    """After a rotation the new key signs, and the old one is still published."""
    old = app.link(scope=SCOPE)["id_token"]

    app.google.rotate_signing_key()
    new = app.link(scope=SCOPE)["id_token"]

    assert unverified(old)[0]["kid"] != unverified(new)[0]["kid"]
    assert verified(app, old).claims["sub"] == verified(app, new).claims["sub"] == alice.sub


def test_withdrawn_key(app, alice):
    """A key that was withdrawn is published no more."""
    old = app.link(scope=SCOPE)["id_token"]

    app.google.rotate_signing_key(drop_old=True)

    assert [key.kid for key in published_keys(app)] != [unverified(old)[0]["kid"]]
    assert len(published_keys(app).keys) == 1


def test_certs(app):
    """The published keys are public, named, and may be cached for as long as we say."""
    before = app.http.get(f"{app.google.url}/oauth2/v3/certs")
    app.google.certs_max_age = 42
    after = app.http.get(f"{app.google.url}/oauth2/v3/certs")

    (key,) = after.json()["keys"]
    assert set(key) == {"kty", "alg", "use", "kid", "n", "e"}
    assert before.headers["Cache-Control"].startswith("public, max-age=3600,")
    assert after.headers["Cache-Control"].startswith("public, max-age=42,")


def test_tampered_claims(app, alice):
    """Claims can be set and left out, under a signature that is right; once."""
    app.google.tamper_next_id_token(claims={"iss": "evil", "exp": 1}, remove=["nonce"])

    first = verified(app, app.link(scope=SCOPE, nonce="n")["id_token"]).claims
    second = verified(app, app.link(scope=SCOPE, nonce="n")["id_token"]).claims

    assert (first["iss"], first["exp"], first["sub"]) == ("evil", 1, alice.sub)
    assert "nonce" not in first
    assert (second["iss"], second["nonce"]) == (app.google.url, "n")


def test_foreign_key(app, alice):
    """A foreign signature goes under the name of the published key, and does not verify."""
    genuine = app.link(scope=SCOPE)["id_token"]
    app.google.tamper_next_id_token(foreign_key=True)

    forged = app.link(scope=SCOPE)["id_token"]

    assert unverified(forged)[0] == unverified(genuine)[0]
    with pytest.raises(BadSignatureError):
        verified(app, forged)


def test_alg_none(app, alice):
    """A token without signature has an empty one."""
    app.google.tamper_next_id_token(alg="none")

    header, claims, signature = unverified(app.link(scope=SCOPE)["id_token"])

    assert (header["alg"], claims["sub"], signature) == ("none", alice.sub, b"")


def test_alg_hs256(app, alice):
    """The published key, taken for a shared secret, is what an HS256 token is signed with."""
    app.google.tamper_next_id_token(alg="HS256")

    id_token = app.link(scope=SCOPE)["id_token"]

    (key,) = published_keys(app).keys
    signed = id_token.rpartition(".")[0].encode()
    header, claims, signature = unverified(id_token)
    assert (header["alg"], header["kid"], claims["sub"]) == ("HS256", key.kid, alice.sub)
    assert signature == hmac.digest(key.as_pem(private=False), signed, "sha256")


def test_other_rsa_algorithm(app, alice):
    """A good signature by another algorithm than the announced one."""
    app.google.tamper_next_id_token(alg="PS256")

    header, _, signature = unverified(app.link(scope=SCOPE)["id_token"])

    assert (header["alg"], len(signature)) == ("PS256", 256)


def test_unknown_algorithm(google):
    """An algorithm that the fake does not know is refused when the test asks for it."""
    with pytest.raises(ValueError, match="Unknown algorithm 'ES256'"):
        google.tamper_next_id_token(alg="ES256")


@pytest.mark.matrix
@pytest.mark.parametrize("value", [None, True, 7, -1.5, 10**400, "", "\ud800", [], {"a": [{}]}])
@pytest.mark.parametrize("claim", ["iss", "aud", "azp", "sub", "exp", "iat", "email", "nonce"])
def test_claim_of_any_type(app, alice, claim, value):
    """Any claim has any JSON value, under a signature that is right."""
    app.google.tamper_next_id_token(claims={claim: value})

    id_token = app.link(scope=SCOPE, nonce="n")["id_token"]

    claims = verified(app, id_token).claims
    assert claims[claim] == value
    assert type(claims[claim]) is type(value)


@pytest.mark.matrix
@pytest.mark.parametrize("payload", [None, True, 7, "text", [], ["x"], {}, b"\xff{", b""])
def test_payload_of_any_type(app, alice, payload):
    """Any JSON document, and any bytes, under a signature that is right; once."""
    app.google.tamper_next_id_token(payload=payload)

    id_token = app.link(scope=SCOPE)["id_token"]

    encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert decoded(id_token.split(".")[1]) == encoded
    assert jws.deserialize_compact(id_token, published_keys(app)).payload == encoded
    assert verified(app, app.link(scope=SCOPE)["id_token"]).claims["sub"] == alice.sub


@pytest.mark.matrix
@pytest.mark.parametrize("value", [None, 7, "x", [], {}])
@pytest.mark.parametrize("parameter", ["alg", "kid", "typ", "crit"])
def test_header_of_any_type(app, alice, parameter, value):
    """Any parameter of the header has any JSON value, under a signature that is right."""
    app.google.tamper_next_id_token(header={parameter: value})

    id_token = app.link(scope=SCOPE)["id_token"]

    header, claims, signature = unverified(id_token)
    assert (header[parameter], claims["sub"]) == (value, alice.sub)
    (key,) = published_keys(app).keys
    signed = id_token.rpartition(".")[0].encode()
    assert JWSRegistry(algorithms=["RS256"]).get_alg("RS256").verify(signed, signature, key)


def test_header_without_a_parameter(app, alice):
    """A parameter may be missing."""
    app.google.tamper_next_id_token(remove_header=["kid", "typ"])

    assert unverified(app.link(scope=SCOPE)["id_token"])[0] == {"alg": "RS256"}


@pytest.mark.parametrize("raw", ["garbage", ""])
def test_raw(app, alice, raw):
    """Anything can stand in place of the token."""
    app.google.tamper_next_id_token(raw=raw)

    assert app.link(scope=SCOPE)["id_token"] == raw


def test_tamperings_queue(app, alice):
    """Each call tampers with one token, in order; tokens without openid use up none."""
    app.google.tamper_next_id_token(raw="first")
    app.google.tamper_next_id_token(raw="second")

    app.link()

    assert app.link(scope=SCOPE)["id_token"] == "first"
    assert app.link(scope=SCOPE)["id_token"] == "second"
