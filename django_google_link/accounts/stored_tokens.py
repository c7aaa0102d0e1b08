"""Access tokens as they are stored, and when another is due. Nothing here asks anybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from ..conf.settings import conf
from ..exceptions import TokenUndecryptableError
from ..models import GoogleAccount
from ..secret import Secret

_LEEWAY_SHARE, _SPREAD_SHARE = 2, 10  # of a token's lifetime: a half, a tenth
_SPREAD_STEPS = 1009


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """An access token, and when it expires (aware; ``None``: nobody said).

    Attributes:
        lifetime: from when it came to when it expires, if both are known.
        is_new: whether it has just come from Google, at this call.
        problem: why no other has, where one was due: it serves as long as it lives.
    """

    value: Secret
    expires_at: datetime | None
    lifetime: timedelta | None = None
    is_new: bool = False
    problem: Exception | None = None


def stored_access_token(account: GoogleAccount, *, leeway: timedelta) -> AccessToken | None:
    """Return the access token in this row, if it is of use. Never asks the database or Google.

    Args:
        leeway: the life that it must have left.

    Raises:
        EncryptionKeyUnavailableError: when its key is not configured.
    """
    if not account.has_unexpired_access_token(leeway=leeway):
        return None
    try:
        token = cast("Secret", account.unseal_token("access_token"))
    except TokenUndecryptableError:
        return None  # The refresh token can still give another one.
    return AccessToken(
        value=token,
        expires_at=account.access_token_expires_at,
        lifetime=account.access_token_lifetime,
    )


def refresh_leeway() -> timedelta:
    """Return the life below which an access token is refreshed first, as the settings say."""
    return timedelta(seconds=conf.refresh_leeway)


def bound_leeway(leeway: timedelta, lifetime: timedelta | None) -> timedelta:
    """Return the leeway for a token: half of its lifetime at most, or it would never be fresh.

    Args:
        leeway: as it is for a token that lives long enough.
        lifetime: of the token, if that is known.
    """
    return leeway if lifetime is None else min(leeway, lifetime / _LEEWAY_SHARE)


def choose_leeway(account: GoogleAccount) -> timedelta:
    """Return the life below which the access token of this account is refreshed first.

    It is ``REFRESH_LEEWAY`` and up to a tenth of the token's lifetime more, always the same for an
    account: tokens that came at the same moment, after an outage, do not end at the same moment
    for ever.
    """
    lifetime = account.access_token_lifetime
    if lifetime is None:
        return refresh_leeway()
    spread = lifetime / _SPREAD_SHARE * (account.pk.int % _SPREAD_STEPS / _SPREAD_STEPS)
    return bound_leeway(refresh_leeway() + spread, lifetime)
