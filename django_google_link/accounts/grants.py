"""What a user has granted: saved, renewed, lost, and given back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, connections, router, transaction
from django.db.models import F, Q
from django.dispatch import Signal
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..exceptions import ClientMisconfiguredError
from ..models import GoogleAccount, GoogleAccountQuerySet, Reason, Status
from ..scopes import parse_scopes
from ..signals import send_on_commit
from . import lease, revocations
from .database import database_now

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.http import HttpRequest

    from ..conf.clients import OAuthClient
    from ..oauth.endpoints import TokenResponse
    from ..oauth.id_token import Identity

logger = logging.getLogger("django_google_link")

_IDENTITY_FIELDS = ("email", "email_verified", "name", "picture", "hosted_domain")
_ANSWER_FIELDS = (
    "sealed_refresh_token",
    "refresh_token_expires_at",
    "sealed_access_token",
    "access_token_expires_at",
    "granted_scopes",
    "refreshed_at",
    "status",
    "status_reason",
    "status_changed_at",
)

# How often MySQL may end one of two transactions that wait for each other, and its word for it.
_DEADLOCKS, _DEADLOCK = 5, 1213

_News = list[tuple[Signal, dict[str, Any]]]


@sensitive_variables()
def save_grant(
    user: AbstractBaseUser | AnonymousUser,
    client: OAuthClient,
    identity: Identity,
    response: TokenResponse,
    *,
    requested_scopes: Iterable[str],
    request: HttpRequest | None = None,
    seen: int | None = None,
) -> GoogleAccount:
    """Store what the user has just granted, in one transaction.

    The granted scopes replace the stored ones. An answer without a refresh token keeps the stored
    one, which belongs to the same ``sub``.

    Args:
        requested_scopes: what was granted where the answer does not say (RFC 6749 section 5.1).
        request: handed on to the receivers of ``account_linked``.
        seen: the ``grant_version`` of the row as it was looked at, 0 where there was none: what was
            granted since is kept.
    """
    using = router.db_for_write(GoogleAccount)
    scopes = response.scopes or parse_scopes(requested_scopes)
    save = partial(
        _save, user, client, identity, response, scopes, request=request, seen=seen, using=using
    )
    if not connections[using].in_atomic_block:
        for _ in range(_DEADLOCKS):
            try:
                return save()
            except OperationalError as error:
                if error.args[:1] != (_DEADLOCK,):
                    raise
    return save()


@sensitive_variables()
def _save(
    user: AbstractBaseUser | AnonymousUser,
    client: OAuthClient,
    identity: Identity,
    response: TokenResponse,
    scopes: Iterable[str],
    *,
    request: HttpRequest | None,
    seen: int | None,
    using: str,
) -> GoogleAccount:
    key: dict[str, Any] = {"user_id": user.pk, "client": client.name, "sub": identity.sub}
    rows = GoogleAccount.objects.using(using).filter(**key)
    renewed = {"grant_version": F("grant_version") + 1, **lease.AT_REST}
    with transaction.atomic(using=using):
        # A write comes first: it locks the row, and SQLite cannot turn a reader into a writer.
        revocations.discard(client, identity.sub, using=using)
        created = False
        if not rows.update(**renewed):
            _, created = rows.get_or_create(**key, defaults={"linked_at": clock.now()})
            rows.update(**renewed)
        account = rows.get()
        if seen is not None and not created and account.grant_version > seen + 1:
            return account
        if account.client_id != client.client_id:
            _leave_to(client, account, response, using=using)
        news = _apply(account, response, scopes=scopes)
        account.email, account.email_verified = identity.email, identity.email_verified
        account.name, account.picture = identity.name, identity.picture
        account.hosted_domain = identity.hosted_domain
        fields = [*_ANSWER_FIELDS, *_IDENTITY_FIELDS, "client_id"]
        account.save(using=using, update_fields=fields)
        _become_default_if_only(account)
        linked = (signals.account_linked, {"created": created, "request": request})
        _send(account, [linked, *news], using=using)
    return account


def _leave_to(
    client: OAuthClient, account: GoogleAccount, response: TokenResponse, *, using: str
) -> None:
    """Let go of what another client was given: it is of no use to this one."""
    if account.sealed_refresh_token and not response.refresh_token:
        raise ClientMisconfiguredError(
            "client_id_changed", f"linked through {account.client_id}, and given nothing new"
        )
    revocations.enqueue(account, using=using, attempts_now=True)
    account.client_id = client.client_id
    account.sealed_refresh_token = account.sealed_access_token = ""


@sensitive_variables()
def save_refresh(
    row: GoogleAccount, response: TokenResponse, *, guard: GoogleAccountQuerySet, forced: bool
) -> bool:
    """Store the answer to a refresh, unless the grant was renewed or the row deleted since.

    Args:
        row: as it was read before the attempt.
        guard: the row, as long as it is ours to write; see ``lease.rows_still_ours``.
        forced: whether the stored token looked fresh.

    Returns:
        Whether it was stored.
    """
    news = _apply(row, response, scopes=response.scopes or tuple(row.granted_scopes))
    values = {name: getattr(row, name) for name in _ANSWER_FIELDS}
    if not response.refresh_token:
        # The stored one may have been sealed anew since it was read.
        del values["sealed_refresh_token"], values["refresh_token_expires_at"]
    if forced:
        values["refresh_forced_at"] = database_now(guard)
    with transaction.atomic(using=guard.db):
        stored = guard.update(**values, **lease.AT_REST)
        if stored:
            _send(row, [(signals.token_refreshed, {}), *news], using=guard.db)
    return bool(stored)


def mark_lost(
    account: GoogleAccount, reason: str, *, guard: GoogleAccountQuerySet | None = None
) -> bool:
    """Note that a grant is dead, and tell it once.

    Nothing is deleted and nothing revoked: the user may link the account again.

    Args:
        account: as it was read before the attempt; a grant that was renewed since stays untouched.
        reason: a word for ``status_reason``.
        guard: the row, as long as it is ours to write; see ``lease.rows_still_ours``.

    Returns:
        Whether it was this call that noted it.
    """
    if guard is None:
        rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
        guard = lease.rows_still_ours(rows, account, owner=None)
    lost_by_us = Q(status_reason=Reason.REQUESTED) & ~Q(status_reason=reason)
    with transaction.atomic(using=guard.db):
        changed = guard.filter(Q(status=Status.ACTIVE) | lost_by_us).update(
            status=Status.NEEDS_REAUTHORIZATION,
            status_reason=reason,
            status_changed_at=clock.now(),
            sealed_access_token="",
            access_token_expires_at=None,
            **lease.AT_REST,
        )
        if changed:
            logger.warning("The grant of the account %s is lost: %s.", account.pk, reason)
        if changed and account.status == Status.ACTIVE:
            _send(account, [(signals.authorization_lost, {"reason": reason})], using=guard.db)
    return bool(changed)


@sensitive_variables()
def _apply(account: GoogleAccount, response: TokenResponse, *, scopes: Iterable[str]) -> _News:
    """Put an answer into the fields of a row, and return the signals that it calls for."""
    if response.refresh_token:
        account.seal_token("refresh_token", response.refresh_token)
        account.refresh_token_expires_at = response.refresh_token_expires_at
    account.seal_token("access_token", response.access_token)
    account.access_token_expires_at = response.access_token_expires_at
    account.refreshed_at = clock.now()
    return [*_take_scopes(account, frozenset(scopes)), *_recover(account)]


def _take_scopes(account: GoogleAccount, after: frozenset[str]) -> _News:
    before, account.granted_scopes = frozenset(account.granted_scopes), sorted(after)
    if not before or before == after:
        return []
    changes = {"added": after - before, "removed": before - after}
    return [(signals.scopes_changed, changes)]


def _recover(account: GoogleAccount) -> _News:
    if account.status == Status.ACTIVE:
        return []
    account.status, account.status_reason = Status.ACTIVE, ""
    account.status_changed_at = clock.now()
    return [(signals.authorization_recovered, {})]


def _send(account: GoogleAccount, news: _News, *, using: str) -> None:
    for signal, arguments in news:
        if signal is signals.authorization_recovered:
            logger.info("The grant of the account %s works again.", account.pk)
        send_on_commit(signal, GoogleAccount, using=using, account=account, **arguments)


def _become_default_if_only(account: GoogleAccount) -> None:
    using = router.db_for_write(GoogleAccount)
    rows = GoogleAccount.objects.using(using).filter(user_id=account.user_id, client=account.client)
    if rows.exclude(pk=account.pk).exists():
        return
    # Two first links in the same moment: the other one became the default.
    with suppress(IntegrityError), transaction.atomic(using=using):
        rows.filter(pk=account.pk).update(is_default=True)
        account.is_default = True
