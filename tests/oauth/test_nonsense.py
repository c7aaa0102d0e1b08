"""Providers that answer with any JSON in any field: the user sees a page, and nothing is stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.exceptions import GoogleLinkError
from django_google_link.models import GoogleAccount, PendingRevocation, SpentState
from django_google_link.oauth.published import forget_published
from django_google_link.oauth.transport import fetch
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked
from tests.support.urls import local, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

DEEP: Any = None
for _ in range(200):
    DEEP = [DEEP]

#: What has broken something somewhere.
ODDITIES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    10**400,
    -(10**400),
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    "\ud800",
    "x\ud800",
    "\x00",
    "x\x00y",
    "\r\nX: y",
    "é",
    "\u202e",
    "x" * 100_000,
    "9" * 5_000,
    [],
    {},
    [[]],
    {"": None},
    ["x", 1, None],
    [1],
    {"kid": "x"},
    DEEP,
]
anything = st.sampled_from(ODDITIES) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)

TOKEN_FIELDS = [
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "refresh_token_expires_in",
    "scope",
    "id_token",
    "error",
    "error_description",
]
CLAIMS = [
    "iss",
    "aud",
    "azp",
    "sub",
    "iat",
    "exp",
    "nbf",
    "nonce",
    "hd",
    "email",
    "email_verified",
    "name",
    "picture",
    "at_hash",
    "jti",
]
HEADER = ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "zip", "enc", "cty"]
KEY = ["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "d", "k", "key_ops", "x5c"]


def fields(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return one to three of these fields, with anything in them."""
    return st.dictionaries(st.sampled_from(names), anything, min_size=1, max_size=3)


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Log all that can be logged."""
    caplog.set_level(logging.DEBUG, logger="django_google_link")


@pytest.fixture
def patient(google: FakeGoogle) -> Iterator[FakeGoogle]:
    """A Google whose keys are fetched for each answer."""
    forget_published()
    google.certs_max_age = 0
    yield google
    forget_published()


def start(google: FakeGoogle, alice: FakeUser, browser: Client) -> str:
    """Go to Google and consent, and return where the browser is sent back to."""
    for model in (GoogleAccount, PendingRevocation, SpentState):
        model._base_manager.all()._raw_delete("default")
    return local(google.consent(browser.get("/google/authorize/")["Location"], user=alice))


def check_answer(google: FakeGoogle, alice: FakeUser, browser: Client, back: str, log: Any) -> None:
    """Bring back the answer, and see what comes of it."""
    log.clear()
    before = len(google.requests_to("token"))

    response = browser.get(back)

    assert response.status_code in {302, 400, 403, 503}, response.content.decode()
    for row in GoogleAccount.objects.all():
        assert row.sub == alice.sub
        assert row.email in {alice.email, ""} or "@" in row.email
        assert row.unseal_token("refresh_token")
    code = query_of(back)["code"]
    shown = log.text + response.content.decode()
    for request in google.requests_to("token")[before:]:
        assert request.form.get("code_verifier", code) not in shown
    assert code not in shown
    assert "ya29." not in shown and "1//" not in shown


@settings(max_examples=60)
@given(changes=fields(TOKEN_FIELDS))
@example(changes={"scope": "\ud800"})
@example(changes={"refresh_token": "x\ud800"})
@example(changes={"expires_in": 10**400})
def test_token_answer_may_hold_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
) -> None:
    """At the callback."""
    back = start(patient, alice, browser)
    patient.tamper_next_response(fields=changes)

    check_answer(patient, alice, browser, back, caplog)


@settings(max_examples=80)
@given(claims=fields(CLAIMS), header=st.just({}) | fields(HEADER))
@example(claims={"exp": 10**400}, header={})
@example(claims={"exp": [1]}, header={})
@example(claims={"nonce": "\ud800"}, header={})
@example(claims={"sub": "\ud800"}, header={})
@example(claims={"email_verified": 1}, header={})
@example(claims={"name": "x\x00" * 50_000}, header={})
@example(claims={}, header={"kid": ["x"]})
@example(claims={}, header={"alg": ["RS256"]})
def test_id_token_may_hold_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    header: dict[str, Any],
) -> None:
    """Though it is signed by the provider."""
    back = start(patient, alice, browser)
    patient.tamper_next_id_token(claims=claims, header=header)

    check_answer(patient, alice, browser, back, caplog)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xfe", b"[" * 50_000, b"{}", b"[]", b'"x"', b"1" * 9_000]
)
def test_id_token_may_be_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    payload: bytes,
) -> None:
    """What is signed need not be an object."""
    back = start(patient, alice, browser)
    patient.tamper_next_id_token(payload=payload)

    check_answer(patient, alice, browser, back, caplog)
    assert not GoogleAccount.objects.exists()


@settings(max_examples=60)
@given(key=fields(KEY), beside=st.booleans())
@example(key={"kid": []}, beside=True)
@example(key={"n": 5}, beside=True)
@example(key={"kty": "oct", "k": "eA", "alg": "HS256"}, beside=True)
def test_key_set_may_hold_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    key: dict[str, Any],
    beside: bool,
) -> None:
    """A key of it, or one more beside the right one."""
    back = start(patient, alice, browser)
    forget_published()
    patient.certs_max_age = 3600
    published = fetch(f"{patient.url}/oauth2/v3/certs").document["keys"]
    changed = {**published[0], **key}
    keys = [*published, changed] if beside else [changed]
    patient.tamper_next_response("certs", fields={"keys": keys})

    check_answer(patient, alice, browser, back, caplog)
    # What was fetched is looked at again for the next one.
    check_answer(patient, alice, browser, start(patient, alice, browser), caplog)


@settings(max_examples=40)
@given(document=st.dictionaries(st.sampled_from(["keys", "x"]), anything, max_size=2) | anything)
def test_key_set_may_be_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    document: Any,
) -> None:
    """It need not be a key set."""
    back = start(patient, alice, browser)
    patient.fail_next(endpoint="certs", status=200, body=document)

    check_answer(patient, alice, browser, back, caplog)
    assert not GoogleAccount.objects.exists()


ERROR_FIELDS = ["error", "error_description", "error_subtype", "error_uri", "status"]


@settings(max_examples=60)
@given(
    error=fields(ERROR_FIELDS) | anything,
    status=st.sampled_from([200, 400, 401, 403, 404, 408, 429, 500, 503]),
)
@example(error={"error": {"status": "\ud800", "message": []}}, status=400)
@example(error={"error": "invalid_grant", "error_subtype": ["invalid_rapt"]}, status=400)
def test_errors_may_be_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    error: Any,
    status: int,
) -> None:
    """At the callback, and at a refresh."""
    back = start(patient, alice, browser)
    patient.fail_next(status=status, body=error)
    check_answer(patient, alice, browser, back, caplog)
    assert not GoogleAccount.objects.exists()

    check_refresh(patient, alice, caplog, lambda: patient.fail_next(status=status, body=error))


@settings(max_examples=60)
@given(changes=fields(TOKEN_FIELDS))
@example(changes={"scope": ["x"]})
@example(changes={"id_token": "x.y.z"})
def test_answer_to_a_refresh_may_hold_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
) -> None:
    """The row stays one that works, or says that it does not."""
    check_refresh(patient, alice, caplog, lambda: patient.tamper_next_response(fields=changes))


@settings(max_examples=60)
@given(claims=fields(CLAIMS), header=st.just({}) | fields(HEADER))
@example(claims={"sub": "another"}, header={})
@example(claims={"email": "x\ud800@example.com"}, header={})
def test_id_token_of_a_refresh_may_hold_anything(
    patient: FakeGoogle,
    alice: FakeUser,
    browser: Client,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    header: dict[str, Any],
) -> None:
    """The token that came with it is good all the same."""
    row = check_refresh(
        patient,
        alice,
        caplog,
        lambda: patient.tamper_next_id_token(claims=claims, header=header),
    )

    assert row.is_active


def check_refresh(google: FakeGoogle, alice: FakeUser, log: Any, tamper: Any) -> GoogleAccount:
    """Refresh with what is tampered with, see what comes of it, and return the row."""
    for model in (GoogleAccount, PendingRevocation):
        model._base_manager.all()._raw_delete("default")
    owner = get_user_model().objects.get(username="anna")
    account = linked(owner, google, alice, access_token_expires_at=None, access_token="")
    log.clear()
    tamper()
    shown = ""
    try:
        fresh_access_token(account, rejected=Secret("ya29.rejected"))
    except GoogleLinkError as error:
        shown = f"{error!r} {error} {error.args} {vars(error)}"
    shown += log.text
    assert "ya29." not in shown and "1//" not in shown
    row: GoogleAccount = GoogleAccount.objects.get()
    assert row.sub == alice.sub
    assert row.unseal_token("refresh_token")
    json.dumps([row.granted_scopes, row.refresh_token_scopes])
    return row
