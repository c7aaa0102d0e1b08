"""Handling Google's security events (RISC): what becomes of the links they concern.

A security event token is stored and applied in one transaction, once. Nothing is deleted or
revoked: a grant that Google reports as revoked is marked as lost at once.

Some events are not applied directly. An event from before the last consent concerns an older grant.
If the two are close in time, if a token prefix matches several links, or if Google has accepted the
grant since, a check is requested instead: see ``grant_checks``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any

from django.db import IntegrityError, router, transaction
from django.db.models import F, QuerySet

from .. import signals
from ..conf import clock
from ..conf.clients import share_grant
from ..encryption.keyring import list_digests
from ..models import (
    ACCOUNT_REASONS,
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEvent,
    Reason,
    SecurityEvent,
    Status,
)
from ..oauth.id_token import CLOCK_SKEW
from ..oauth.security_event_token import EventKind, NamedToken, SecurityEventToken, ToldEvent
from ..signals import send_on_commit
from . import history
from .grant_checks import request_checks
from .locks import delete_in_one_order, lock_in_one_order
from .lost_grants import mark_lost
from .transactions import run_in_transaction

logger = logging.getLogger("django_google_link")

#: How long a token is recognized as a duplicate. Older ones may have been applied before.
REMEMBERED = timedelta(days=180)
_SKEW = timedelta(seconds=CLOCK_SKEW)
#: Seconds. Short: Google waits for the response, and redelivers what was not acknowledged.
_PATIENCE = 2
_CHUNK, _MOST = 500, 50_000

_REASONS = {"hijacking": Reason.ACCOUNT_HIJACKED, "bulk-account": Reason.ACCOUNT_BULK}
#: Links ended by an operator or by the site, which Google's events do not restore.
_ENDED_BY_US = frozenset({Reason.REQUESTED, Reason.RETIRED})


class _Verdict(Enum):
    """What an event means for a link that it concerns."""

    IGNORE = auto()
    ASK = auto()
    BELIEVE = auto()


@dataclass(frozen=True, kw_only=True)
class _Audience:
    """One client in a token's audience, comparable with the client of a row."""

    issuer: str
    client_id: str


@dataclass(kw_only=True)
class _Effects:
    """The primary keys of the links that a token ended, or for which checks were requested."""

    ended: set[uuid.UUID] = field(default_factory=set)
    asked: set[uuid.UUID] = field(default_factory=set)


