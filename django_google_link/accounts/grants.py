"""What a user has granted: saved, refreshed, lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.dispatch import Signal
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..exceptions import ClientMisconfiguredError, NoRefreshTokenError, TokenDecryptionError
from ..models import (
    ACCOUNT_REASONS,
    REFRESH_TOKEN_FIELDS,
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEvent,
    Reason,
    Status,
)
from ..scopes import parse_scopes
from ..signals import send_on_commit
from . import history, lease, outbox
from .database import database_now
from .database_errors import store_as_taken
from .locks import lock_in_one_order, lock_links
from .revocations import attempt_after_commit
from .texts import list_simpler_identities
from .transactions import PATIENCE, run_in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.http import HttpRequest

    from ..conf.clients import OAuthClient
    from ..oauth.endpoints import TokenResponse
    from ..oauth.id_token import Identity
    from ..secret import Secret

logger = logging.getLogger("django_google_link")

IDENTITY_FIELDS = ("email", "email_verified", "name", "picture", "hosted_domain")
_TOKEN_FIELDS = (
    *REFRESH_TOKEN_FIELDS,
    "without_refresh_token",
    "refresh_token_scopes",
    "refresh_token_expires_at",
    "sealed_access_token",
    "access_token_expires_at",
    "granted_scopes",
    "refreshed_at",
    "status",
    "status_reason",
    "status_changed_at",
)
_GRANT_FIELDS = (
    "issuer",
    "client_id",
    "grant_version",
    "granted_at",
    "ending_announced_at",
    *lease.AT_REST,
)

#: It is the provider who says so.
_PROVIDERS_REASONS = frozenset({Reason.REVOKED, Reason.SESSION_POLICY, *ACCOUNT_REASONS})

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
    one, which belongs to the same ``sub``, and with it no more scopes than that one is known to
    carry: what else was granted would be gone with the access token, in an hour.

    Args:
        requested_scopes: what was granted where the answer does not say (RFC 6749 section 5.1).
        request: handed on to the receivers of ``account_linked``.
        seen: the ``grant_version`` of the row as it was looked at, 0 where there was none: what was
            granted since is kept.

    Raises:
        NoRefreshTokenError: when none came, and none that works is stored.
        ClientMisconfiguredError: when nothing new came, and what is stored is another client's.
        DatabaseError: when it cannot be stored; then nothing has changed.
    """
    using = router.db_for_write(GoogleAccount)
    requested = frozenset(parse_scopes(requested_scopes))

    @sensitive_variables()
    def save(form: Identity) -> GoogleAccount:
        return run_in_transaction(
            lambda: _save_grant(
                user,
                client,
                form,
                response,
                requested=requested,
                request=request,
                seen=seen,
                using=using,
            ),
            using=using,
        )

    return store_as_taken(list_simpler_identities(identity), save)


@sensitive_variables()
def _save_grant(
    user: AbstractBaseUser | AnonymousUser,
    client: OAuthClient,
    identity: Identity,
    response: TokenResponse,
    *,
    requested: frozenset[str],
    request: HttpRequest | None,
    seen: int | None,
    using: str,
) -> GoogleAccount:
    account, created = _lock_link(user, client, identity.sub, using=using)
    outbox.discard_revocations(client, identity.sub, using=using)
    if seen is not None and not created and account.grant_version > seen:
        return account
    if not response.refresh_token and client.gives_refresh_tokens and not _keeps(client, account):
        raise NoRefreshTokenError  # Its access token would be all that there is.
    if not client.has_issued(account):
        _leave_to(client, account, response, using=using)
    elif client.identity == "none" and not created:
        _replace_grant(account, response, using=using)
    news = _apply_grant(client, account, response, requested=requested)
    _apply_identity(account, identity)
    _count_as_new(account)
    account.is_new_link, account.added_scopes = created, _find_added_scopes(news)
    fields = [*_TOKEN_FIELDS, *IDENTITY_FIELDS, *_GRANT_FIELDS]
    account.save(using=using, update_fields=fields)
    _become_default_if_only(account)
    history.record(
        account,
        HistoryEvent.LINKED,
        using=using,
        created=created,
        asked=sorted(requested),
        granted=account.granted_scopes,
    )
    _record_news(account, news, using=using)
    linked = (signals.account_linked, {"created": created, "request": request})
    _send_news(account, [linked, *news], using=using)
    return account


