"""What Google tells of its accounts, and what becomes of the links that it speaks of.

A token is stored and acted on in one transaction, once. Nothing is deleted and nothing revoked: a
grant that Google has ended is noted as lost, at once.

Not all is believed. What was said before the last consent is about an older grant. Where it was
said about as long ago as that, where a prefix fits several tokens, and where Google has honoured
the grant since, Google is asked: see ``grant_checks``.
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

#: For so long a token is known again. What was issued before may have been acted on.
REMEMBERED = timedelta(days=180)
_SKEW = timedelta(seconds=CLOCK_SKEW)
#: Seconds: Google waits for the answer, and delivers again what it did not get.
_PATIENCE = 2
_CHUNK, _MOST = 500, 50_000

_REASONS = {"hijacking": Reason.ACCOUNT_HIJACKED, "bulk-account": Reason.ACCOUNT_BULK}
#: What an operator or the site itself has ended is not for Google to restore.
_ENDED_BY_US = frozenset({Reason.REQUESTED, Reason.RETIRED})


class _Verdict(Enum):
    """What an event means to a link that it speaks of."""

    IGNORE = auto()
    ASK = auto()
    BELIEVE = auto()


@dataclass(frozen=True, kw_only=True)
class _Audience:
    """One of those whom a token is for, as a row says to whom its tokens were issued."""

    issuer: str
    client_id: str


@dataclass(kw_only=True)
class _Effects:
    """What has come of a token: the keys of the links."""

    ended: set[uuid.UUID] = field(default_factory=set)
    asked: set[uuid.UUID] = field(default_factory=set)


def receive_token(token: SecurityEventToken) -> bool:
    """Store a token and act on it, in one transaction; return whether it was new.

    Raises:
        DatabaseError, InterfaceError: when it cannot be stored. Then nothing has changed.
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    using = router.db_for_write(GoogleAccount)
    receive = partial(_receive_token, token, using=using)
    return run_in_transaction(receive, using=using, patience=_PATIENCE)


def list_events() -> QuerySet[SecurityEvent]:
    """Return what has come, the last one first."""
    rows = SecurityEvent.objects.using(router.db_for_write(GoogleAccount))
    return rows.order_by("-received_at", "pk")


def find_verification(state: str) -> bool:
    """Return whether a verification has come that was asked with this."""
    since = clock.now() - timedelta(hours=1)
    return list_events().filter(received_at__gt=since, state=state).exists()


def delete_old_events() -> int:
    """Forget tokens that are too old to come again, some at a time; return how many there were."""
    rows = list_events()
    old = rows.filter(received_at__lt=clock.now() - REMEMBERED - _SKEW)
    oldest = old.order_by("received_at").values_list("pk", flat=True)[:_MOST]
    digests = run_in_transaction(lambda: list(oldest), using=rows.db)
    chunks = (digests[start : start + _CHUNK] for start in range(0, len(digests), _CHUNK))
    return sum(delete_in_one_order(rows, chunk) for chunk in chunks)