def receive_token(token: SecurityEventToken) -> bool:
    """Store and apply a token in one transaction; return whether it was new.

    Raises:
        DatabaseError, InterfaceError: when it cannot be stored. Then nothing has changed.
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    using = router.db_for_write(GoogleAccount)
    receive = partial(_receive_token, token, using=using)
    return run_in_transaction(receive, using=using, patience=_PATIENCE)


def list_events() -> QuerySet[SecurityEvent]:
    """Return the received tokens, the most recent one first."""
    rows = SecurityEvent.objects.using(router.db_for_write(GoogleAccount))
    return rows.order_by("-received_at", "pk")


def find_verification(state: str) -> bool:
    """Return whether a verification event with this state arrived within the last hour."""
    since = clock.now() - timedelta(hours=1)
    return list_events().filter(received_at__gt=since, state=state).exists()


def delete_old_events() -> int:
    """Delete tokens too old to be delivered again, in chunks; return their number."""
    rows = list_events()
    old = rows.filter(received_at__lt=clock.now() - REMEMBERED - _SKEW)
    oldest = old.order_by("received_at").values_list("pk", flat=True)[:_MOST]
    digests = run_in_transaction(lambda: list(oldest), using=rows.db)
    chunks = (digests[start : start + _CHUNK] for start in range(0, len(digests), _CHUNK))
    return sum(delete_in_one_order(rows, chunk) for chunk in chunks)


def _receive_token(token: SecurityEventToken, *, using: str) -> bool:
    # First, because the transaction must begin with a write: another worker with the same token
    # waits here.
    stored = _store_token(token, using=using)
    if stored is None:
        return False
    every = GoogleAccount.objects.using(using)
    reaches = [_Reach(token, event) for event in token.events]
    keys = {row.pk for reach in reaches for row in reach.find(every)}
    locked = lock_in_one_order(every.filter(pk__in=keys)) if keys else []
    effects = _Effects()
    for reach in reaches:
        _act(reach, [row for row in locked if reach.has(row)], effects=effects, using=using)
    request_checks(effects.asked, using=using)
    row = SecurityEvent.objects.using(using).filter(pk=stored.pk)
    row.update(ended=len(effects.ended), asked=len(effects.asked))
    transaction.on_commit(partial(_log_token, stored, effects), using=using)
    return True


def _store_token(token: SecurityEventToken, *, using: str) -> SecurityEvent | None:
    """Store a token and return its row; ``None`` if it was stored before."""
    row = SecurityEvent(
        digest=_digest_jti(token),
        types=_to_column(" ".join(_name_type(event) for event in token.events), 255),
        sub=_find_first("sub", token.events, 255),
        reason=_find_first("reason", token.events, 100),
        state=_find_first("state", token.events, 255),
        issued_at=_to_moment(token.issued_at),
        received_at=clock.now(),
    )
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        return None
    return row


def _digest_jti(token: SecurityEventToken) -> str:
    content = json.dumps([token.transmitter, token.jti])
    return hashlib.sha256(content.encode()).hexdigest()


def _name_type(event: ToldEvent) -> str:
    return event.type.rpartition("/")[2]


def _find_first(name: str, events: Iterable[ToldEvent], length: int) -> str:
    return _to_column(next(filter(None, (getattr(event, name) for event in events)), ""), length)


def _to_column(text: str, length: int) -> str:
    """Return an external text truncated, in printable ASCII, which every database accepts."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text[:length])


def _to_moment(timestamp: float) -> datetime:
    """Return a timestamp as Django stores it: aware if ``USE_TZ`` is true."""
    return clock.from_timestamp(timestamp)


def _log_token(stored: SecurityEvent, effects: _Effects) -> None:
    logger.info(
        "A security event was received: %s. Links ended: %d, to be checked: %d.",
        stored.types,
        len(effects.ended),
        len(effects.asked),
    )


class _Reach:
    """The links that an event concerns, among those of the clients in its token's audience.

    Args:
        token: the security event token.
        event: one of its events.
    """

    def __init__(self, token: SecurityEventToken, event: ToldEvent) -> None:
        self.event = event
        self.issued_at = _to_moment(token.issued_at)
        self._issuer = token.issuer
        self._digests = _list_digests(event.token)
        self._audience = [
            _Audience(issuer=token.issuer, client_id=client_id) for client_id in token.audience
        ]

    @property
    def names_no_token(self) -> bool:
        """Whether the event is about one token, but does not identify it in a way known here."""
        return self.event.type == EventKind.TOKEN_REVOKED and self.event.token is None

    @property
    def is_vague(self) -> bool:
        """Whether the event identifies its token by a prefix, which several tokens may share."""
        return self.event.token is not None and self.event.token.algorithm == "prefix"

    @property
    def _digest_column(self) -> str:
        return "refresh_token_prefix_digest" if self.is_vague else "refresh_token_hash_digest"

    def find(self, every: GoogleAccountQuerySet) -> list[GoogleAccount]:
        """Return the links, without locking them."""
        if not self.event.sub and self.event.token is None:
            return []
        rows = every.filter(issuer=self._issuer)
        if self.event.sub:
            rows = rows.filter(sub=self.event.sub)
        if self.event.token:
            rows = rows.filter(**{f"{self._digest_column}__in": self._digests})
        return [row for row in rows if self.has(row)]

    def has(self, row: GoogleAccount) -> bool:
        """Return whether a link is concerned; strings are compared exactly here."""
        if not self.event.sub and self.event.token is None:
            return False
        if self.event.sub and row.sub != self.event.sub:
            return False
        if self.event.token and getattr(row, self._digest_column) not in self._digests:
            return False
        return any(share_grant(row, one) for one in self._audience)

    def judge(self, row: GoogleAccount) -> _Verdict:
        """Return what the event means for a link that it would end."""
        age = self.issued_at - row.granted_at
        if age < -_SKEW and self.event.token is None:
            return _Verdict.IGNORE  # It concerned an earlier grant.
        is_refuted = row.refreshed_at is not None and row.refreshed_at > self.issued_at + _SKEW
        is_too_old = clock.now() - self.issued_at > REMEMBERED
        if age <= _SKEW or is_refuted or is_too_old:
            return _Verdict.ASK
        return _Verdict.BELIEVE


