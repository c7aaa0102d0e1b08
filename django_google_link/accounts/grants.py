"""What a user has granted, saved as the row of an account."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, router, transaction
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..exceptions import ClientMisconfiguredError, NoRefreshTokenError, TokenDecryptionError
from ..models import GoogleAccount, GoogleAccountQuerySet, HistoryEvent
from ..scopes import parse_scopes
from . import history, lease, outbox
from .database_errors import store_as_taken
from .locks import lock_in_one_order, lock_links
from .news import record_news, send_news
from .revocations import attempt_after_commit
from .texts import list_simpler_identities
from .token_fields import (
    IDENTITY_FIELDS,
    TOKEN_FIELDS,
    apply_grant,
    apply_identity,
    forget_tokens,
    keeps_refresh_token,
)
from .transactions import run_in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.http import HttpRequest

    from ..conf.clients import OAuthClient
    from ..oauth.endpoints import TokenResponse
    from ..oauth.id_token import Identity
    from ..secret import Secret
    from .news import News

_GRANT_FIELDS = (
    "issuer",
    "client_id",
    "grant_version",
    "granted_at",
    "ending_announced_at",
    *lease.AT_REST,
)


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

    The granted scopes replace the stored ones. If the response has no refresh token, the stored
    one for the same ``sub`` is kept, and only the scopes that it is known to carry: any others
    would be lost when the access token expires, an hour later.

    Args:
        user: the owner of the link.
        client: the OAuth client that received the response.
        identity: the account that the user chose.
        response: the token response.
        requested_scopes: the granted scopes if the response names none (RFC 6749 section 5.1).
        request: passed to the receivers of ``account_linked``.
        seen: the ``grant_version`` of the row when it was read, 0 if there was no row; a newer
            grant is kept.

    Raises:
        NoRefreshTokenError: when the response has no refresh token and no valid one is stored.
        ClientMisconfiguredError: when the response has no refresh token and the stored one was
            issued to another client.
        DatabaseError: when the grant cannot be stored; then nothing has changed.
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
def is_held(token: Secret, rows: GoogleAccountQuerySet) -> bool:
    """Return whether one of the rows holds this refresh token.

    A connection may be lost right after a commit, which then looks as if it had failed.
    """
    with suppress(TokenDecryptionError):
        return any(row.unseal_token("refresh_token") == token for row in rows)
    return False


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
    if (
        not response.refresh_token
        and client.gives_refresh_tokens
        and not keeps_refresh_token(client, account)
    ):
        raise NoRefreshTokenError
    if not client.has_issued(account):
        _leave_to(client, account, response, using=using)
    elif client.identity == "none" and not created:
        _replace_grant(account, response, using=using)
    news = apply_grant(client, account, response, requested=requested)
    apply_identity(account, identity)
    _count_as_new(account)
    account.is_new_link, account.added_scopes = created, _find_added_scopes(news)
    fields = [*TOKEN_FIELDS, *IDENTITY_FIELDS, *_GRANT_FIELDS]
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
    record_news(account, news, using=using)
    linked = (signals.account_linked, {"created": created, "request": request})
    send_news(account, [linked, *news], using=using)
    return account


def _lock_link(
    user: AbstractBaseUser | AnonymousUser, client: OAuthClient, sub: str, *, using: str
) -> tuple[GoogleAccount, bool]:
    """Lock the row of a link, and return it and whether it was just created."""
    owner: dict[str, Any] = {"user_id": user.pk, "client": client.name}
    key = {**owner, "sub": sub}
    every = GoogleAccount.objects.using(using)
    rows = every.filter(**key)
    if locked := lock_in_one_order(rows):
        return locked[0], False
    # To add a link locks all links of the user, so that whoever removes one knows what is left.
    links = lock_links(every.filter(**owner), user_id=user.pk)
    # Without an identity, a user has a single link.
    if known := links if client.identity == "none" else [row for row in links if row.sub == sub]:
        return known[0], False
    new = {"linked_at": clock.now(), "issuer": client.issuer, "client_id": client.client_id}
    account, created = rows.get_or_create(**key, defaults=new)
    if created:
        return account, True
    return every.select_for_update().get(pk=account.pk), False


def _find_added_scopes(news: News) -> frozenset[str]:
    changes = [arguments for signal, arguments in news if signal is signals.scopes_changed]
    return frozenset().union(*(change["added"] for change in changes))


def _count_as_new(account: GoogleAccount) -> None:
    """Make refreshes of the previous grant void, and forget their failures."""
    account.grant_version += 1
    account.granted_at = clock.now()
    for name, value in lease.AT_REST.items():
        setattr(account, name, value)


def _leave_to(
    client: OAuthClient, account: GoogleAccount, response: TokenResponse, *, using: str
) -> None:
    """Move the row to another client, and revoke the grant of the previous one."""
    is_new = response.refresh_token or not client.gives_refresh_tokens
    if account.sealed_refresh_token and not is_new:
        raise ClientMisconfiguredError(
            "client_id_changed", f"linked through {account.client_id}, and given nothing new"
        )
    _end_grant(account, using=using)
    account.issuer, account.client_id = client.issuer, client.client_id
    forget_tokens(account)


@sensitive_variables()
def _replace_grant(account: GoogleAccount, response: TokenResponse, *, using: str) -> None:
    """Revoke the stored grant, which may belong to another account than the new one.

    If the provider has issued the same token again, it is kept: to revoke it would end the new
    grant as well.
    """
    with suppress(TokenDecryptionError):
        stored = account.unseal_token("refresh_token") or account.unseal_token("access_token")
        if stored == (response.refresh_token or response.access_token):
            return
    _end_grant(account, using=using)
    forget_tokens(account)


def _end_grant(account: GoogleAccount, *, using: str) -> None:
    """Put the stored tokens into the outbox, and try to revoke them once this has committed."""
    for pending in outbox.enqueue_account(account, using=using):
        attempt_after_commit(pending.pk, using=using)


def _become_default_if_only(account: GoogleAccount) -> None:
    using = router.db_for_write(GoogleAccount)
    rows = GoogleAccount.objects.using(using).filter(user_id=account.user_id, client=account.client)
    if rows.exclude(pk=account.pk).exists():
        return
    # Another link, added at the same moment without a lock, may have become the default.
    try:
        with transaction.atomic(using=using):
            rows.filter(pk=account.pk).update(is_default=True)
            account.is_default = True
    except IntegrityError:
        if transaction.get_rollback(using=using):
            raise  # Swallowing this would silently roll back the link as well.
