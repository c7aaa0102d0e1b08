"""Creates linked accounts for tests, without the linking flow."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from ..conf import clock
from ..conf.clients import OAuthClient, get_client
from ..models import GoogleAccount, Status
from ..scopes import IDENTITY_SCOPES, parse_scopes
from ..secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AbstractBaseUser

    from .fake import FakeGoogle

_IN_AN_HOUR = object()


def make_google_account(
    user: AbstractBaseUser,
    *,
    scopes: str | Iterable[str] = (),
    email: str = "user@gmail.com",
    name: str = "",
    picture: str = "",
    hosted_domain: str = "",
    sub: str = "",
    refresh_token: str = "1//refresh-token",
    access_token: str = "ya29.access-token",
    access_token_expires_at: Any = _IN_AN_HOUR,
    client: str = "default",
    status: str = Status.ACTIVE,
    status_reason: str = "",
    is_chosen_default: bool = False,
) -> GoogleAccount:
    """Create a linked account, as if this user had gone through the flow.

    Args:
        user: a saved user.
        scopes: the granted scopes, in addition to the client's identity scopes.
        email: the e-mail address of the Google account.
        name: the name of its owner.
        picture: the https URL of the profile picture.
        hosted_domain: the Google Workspace domain.
        sub: the subject; random by default.
        refresh_token: stored encrypted. None is stored if it is empty, or if the provider issues
            none.
        access_token: stored encrypted. None is stored if it is empty.
        access_token_expires_at: a datetime, or ``None`` if unknown; by default in an hour.
        client: the name of the OAuth client.
        status: ``"active"`` or ``"needs_reauthorization"``.
        status_reason: the reason, such as ``"revoked"``.
        is_chosen_default: whether to make it the default; a user's first account always is.
    """
    others = GoogleAccount.objects.for_user(user, client=client)
    known = _find_client(client)
    lasts = known is None or known.gives_refresh_tokens
    refresh_token = refresh_token if lasts else ""
    identity_scopes = known.identity_scopes if known else IDENTITY_SCOPES
    granted = sorted(parse_scopes((*identity_scopes, *parse_scopes(scopes))))
    account = GoogleAccount(
        user_id=user.pk,
        client=client,
        issuer=known.issuer if known else "",
        client_id=known.client_id if known else "",
        sub=sub or str(secrets.randbelow(10**21)),
        email=email,
        email_verified=True,
        name=name,
        picture=picture,
        hosted_domain=hosted_domain,
        is_default=not others.exists(),
        granted_scopes=granted,
        refresh_token_scopes=granted if refresh_token else [],
        without_refresh_token=not lasts,
        linked_at=clock.now(),
        last_used_at=clock.now(),  # Otherwise the first request of a test would update it.
        granted_at=clock.now(),
        status=status,
        status_reason=status_reason,
        access_token_expires_at=_resolve_expiry(access_token_expires_at) if access_token else None,
    )
    if refresh_token:
        account.seal_token("refresh_token", Secret(refresh_token))
    if access_token:
        account.seal_token("access_token", Secret(access_token))
    account.save(force_insert=True)
    if is_chosen_default:
        account.make_default()
    return account


def link_google_account(
    google: FakeGoogle,
    user: AbstractBaseUser,
    *,
    scopes: str | Iterable[str] | None = None,
    email: str = "",
    client: str = "default",
    **values: Any,
) -> GoogleAccount:
    """Link a user to an account at a fake Google, which accepts the stored tokens.

    Args:
        google: the fake Google, to which ``GOOGLE_LINK`` leads.
        user: a saved user.
        scopes: the granted scopes, in addition to the client's identity scopes; by default the
            client's ``SCOPES``.
        email: the e-mail address of the account, which is added if it does not exist.
        client: the name of the OAuth client.
        values: other arguments of :func:`make_google_account`.
    """
    oauth_client = get_client(client)
    scopes = oauth_client.scopes if scopes is None else parse_scopes(scopes)
    holder = google.user_with(email or f"user-{user.pk}@gmail.com")
    tokens = google.grant(
        holder,
        (*oauth_client.identity_scopes, *scopes),
        client=google.client_with(oauth_client.client_id),
    )
    known = {
        "email": holder.email,
        "name": holder.name,
        "picture": holder.picture,
        "hosted_domain": holder.hosted_domain or "",
        "refresh_token": tokens.refresh_token,
        "access_token": tokens.access_token,
    }
    return make_google_account(
        user,
        scopes=scopes,
        sub=holder.sub,
        client=client,
        **{**known, **values},
    )


def _find_client(name: str) -> OAuthClient | None:
    """Return a client if it is configured: tests that only show accounts need none."""
    with suppress(ImproperlyConfigured):
        return get_client(name)
    return None


def _resolve_expiry(value: Any) -> datetime | None:
    if value is _IN_AN_HOUR:
        return clock.now() + timedelta(hours=1)
    expiry: datetime | None = value
    return expiry