def _list_digests(named: NamedToken | None) -> list[str]:
    """Return the digests that a row may have for a named token: one for each encryption key."""
    if named is None:
        return []
    if named.algorithm == "prefix":
        return list_digests("refresh_token.prefix", named.identifier)
    return list_digests("refresh_token.double_hash", named.identifier)


def _act(reach: _Reach, links: list[GoogleAccount], *, effects: _Effects, using: str) -> None:
    """Apply an event to the links that it concerns, and send the signal."""
    event = reach.event
    history.record_all(
        links,
        HistoryEvent.SECURITY_EVENT,
        using=using,
        actor=history.PROVIDER,
        type=_name_type(event),
        reason=_to_column(event.reason, 100),
    )
    if event.type in {EventKind.TOKEN_REVOKED, EventKind.TOKENS_REVOKED}:
        _end_links(reach, links, Reason.REVOKED, effects=effects, using=using)
    elif event.type == EventKind.ACCOUNT_DISABLED:
        reason = _REASONS.get(event.reason, Reason.ACCOUNT_DISABLED)
        _end_links(reach, links, reason, effects=effects, using=using)
    elif event.type == EventKind.ACCOUNT_ENABLED:
        _reconsider_links(links, effects=effects, using=using)
    send_on_commit(
        signals.security_event,
        GoogleAccount,
        using=using,
        type=event.type,
        accounts=_read_again(links, using=using),
        sub=event.sub,
        reason=event.reason,
        issued_at=reach.issued_at,
        payload=event.payload,
    )


def _end_links(
    reach: _Reach,
    links: list[GoogleAccount],
    reason: Reason,
    *,
    effects: _Effects,
    using: str,
) -> None:
    is_ambiguous = reach.names_no_token or (reach.is_vague and len(links) > 1)
    for row in links:
        if reason in ACCOUNT_REASONS and row.status_reason in _ENDED_BY_US:
            continue  # It needs a new consent in any case; ACCOUNT_ENABLED must not restore it.
        verdict = reach.judge(row)
        if verdict == _Verdict.IGNORE:
            continue
        if verdict == _Verdict.ASK or is_ambiguous:
            if row.status == Status.ACTIVE:
                effects.asked.add(row.pk)
        elif _end_link(row, reason, using=using):
            effects.ended.add(row.pk)


def _end_link(row: GoogleAccount, reason: Reason, *, using: str) -> bool:
    """Mark a grant as lost, so that the response to a refresh in progress is discarded."""
    if not mark_lost(row, reason.value):
        return False
    same = GoogleAccount.objects.using(using).filter(pk=row.pk)
    same.update(grant_version=F("grant_version") + 1)
    return True


def _reconsider_links(links: list[GoogleAccount], *, effects: _Effects, using: str) -> None:
    """Request checks of the links of an account that is enabled again.

    The disabled account is no longer the reason: links that are still lost have lost their grant.
    """
    keys = [row.pk for row in links if row.status_reason in ACCOUNT_REASONS]
    every = GoogleAccount.objects.using(using)
    every.filter(pk__in=keys).update(status_reason=Reason.REVOKED)
    effects.asked.update(row.pk for row in links if row.status_reason not in _ENDED_BY_US)


def _read_again(links: list[GoogleAccount], *, using: str) -> list[Any]:
    rows = GoogleAccount.objects.using(using).filter(pk__in=[row.pk for row in links])
    return list(rows.order_by("pk")) if links else []