def _lock_link(
    user: AbstractBaseUser | AnonymousUser, client: OAuthClient, sub: str, *, using: str
) -> tuple[GoogleAccount, bool]:
    """Return the row of a link, locked, and whether it was made just now."""
    owner: dict[str, Any] = {"user_id": user.pk, "client": client.name}
    key = {**owner, "sub": sub}
    every = GoogleAccount.objects.using(using)
    rows = every.filter(**key)
    if locked := lock_in_one_order(rows):
        return locked[0], False
    # Who adds one to a user's links has them all: so one who takes one away knows what is left.
    links = lock_links(every.filter(**owner), user_id=user.pk)
    # Where nothing says whose grant it is, there is one link of this user's.
    if known := links if client.identity == "none" else [row for row in links if row.sub == sub]:
        return known[0], False
    new = {"linked_at": clock.now(), "issuer": client.issuer, "client_id": client.client_id}
    account, created = rows.get_or_create(**key, defaults=new)
    if created:
        return account, True
    return every.select_for_update().get(pk=account.pk), False


def _keeps(client: OAuthClient, account: GoogleAccount) -> bool:
    """Return whether the stored refresh token stands for a grant that has just been renewed.

    Where nothing says whose grant it is, the stored one may be another's.
    """
    return account.is_active and bool(account.sealed_refresh_token) and client.identity != "none"


def _find_added_scopes(news: _News) -> frozenset[str]:
    changes = [arguments for signal, arguments in news if signal is signals.scopes_changed]
    return frozenset().union(*(change["added"] for change in changes))


def _count_as_new(account: GoogleAccount) -> None:
    """Let the answer to a refresh of the grant before be dropped, and forget how that one fared."""
    account.grant_version += 1
    account.granted_at = clock.now()
    for name, value in lease.AT_REST.items():
        setattr(account, name, value)


def _leave_to(
    client: OAuthClient, account: GoogleAccount, response: TokenResponse, *, using: str
) -> None:
    """Let go of what another client was given: it is of no use to this one."""
    is_new = response.refresh_token or not client.gives_refresh_tokens
    if account.sealed_refresh_token and not is_new:
        raise ClientMisconfiguredError(
            "client_id_changed", f"linked through {account.client_id}, and given nothing new"
        )
    _end_grant(account, using=using)
    account.issuer, account.client_id = client.issuer, client.client_id
    _forget_tokens(account)


@sensitive_variables()
def _replace_grant(account: GoogleAccount, response: TokenResponse, *, using: str) -> None:
    """Let go of a grant of which nobody can say whether it is of the same account as the new one.

    What the provider has given once more is not revoked: it would end the new grant.
    """
    with suppress(TokenDecryptionError):
        stored = account.unseal_token("refresh_token") or account.unseal_token("access_token")
        if stored == (response.refresh_token or response.access_token):
            return
    _end_grant(account, using=using)
    _forget_tokens(account)


def _end_grant(account: GoogleAccount, *, using: str) -> None:
    """Have the grant of the stored tokens revoked, first as soon as this has committed."""
    for pending in outbox.enqueue_account(account, using=using):
        attempt_after_commit(pending.pk, using=using)


def _forget_tokens(account: GoogleAccount) -> None:
    account.drop_tokens()
    account.refresh_token_scopes = []


@sensitive_variables()
def save_refresh(
    row: GoogleAccount, response: TokenResponse, *, guard: GoogleAccountQuerySet, is_forced: bool
) -> bool:
    """Store the answer to a refresh, unless the grant was renewed or the row deleted since.

    Args:
        row: as it was read before the attempt.
        guard: the row, as long as it is ours to write; see ``lease.rows_still_ours``.
        is_forced: whether the stored token looked fresh.

    Returns:
        Whether it was stored.
    """
    row = copy(row)  # It may be done again, and has to tell the same then.
    news = _apply_refresh(row, response)
    values = {name: getattr(row, name) for name in _TOKEN_FIELDS}
    if not response.refresh_token:
        # The stored one may have been sealed anew since it was read.
        for name in REFRESH_TOKEN_FIELDS:
            del values[name]
    if not row.ends_soon:
        values["ending_announced_at"] = None
    if is_forced:
        values["refresh_forced_at"] = database_now(guard)
    with transaction.atomic(using=guard.db):
        stored = guard.update(**values, **lease.AT_REST)
        if stored:
            _record_news(row, news, using=guard.db, actor=history.PROVIDER)
            _send_news(row, [(signals.token_refreshed, {}), *news], using=guard.db)
            announce_ending(row, using=guard.db)
    return bool(stored)


