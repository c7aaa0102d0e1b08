"""The history of links: what happened to each, when, and who did it.

An entry is written in the transaction of the event it records, and rolled back with it. Views and
commands declare who is acting; what Google reports is recorded as the provider's doing, whoever
made the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connections, router
from django.db.models import CharField, F, JSONField, QuerySet, Value
from django.db.models.functions import Cast

from ..conf import clock
from ..conf.settings import conf
from ..models import (
    ActorKind,
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEntry,
    HistoryEvent,
    MomentField,
    PendingRevocation,
)
from .database import insert_selected
from .locks import delete_in_one_order
from .transactions import run_alone

_CHUNK, _MOST = 1000, 50_000
#: The number of accounts from which the database writes the entries itself.
_MANY = 100

Link = GoogleAccount | PendingRevocation


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did something.

    Attributes:
        kind: one of ``ActorKind``.
        id: the primary key of a user as text, or the name of a command.
    """

    kind: ActorKind
    id: str = ""


#: The provider, for what it reports.
PROVIDER = Actor(kind=ActorKind.PROVIDER)

_SITE = Actor(kind=ActorKind.SITE)
_actor = ContextVar("actor", default=_SITE)


@contextmanager
def acting_as(kind: ActorKind, id: object) -> Iterator[None]:
    """Record what happens in this block as this actor's doing, unless an actor is already set.

    Args:
        kind: the kind of actor.
        id: the primary key of a user, or the name of a command.
    """
    if _actor.get().kind != ActorKind.SITE:
        yield
        return
    token = _actor.set(Actor(kind=kind, id=str(id)))
    try:
        yield
    finally:
        _actor.reset(token)


def record(
    link: Link, event: HistoryEvent, *, using: str, actor: Actor | None = None, **details: Any
) -> None:
    """Record an event in a link's history, in the open transaction.

    Args:
        link: the account, or its entry in the outbox.
        event: what happened.
        using: the alias of the database that contains the link.
        actor: who did it; by default the current actor.
        details: a few words, numbers and scopes; no token, address, name or label.
    """
    record_all([link], event, using=using, actor=actor, **details)


def record_all(
    links: Iterable[Link],
    event: HistoryEvent,
    *,
    using: str,
    actor: Actor | None = None,
    **details: Any,
) -> None:
    """Record the same event for several links. For the arguments see :func:`record`."""
    actor, now = actor or _actor.get(), clock.now()
    HistoryEntry.objects.using(using).bulk_create(
        (
            HistoryEntry(
                account_id=link.pk if isinstance(link, GoogleAccount) else link.account_id,
                owner=link.owner,
                client=link.client,
                issuer=link.issuer,
                sub=link.sub,
                event=event,
                details=details,
                actor_kind=actor.kind,
                actor=actor.id,
                created_at=now,
            )
            for link in links
        ),
        batch_size=_CHUNK,
    )


def record_selected(
    rows: GoogleAccountQuerySet,
    event: HistoryEvent,
    *,
    actor: Actor | None = None,
    known: Sequence[Any] | None = None,
    **details: Any,
) -> None:
    """Record the same event for all selected accounts, with a constant number of statements.

    Args:
        rows: the accounts; a few thousand at most.
        known: what :func:`list_same_owners` needs to know of each, if it has been read.

    For the other arguments see :func:`record`.
    """
    left = _record_in_database(rows, event, actor or _actor.get(), details, known)
    if left is not None and not left:
        return
    links = rows if left is None else rows.filter(pk__in=left)
    links = links.only("pk", "user_id", "client", "issuer", "sub")
    record_all(links, event, using=rows.db, actor=actor, **details)


def _record_in_database(
    rows: GoogleAccountQuerySet,
    event: HistoryEvent,
    actor: Actor,
    details: dict[str, Any],
    known: Sequence[Any] | None,
) -> set[Any] | None:
    """Have the database write the entries; return the primary keys of the accounts left out.

    ``None`` stands for all of them.
    """
    if connections[rows.db].vendor != "postgresql":
        return None
    owner = Cast("user_id", CharField())
    if known is None:
        known = list(rows.order_by().values_list("pk", "user_id", owner))
    same = list_same_owners(known) if len(known) >= _MANY else []
    if not same:
        return None
    accounts: QuerySet[Any] = rows if len(same) == len(known) else rows.filter(pk__in=same)
    values = {
        "account_id": F("pk"),
        "owner": owner,
        **{name: F(name) for name in ("client", "issuer", "sub")},
        "event": Value(event.value),
        "details": Value(details, output_field=JSONField()),
        "actor_kind": Value(actor.kind.value),
        "actor": Value(actor.id),
        "created_at": Value(clock.now(), output_field=MomentField()),
    }
    insert_selected(HistoryEntry, values, accounts)
    return {pk for pk, *_ in known}.difference(same)


def list_same_owners(known: Iterable[Any]) -> list[Any]:
    """Return the primary keys of accounts whose owner's key the database formats as Django does.

    Args:
        known: for each account its primary key first, its owner's primary key second, and last the
            owner's primary key as formatted by the database.
    """
    user: Any = GoogleAccount._meta.get_field("user")
    to_python = user.target_field.to_python
    return [pk for pk, owner, *_, text in known if str(to_python(owner)) == text]


def delete_old_entries() -> int:
    """Delete entries older than ``HISTORY_DAYS``, in chunks; return their number.

    At most 50,000 are deleted per call.
    """
    if conf.history_days is None:
        return 0
    entries = HistoryEntry.objects.using(router.db_for_write(HistoryEntry))
    old = entries.filter(created_at__lt=clock.now() - timedelta(days=conf.history_days))
    oldest = old.order_by("created_at").values_list("pk", flat=True)[:_MOST]
    keys = run_alone(lambda: list(oldest), using=entries.db)
    chunks = (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
    return sum(delete_in_one_order(entries, chunk) for chunk in chunks)
