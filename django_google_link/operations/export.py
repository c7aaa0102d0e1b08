"""Export of everything stored about a user, for a subject access request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import router
from django.db.models import Q, QuerySet

from ..accounts.ended_grants import digest_grant
from ..accounts.history import record_all
from ..accounts.transactions import run_in_transaction
from ..conf import clock
from ..models import (
    REFRESH_TOKEN_FIELDS,
    EndedGrant,
    GoogleAccount,
    GrantCheck,
    HistoryEntry,
    HistoryEvent,
    PendingRevocation,
    SecurityEvent,
    SpentState,
)
from .subjects import Subject

_CHUNK = 500
#: Tokens and values derived from them: the export must not allow anyone to act for the user.
TOKEN_FIELDS = frozenset({*REFRESH_TOKEN_FIELDS, "sealed_access_token", "sealed_by"})


def export_subject(subject: Subject) -> Iterator[str]:
    """Yield the parts of a JSON object with everything stored about a user, except tokens.

    The export is recorded in the history of each link.

    Args:
        subject: the user, who may have been deleted.
    """
    accounts = subject.accounts.order_by("pk")
    run_in_transaction(
        lambda: record_all(accounts.all(), HistoryEvent.EXPORTED, using=accounts.db),
        using=accounts.db,
    )
    yield f'{{"user": {json.dumps(subject.owner)}, "exported_at": {_to_json(clock.now())}'
    owned = Q(owner=subject.owner)
    sections: dict[str, QuerySet[Any]] = {
        "accounts": accounts,
        "pending_revocations": _list_rows(PendingRevocation, owned),
        "history": _list_rows(HistoryEntry, owned),
        "ended_grants": _list_rows(EndedGrant, Q(digest__in=list_grant_digests(subject))),
        "spent_states": _list_rows(SpentState, owned),
        "security_events": _list_rows(SecurityEvent, Q(sub__in=list_subs(subject))),
        "grant_checks": _list_rows(GrantCheck, Q(account_id__in=list_links(subject))),
    }
    for name, rows in sections.items():
        yield f',\n"{name}": ['
        for place, row in enumerate(rows.iterator(chunk_size=_CHUNK)):
            yield f"{',' if place else ''}\n{_to_json(_describe_row(row))}"
        yield "]"
    yield "}"


def list_grant_digests(subject: Subject) -> list[str]:
    """Return the digests by which revocations of a subject's grants are stored for an hour."""
    return [digest_grant(issuer, sub) for issuer, sub in _list_grants(subject)]


def _list_grants(subject: Subject) -> set[tuple[str, str]]:
    grants = set(subject.accounts.values_list("issuer", "sub"))
    for model in (PendingRevocation, HistoryEntry):
        rows = _list_rows(model, subject.rows_without_link).order_by()
        grants.update(rows.values_list("issuer", "sub").distinct())
    return grants


def list_subs(subject: Subject) -> list[str]:
    """Return the subject identifiers of a subject's current and former Google accounts."""
    return sorted({sub for _, sub in _list_grants(subject) if sub})


def list_links(subject: Subject) -> list[Any]:
    """Return the primary keys of a subject's current and former links."""
    links = set(subject.accounts.values_list("pk", flat=True))
    for model in (PendingRevocation, HistoryEntry):
        rows = _list_rows(model, subject.rows_without_link).order_by()
        links.update(rows.values_list("account_id", flat=True).distinct())
    return sorted(links)


def _list_rows(model: Any, condition: Q) -> QuerySet[Any]:
    rows = model._default_manager.using(router.db_for_write(model))
    found: QuerySet[Any] = rows.filter(condition).order_by("pk")
    return found


def _describe_row(row: Any) -> dict[str, Any]:
    columns = {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.attname not in TOKEN_FIELDS
    }
    if isinstance(row, GoogleAccount | PendingRevocation):
        columns["has_refresh_token"] = bool(row.sealed_refresh_token)
        columns["has_access_token"] = bool(row.sealed_access_token)
    return columns


def _to_json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder)