def announce_ending(account: GoogleAccount, *, using: str) -> bool:
    """Send ``authorization_ending`` if the grant ends soon, and nobody has said so.

    To be called in a transaction. Return whether it was this call that said so.
    """
    if not account.ends_soon or account.ending_announced_at or account.has_ended:
        return False
    row = GoogleAccount.objects.using(using).filter(pk=account.pk, ending_announced_at=None)
    if not row.update(ending_announced_at=clock.now()):
        return False
    arguments = {"ends_at": account.ends_at}
    _send_news(account, [(signals.authorization_ending, arguments)], using=using)
    return True


@sensitive_variables()
def is_held(token: Secret, rows: GoogleAccountQuerySet) -> bool:
    """Return whether one of the rows holds this refresh token.

    A connection may be lost in the moment after the commit: then it was stored, though it seems as
    if it was not.
    """
    with suppress(TokenDecryptionError):
        return any(row.unseal_token("refresh_token") == token for row in rows)
    return False


def save_identity(account: GoogleAccount, identity: Identity) -> None:
    """Store what a verified ID token says of the account: its address may be another by now.

    The ``sub`` stays, and nothing else of the row is touched.
    """
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    rows = rows.filter(pk=account.pk, sub=identity.sub)

    def save(form: Identity) -> Identity:
        values = {name: getattr(form, name) for name in IDENTITY_FIELDS}
        run_in_transaction(lambda: rows.update(**values), using=rows.db)
        return form

    _apply_identity(account, store_as_taken(list_simpler_identities(identity), save))


def has_identity(account: GoogleAccount, identity: Identity) -> bool:
    """Return whether the row says of the account what an ID token says."""
    return all(getattr(account, name) == getattr(identity, name) for name in IDENTITY_FIELDS)


def mark_lost(
    account: GoogleAccount,
    reason: str,
    *,
    guard: GoogleAccountQuerySet | None = None,
    patience: float = PATIENCE,
) -> bool:
    """Note that a grant is dead, and tell it once.

    Nothing is deleted and nothing revoked: the user may link the account again.

    Args:
        account: as it was read before the attempt; a grant that was renewed since stays untouched.
        reason: a word for ``status_reason``.
        guard: the row, as long as it is ours to write; see ``lease.rows_still_ours``.
        patience: in seconds; see :func:`~.transactions.run_in_transaction`.

    Returns:
        Whether it was this call that noted it.
    """
    if guard is None:
        rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
        guard = lease.rows_still_ours(rows, account, owner=None)
    lost_by_us = Q(status_reason=Reason.REQUESTED) & ~Q(status_reason=reason)
    rows = guard.filter(Q(status=Status.ACTIVE) | lost_by_us)

    def mark() -> bool:
        changed = rows.update(
            status=Status.NEEDS_REAUTHORIZATION,
            status_reason=reason,
            status_changed_at=clock.now(),
            sealed_access_token="",
            access_token_expires_at=None,
            **lease.AT_REST,
        )
        if changed:
            _record_loss(account, reason, using=rows.db)
            _log_loss(account, reason, using=rows.db)
        if changed and account.status == Status.ACTIVE:
            _send_news(account, [(signals.authorization_lost, {"reason": reason})], using=rows.db)
        return bool(changed)

    return run_in_transaction(mark, using=rows.db, patience=patience)


def _record_loss(account: GoogleAccount, reason: str, *, using: str) -> None:
    if reason == Reason.REQUESTED:
        history.record(account, HistoryEvent.CONSENT_REQUESTED, using=using)
        return
    actor = history.PROVIDER if reason in _PROVIDERS_REASONS else None
    history.record(account, HistoryEvent.LOST, using=using, actor=actor, reason=str(reason))


def _log_loss(account: GoogleAccount, reason: str, *, using: str) -> None:
    transaction.on_commit(
        lambda: logger.warning("The grant of the account %s is lost: %s.", account.pk, reason),
        using=using,
    )


