"""Every behaviour of Google that its documentation leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product

from django_google_link.testing import FakeGoogle, travel

#: The behaviours of a second authorization and of a refresh.
SWITCHES = (
    "always_sends_refresh_token",
    "prompt_consent_sends_refresh_token",
    "new_scopes_send_refresh_token",
    "old_refresh_tokens_grow",
    "refresh_sends_scope",
)

EVERY_GOOGLE = list(product([True, False], repeat=len(SWITCHES)))

#: Every pair of switches in all four combinations.
SOME_GOOGLES = [
    (False, True, False, False, True),
    (False, False, False, True, True),
    (False, False, True, False, False),
    (True, True, True, True, False),
    (True, False, False, True, False),
    (False, True, True, True, True),
    (True, False, True, False, True),
    (False, False, False, False, False),
    (True, True, False, False, False),
]


def behave(google: FakeGoogle, switches: tuple[bool, ...]) -> None:
    """Have a fake behave in this way."""
    for name, value in zip(SWITCHES, switches, strict=True):
        setattr(google, name, value)


def keeps_later_scopes(switches: tuple[bool, ...]) -> bool:
    """Return whether a token that is known to cover a later scope can be obtained at all."""
    always, prompt, new_scopes, grows, tells = switches
    return always or prompt or new_scopes or (grows and tells)


def describe_google(switches: tuple[bool, ...]) -> str:
    """Return a name for a test."""
    return "+".join(name for name, value in zip(SWITCHES, switches, strict=True) if value) or "none"


def live_through(hours: int) -> Iterator[int]:
    """Let hours pass, in each of which an access token expires."""
    with ExitStack() as passed:
        for hour in range(1, hours + 1):
            passed.enter_context(travel(hours=1, minutes=1))
            yield hour
