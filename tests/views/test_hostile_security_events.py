"""What anybody may send to the address of security events: no error of ours, and nothing stored.

CI sends some hundred bodies, always the same; ``make long`` sends ten thousand and more.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from django_google_link.models import GoogleAccount, GrantCheck, SecurityEvent, Status
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver"), pytest.mark.slow]

#: ``make long`` sends all of them.
WHOLE = os.environ.get("LONG") == "whole"
BODIES = 12_000 if WHOLE else 600

TYPE = "application/secevent+jwt"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CODES = {
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
}

DEEP: Any = None
for _ in range(300):
    DEEP = [DEEP]

#: None of these is a text.
NO_TEXTS: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    {"": None},
    ["x", 1, None],
    {"sub": "x"},
    DEEP,
]
STRANGE_TEXTS = ["", "\x00", "x\x00y", "\ud800", "\r\nX: y", "é", "\u202e", "x" * 3000]
NO_TIMES = [*STRANGE_TEXTS, None, True, [], {}, -1, -1e9, 10**400, 1e12, float("nan"), DEEP]
NO_OBJECTS = [*STRANGE_TEXTS, *(value for value in NO_TEXTS if not isinstance(value, dict))]

EVENTS = ["account-disabled", "account-enabled", "sessions-revoked", "tokens-revoked"]

Body = str | bytes


class Attacker:
    """Makes bodies that no receiver may accept.

    Args:
        google: whose signature may be right, as that of a transmitter that has been taken over.
        alice: who is linked here.
        refresh_token: that is stored here.
        chance: what comes next.
    """

    def __init__(
        self, google: FakeGoogle, alice: FakeUser, refresh_token: str, chance: random.Random
    ) -> None:
        self._google, self._alice, self._chance = google, alice, chance
        self._refresh_token = refresh_token
        self._valid = self._sign()
        self.kinds: list[Callable[[], Body]] = [
            self.noise,
            self.no_utf_8,
            self.megabyte,
            self.dots,
            self.cut,
            self.flipped,
            self.swapped,
            self.unsigned,
            self.forged,
            self.other_header,
            self.other_claim,
            self.other_payload,
            self.other_subject,
            self.other_token,
            self.other_type,
        ]

    def _sign(self, **options: Any) -> str:
        return self._google.security_event_token(
            self._chance.choice(EVENTS), user=self._alice, **options
        )

    def noise(self) -> Body:
        """Any bytes."""
        return self._chance.randbytes(self._chance.randrange(400))

    def no_utf_8(self) -> Body:
        """A token with bytes that are no text."""
        place = self._chance.randrange(len(self._valid))
        return self._valid[:place].encode() + b"\xff\xfe" + self._valid[place:].encode()

    def megabyte(self) -> Body:
        """More than anybody sends."""
        return self._chance.choice([b"x", b".", b"[", b"\x00"]) * (
            1_000_000 if self._chance.random() < 0.1 else 70_000
        )

    def dots(self) -> Body:
        """Parts of anything."""
        parts = ["", "e30", "bnVsbA", "W10", "eyJhbGciOiJSUzI1NiJ9", "====", "é", "%00", "a b"]
        return ".".join(self._chance.choices(parts, k=self._chance.randrange(1, 6)))

    def cut(self) -> Body:
        """A token that breaks off."""
        return self._valid[: self._chance.randrange(len(self._valid) - 3)]

    def flipped(self) -> Body:
        """A token with another character in it: but the last, whose bits are not all used."""
        place = self._chance.randrange(len(self._valid) - 2)
        others = [one for one in BASE64 if one != self._valid[place]]
        other = self._chance.choice([*others, ".", "é", "\x00"])
        return self._valid[:place] + other + self._valid[place + 1 :]

    def swapped(self) -> Body:
        """The claims of one token with the signature of another."""
        one, other = self._sign().split("."), self._sign().split(".")
        return ".".join([*one[:2], other[2]])

    def unsigned(self) -> Body:
        """Without a signature, or with what everybody knows for a key."""
        return self._sign(alg=self._chance.choice(["none", "HS256"]))

    def forged(self) -> Body:
        """Signed by somebody else."""
        return self._sign(foreign_key=True)

    def other_header(self) -> Body:
        """With anything in its header."""
        name = self._chance.choice(["alg", "kid", "typ"])
        values = [*NO_TEXTS, *STRANGE_TEXTS, "none", "HS256", "ES256", "at+jwt"]
        if name == "typ":
            values.remove(None)
        return self._sign(header={name: self._chance.choice(values)})

    def other_claim(self) -> Body:
        """With anything in a claim, or without it."""
        name = self._chance.choice(["iss", "aud", "jti", "iat", "events"])
        if self._chance.random() < 0.1:
            return self._sign(remove=[name])
        values = {
            "iss": [*NO_TEXTS, *STRANGE_TEXTS, "https://accounts.google.com", self._google.url],
            "aud": [*NO_TEXTS, *STRANGE_TEXTS, "another", ["another"]],
            "jti": [*NO_TEXTS, ""],
            "iat": [*NO_TIMES, time.time() + 3600],
            "events": [*NO_OBJECTS, {}, {"x": 7}, {"x": {}, "y": [DEEP]}],
        }[name]
        return self._sign(claims={name: self._chance.choice(values)})

    def other_payload(self) -> Body:
        """With something else than claims, which is signed."""
        digits = self._chance.randrange(4_000, 20_000)
        depth = self._chance.randrange(500, 20_000)
        payloads: list[Any] = [
            b"",
            b"\xff",
            b"{",
            b"[" * depth,
            b'{"a":' * (depth // 5),
            b'{"iat": ' + b"9" * digits + b"}",
            json.dumps({"iss": "x" * 20_000}).encode(),
            *NO_TEXTS,
        ]
        return self._sign(payload=self._chance.choice(payloads))

    def other_subject(self) -> Body:
        """With anything for whom it is about."""
        if self._chance.random() < 0.3:
            return self._sign(details={"subject": self._chance.choice(NO_OBJECTS)})
        values = {
            "sub": [*(value for value in NO_TEXTS if value is not None), *STRANGE_TEXTS],
            "iss": [*(value for value in NO_TEXTS if value is not None), "https://evil.example/"],
            "subject_type": [value for value in NO_TEXTS if value is not None],
        }
        name = self._chance.choice(list(values))
        subject = {"subject_type": "iss-sub", "sub": self._alice.sub}
        return self._sign(details={"subject": {**subject, name: self._chance.choice(values[name])}})

    def other_token(self) -> Body:
        """With anything for the token that it is about."""
        name = self._chance.choice(["token", "token_type", "token_identifier_alg"])
        value = self._chance.choice([value for value in NO_TEXTS if value is not None])
        return self._google.security_event_token(
            "token-revoked",
            events={
                "https://schemas.openid.net/secevent/oauth/event-type/token-revoked": {
                    "subject": {
                        "subject_type": "oauth_token",
                        "token_type": "refresh_token",
                        "token_identifier_alg": "prefix",
                        "token": self._refresh_token[:16],
                        name: value,
                    }
                }
            },
        )

    def other_type(self) -> Body:
        """With a member of another type."""
        value = self._chance.choice([value for value in NO_TEXTS if value is not None])
        return self._sign(details={"reason": value})


def test_hostile_bodies(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is refused with a code of RFC 8935, and nobody's link is any other than before."""
    for logger in ("django_google_link", "django.request"):
        caplog.set_level(logging.CRITICAL, logger=logger)
    account = linked(user, google, alice)
    tokens = [account.unseal_token("refresh_token")]
    assert tokens[0]
    attacker = Attacker(google, alice, tokens[0].reveal(), random.Random(8935))
    browser = Client(raise_request_exception=False)
    path = reverse("google_link:security-events")
    before = list(GoogleAccount.objects.values())
    codes: Counter[str] = Counter()

    for number in range(BODIES):
        make = attacker.kinds[number % len(attacker.kinds)]
        body = make()
        answer = browser.post(
            path,
            data=body if isinstance(body, bytes) else body.encode(errors="surrogatepass"),
            content_type=TYPE,
        )
        assert answer.status_code == 400, (make.__name__, body[:2000], answer.content)
        codes[json.loads(answer.content)["err"]] += 1

    assert set(codes) == CODES
    assert not SecurityEvent.objects.exists()
    assert not GrantCheck.objects.exists()
    assert list(GoogleAccount.objects.values()) == before
    print(f"\n{BODIES:,} hostile bodies: {dict(sorted(codes.items()))}")


def test_replayed_bodies(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """What was accepted is accepted again, and has no second effect."""
    account = linked(user, google, alice)
    GoogleAccount.objects.update(granted_at="2020-01-01T00:00:00Z", refreshed_at=None)
    token = google.security_event_token("account-disabled", user=alice)
    browser = Client()
    assert google.push_security_event(browser, token).status_code == 202
    GoogleAccount.objects.update(status=Status.ACTIVE, status_reason="")

    for _ in range(BODIES // 100):
        assert google.push_security_event(browser, token).status_code == 202

    assert SecurityEvent.objects.count() == 1
    assert GoogleAccount.objects.get(pk=account.pk).status == Status.ACTIVE


def test_hostile_bodies_while_google_is_away(google: FakeGoogle, alice: FakeUser) -> None:
    """Then it is we who cannot tell: Google may deliver again."""
    browser = Client(raise_request_exception=False)
    with google.failing(endpoint="risc_configuration", status=503):
        for _ in range(BODIES // 20):
            token = google.security_event_token("account-disabled", user=alice, foreign_key=True)
            assert google.push_security_event(browser, token).status_code == 503

    assert len(google.requests_to("risc_configuration")) < 10
    assert not SecurityEvent.objects.exists()