@sensitive_variables()
def _apply_grant(
    client: OAuthClient,
    account: GoogleAccount,
    response: TokenResponse,
    *,
    requested: frozenset[str],
) -> _News:
    """Put the answer to a consent into the fields of a row; return the signals it calls for."""
    answered = requested if response.scopes is None else frozenset(response.scopes)
    if response.refresh_token:
        granted = answered
        _apply_refresh_token(account, response, carries=granted)
        account.ending_announced_at = None
    elif not _keeps(client, account):
        granted = answered
        account.drop_refresh_token()
        account.refresh_token_expires_at = None
        account.refresh_token_scopes = sorted(granted)
        account.without_refresh_token = True
    else:
        declined = requested - answered
        granted = frozenset(account.refresh_token_scopes) - declined
    # An access token that stands for less than was granted would be refused for an hour.
    _apply_access_token(account, response, is_whole=granted <= answered)
    return [*_apply_scopes(account, granted), *_recover_status(account)]


@sensitive_variables()
def _apply_refresh(account: GoogleAccount, response: TokenResponse) -> _News:
    """Put the answer to a refresh into the fields of a row; return the signals it calls for."""
    granted = frozenset(account.granted_scopes)
    if response.scopes is not None:
        # A refresh asks for no scope: what is named is all that the refresh token carries.
        granted = frozenset(response.scopes)
        account.refresh_token_scopes = sorted(granted)
    _apply_refresh_token(account, response, carries=frozenset(account.refresh_token_scopes))
    _apply_access_token(account, response, is_whole=True)
    return [*_apply_scopes(account, granted), *_recover_status(account)]


@sensitive_variables()
def _apply_refresh_token(
    account: GoogleAccount, response: TokenResponse, *, carries: frozenset[str]
) -> None:
    if response.refresh_token:
        account.without_refresh_token = False
        account.seal_token("refresh_token", response.refresh_token)
        account.refresh_token_expires_at = response.refresh_token_expires_at
        account.refresh_token_scopes = sorted(carries)
    elif response.refresh_token_expires_at:
        # A refresh may say of the stored one when it ends.
        account.refresh_token_expires_at = response.refresh_token_expires_at


@sensitive_variables()
def _apply_access_token(account: GoogleAccount, response: TokenResponse, *, is_whole: bool) -> None:
    account.refreshed_at = clock.now()
    if is_whole:
        account.seal_token("access_token", response.access_token)
        account.access_token_expires_at = response.access_token_expires_at
    else:
        account.sealed_access_token, account.access_token_expires_at = "", None


def _apply_scopes(account: GoogleAccount, after: frozenset[str]) -> _News:
    before, account.granted_scopes = frozenset(account.granted_scopes), sorted(after)
    if not before or before == after:
        return []
    changes = {"added": after - before, "removed": before - after}
    return [(signals.scopes_changed, changes)]


def _apply_identity(account: GoogleAccount, identity: Identity) -> None:
    account.email, account.email_verified = identity.email, identity.email_verified
    account.name, account.picture = identity.name, identity.picture
    account.hosted_domain = identity.hosted_domain


def _recover_status(account: GoogleAccount) -> _News:
    if account.status == Status.ACTIVE:
        return []
    account.status, account.status_reason = Status.ACTIVE, ""
    account.status_changed_at = clock.now()
    return [(signals.authorization_recovered, {})]


def _send_news(account: GoogleAccount, news: _News, *, using: str) -> None:
    for signal, arguments in news:
        if signal is signals.authorization_recovered:
            _log_recovery(account, using=using)
        send_on_commit(signal, GoogleAccount, using=using, account=account, **arguments)


def _record_news(
    account: GoogleAccount, news: _News, *, using: str, actor: history.Actor | None = None
) -> None:
    for signal, arguments in news:
        if signal is signals.authorization_recovered:
            history.record(account, HistoryEvent.RECOVERED, using=using, actor=actor)
        if signal is signals.scopes_changed:
            changes = {name: sorted(scopes) for name, scopes in arguments.items()}
            history.record(
                account, HistoryEvent.SCOPES_CHANGED, using=using, actor=actor, **changes
            )


def _log_recovery(account: GoogleAccount, *, using: str) -> None:
    transaction.on_commit(
        lambda: logger.info("The grant of the account %s is valid again.", account.pk), using=using
    )


def _become_default_if_only(account: GoogleAccount) -> None:
    using = router.db_for_write(GoogleAccount)
    rows = GoogleAccount.objects.using(using).filter(user_id=account.user_id, client=account.client)
    if rows.exclude(pk=account.pk).exists():
        return
    # One that somebody has added without a lock, in the same moment, became the default.
    try:
        with transaction.atomic(using=using):
            rows.filter(pk=account.pk).update(is_default=True)
            account.is_default = True
    except IntegrityError:
        if transaction.get_rollback(using=using):
            raise  # Not even that could be undone, and the link would silently be undone with it.
