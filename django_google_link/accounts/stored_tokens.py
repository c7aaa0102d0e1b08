"""Stored access tokens, and when they are due for a refresh; without requests or queries."""

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
    """An access token and when it expires (aware; ``None`` if unknown).

    Attributes:
        value: the token.
        expires_at: when it expires.
        lifetime: the time between issue and expiry, if both are known.
        is_new: whether Google issued it during this call.
        problem: why it was not refreshed although that was due; it is usable until it expires.
    """

    value: Secret
    expires_at: datetime | None
    lifetime: timedelta | None = None
    is_new: bool = False
    problem: Exception | None = None


def stored_access_token(account: GoogleAccount, *, leeway: timedelta) -> AccessToken | None:
    """Return the access token stored in this row, if it is usable; makes no request or query.

    Args:
        account: the account, as read.
        leeway: the lifetime that must be left.

    Raises:
        EncryptionKeyUnavailableError: when its key is not configured.
    """
    if not account.has_unexpired_access_token(leeway=leeway):
        return None
    try:
        token = cast("Secret", account.unseal_token("access_token"))
    except TokenUndecryptableError:
        return None  # The refresh token may still work.
    return AccessToken(
        value=token,
        expires_at=account.access_token_expires_at,
        lifetime=account.access_token_lifetime,
    )


def refresh_leeway() -> timedelta:
    """Return ``REFRESH_LEEWAY``: access tokens with less lifetime left are refreshed before use."""
    return timedelta(seconds=conf.refresh_leeway)


def bound_leeway(leeway: timedelta, lifetime: timedelta | None) -> timedelta:
    """Return the leeway for a token: at most half its lifetime, or it would never count as fresh.

    Args:
        leeway: the leeway for tokens with a long lifetime.
        lifetime: the lifetime of the token, if known.
    """
    return leeway if lifetime is None else min(leeway, lifetime / _LEEWAY_SHARE)


def choose_leeway(account: GoogleAccount) -> timedelta:
    """Return the leeway for the access token of this account.

    It is ``REFRESH_LEEWAY`` plus up to a tenth of the token's lifetime, constant per account, so
    that tokens issued at the same moment, such as after an outage, are not always refreshed at the
    same moment.
    """
    lifetime = account.access_token_lifetime
    if lifetime is None:
        return refresh_leeway()
    spread = lifetime / _SPREAD_SHARE * (account.pk.int % _SPREAD_STEPS / _SPREAD_STEPS)
    return bound_leeway(refresh_leeway() + spread, lifetime)
