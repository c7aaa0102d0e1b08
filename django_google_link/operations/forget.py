"""Deletion of what is stored about a user's or a Google account's former links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import Q, QuerySet

from ..accounts.transactions import run_in_transaction
from ..models import (
    EndedGrant,
    GoogleAccount,
    GrantCheck,
    HistoryEntry,
    PendingRevocation,
    SecurityEvent,
    SpentState,
)
from .export import list_grant_digests, list_links, list_subs
from .revoke_pending import process_now
from .subjects import Subject

_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Remains:
    """The number of rows of each kind stored about a subject."""

    links: int
    pending_revocations: int
    history: int
    admin_log: int


def count_remains(subject: Subject) -> Remains:
    """Count what is stored about a subject."""
    return Remains(
        links=subject.accounts.count(),
        pending_revocations=_list_pending(subject).count(),
        history=_list_history(subject).count(),
        admin_log=sum(rows.count() for rows in _list_log(subject)),
    )


def end_links(subject: Subject) -> int:
    """Unlink a subject's accounts and attempt all pending revocations; return how many remain."""
    for account in subject.accounts:
        account.unlink()
    for pending in _list_pending(subject):
        process_now(pending)
    return _list_pending(subject).count()


def remove_remains(subject: Subject) -> None:
    """Delete what is stored about former links, in one transaction per kind.

    The history comes last: the other rows are found through it if this is interrupted and repeated.
    """
    digests, links = list_grant_digests(subject), list_links(subject)
    # Security events are kept, to detect duplicates, but without their subject.
    told = _list_rows(SecurityEvent, Q(sub__in=list_subs(subject)))
    run_in_transaction(lambda: told.update(sub=""), using=told.db)
    rows: list[QuerySet[Any]] = [
        *_list_log(subject),
        _list_rows(EndedGrant, Q(digest__in=digests)),
        _list_rows(GrantCheck, Q(account_id__in=links)),
        _list_history(subject),
    ]
    if subject.owner:
        rows.insert(0, _list_rows(SpentState, Q(owner=subject.owner)))
    for some in rows:
        run_in_transaction(some.delete, using=some.db)


def _list_pending(subject: Subject) -> QuerySet[PendingRevocation]:
    return _list_rows(PendingRevocation, subject.rows_without_link)


def _list_history(subject: Subject) -> QuerySet[HistoryEntry]:
    return _list_rows(HistoryEntry, subject.rows_without_link)


def _list_log(subject: Subject) -> Iterator[QuerySet[Any]]:
    """Yield the entries about the links in the admin's log, if the admin is installed."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    kind = ContentType.objects.get_for_model(GoogleAccount)
    ids = [str(pk) for pk in list_links(subject)]
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        yield _list_rows(LogEntry, Q(content_type_id=kind.pk, object_id__in=part))


def _list_rows(model: Any, condition: Q) -> QuerySet[Any]:
    rows = model._default_manager.using(router.db_for_write(model))
    found: QuerySet[Any] = rows.filter(condition)
    return found