def _receive_token(token: SecurityEventToken, *, using: str) -> bool:
    # First, as the write that begins the transaction: whoever has the same token waits here.
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
    """Return the row of a token; ``None``, if there has been one."""
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
    """Return a stranger's text with the characters that every database takes, and people see."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text[:length])


def _to_moment(timestamp: float) -> datetime:
    """Return a moment as the database has it: by our clock, aware where ``USE_TZ`` is true."""
    return clock.from_timestamp(timestamp)


def _log_token(stored: SecurityEvent, effects: _Effects) -> None:
    logger.info(
        "A security event was received: %s. Links ended: %d, to be checked: %d.",
        stored.types,
        len(effects.ended),
        len(effects.asked),
    )


class _Reach:
    """Which links an event speaks of: of those that were made by whom its token is for.

    Args:
        token: that brings it.
        event: one of those in it.
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
        """Whether it is about one token, and does not say which in a way that we know."""
        return self.event.type == EventKind.TOKEN_REVOKED and self.event.token is None

    @property
    def is_vague(self) -> bool:
        """Whether several tokens may have the name by which it speaks of one."""
        return self.event.token is not None and self.event.token.algorithm == "prefix"

    @property
    def _digest_column(self) -> str:
        return "refresh_token_prefix_digest" if self.is_vague else "refresh_token_hash_digest"

    def find(self, every: GoogleAccountQuerySet) -> list[GoogleAccount]:
        """Return the links, not locked."""
        if not self.event.sub and self.event.token is None:
            return []
        rows = every.filter(issuer=self._issuer)
        if self.event.sub:
            rows = rows.filter(sub=self.event.sub)
        if self.event.token:
            rows = rows.filter(**{f"{self._digest_column}__in": self._digests})
        return [row for row in rows if self.has(row)]

    def has(self, row: GoogleAccount) -> bool:
        """Return whether this is one of the links: to the letter, whatever databases compare."""
        if not self.event.sub and self.event.token is None:
            return False
        if self.event.sub and row.sub != self.event.sub:
            return False
        if self.event.token and getattr(row, self._digest_column) not in self._digests:
            return False
        return any(share_grant(row, one) for one in self._audience)

    def judge(self, row: GoogleAccount) -> _Verdict:
        """Return what the event means to a link that it would end."""
        age = self.issued_at - row.granted_at
        if age < -_SKEW and self.event.token is None:
            return _Verdict.IGNORE  # It was about the grant before.
        is_refuted = row.refreshed_at is not None and row.refreshed_at > self.issued_at + _SKEW
        is_too_old = clock.now() - self.issued_at > REMEMBERED
        if age <= _SKEW or is_refuted or is_too_old:
            return _Verdict.ASK
        return _Verdict.BELIEVE


def _list_digests(named: NamedToken | None) -> list[str]:
    """Return the digests that a row may have of a token as it is named: one for each key."""
    if named is None:
        return []
    if named.algorithm == "prefix":
        return list_digests("refresh_token.prefix", named.identifier)
    return list_digests("refresh_token.double_hash", named.identifier)


def _act(reach: _Reach, links: list[GoogleAccount], *, effects: _Effects, using: str) -> None:
    """Do what an event means to the links that it speaks of, and tell the site."""
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
            continue  # It does not work anyway, and would come back with the account.
        verdict = reach.judge(row)
        if verdict == _Verdict.IGNORE:
            continue
        if verdict == _Verdict.ASK or is_ambiguous:
            if row.status == Status.ACTIVE:
                effects.asked.add(row.pk)
        elif _end_link(row, reason, using=using):
            effects.ended.add(row.pk)


def _end_link(row: GoogleAccount, reason: Reason, *, using: str) -> bool:
    """Note that a grant is lost, and let the answer to a refresh that is under way be dropped."""
    if not mark_lost(row, reason.value):
        return False
    same = GoogleAccount.objects.using(using).filter(pk=row.pk)
    same.update(grant_version=F("grant_version") + 1)
    return True


def _reconsider_links(links: list[GoogleAccount], *, effects: _Effects, using: str) -> None:
    """Have Google asked about the links of an account that is back.

    That it is disabled is no reason any more: what is still lost has lost its grant.
    """
    keys = [row.pk for row in links if row.status_reason in ACCOUNT_REASONS]
    every = GoogleAccount.objects.using(using)
    every.filter(pk__in=keys).update(status_reason=Reason.REVOKED)
    effects.asked.update(row.pk for row in links if row.status_reason not in _ENDED_BY_US)


def _read_again(links: list[GoogleAccount], *, using: str) -> list[Any]:
    rows = GoogleAccount.objects.using(using).filter(pk__in=[row.pk for row in links])
    return list(rows.order_by("pk")) if links else []
