"""Data subjects: a current or former user of this site, or a Google account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Q

from ..models import GoogleAccount, GoogleAccountQuerySet, HistoryEntry, PendingRevocation

#: The ways to name a subject.
WAYS = ("name", "pk", "sub")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A user or a Google account; one of the two attributes is empty.

    Attributes:
        owner: the primary key, as text, of a user, who may have been deleted.
        sub: the subject identifier of a Google account, whoever linked it.
    """

    owner: str = ""
    sub: str = ""

    @property
    def accounts(self) -> GoogleAccountQuerySet:
        """The subject's current links."""
        rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
        if self.sub:
            return rows.filter(sub=self.sub)
        return rows.filter(user_id__in=_list_users(pk=self.owner))

    @property
    def rows_without_link(self) -> Q:
        """The condition for rows of the history and the outbox that concern the subject."""
        return Q(sub=self.sub) if self.sub else Q(owner=self.owner)


def find_subjects(name: str, *, ways: tuple[str, ...]) -> dict[Subject, list[str]]:
    """Return the subjects that a name may stand for, each with the ways in which it does.

    Args:
        name: the name of a user, a primary key, or a subject identifier.
        ways: which of :data:`WAYS` to try.
    """
    found: dict[Subject, list[str]] = {}
    finders = {"name": _find_by_name, "pk": _find_by_key, "sub": _find_by_sub}
    for way in ways:
        for subject in finders[way](name):
            found.setdefault(subject, []).append(way)
    return found


def _find_by_name(name: str) -> Iterator[Subject]:
    model = get_user_model()
    for user in _list_users(**{model.USERNAME_FIELD: name}):
        yield Subject(owner=str(user))


def _find_by_key(key: str) -> Iterator[Subject]:
    for user in _list_users(pk=key):
        yield Subject(owner=str(user))
        return
    subject = Subject(owner=key)
    if _is_known(subject):
        yield subject


def _find_by_sub(sub: str) -> Iterator[Subject]:
    subject = Subject(sub=sub)
    if subject.accounts.exists() or _is_known(subject):
        yield subject


def _list_users(**lookup: Any) -> list[Any]:
    try:
        users = get_user_model()._base_manager.filter(**lookup)
        return list(users.values_list("pk", flat=True))
    except (ValidationError, ValueError, OverflowError):
        return []


def _is_known(subject: Subject) -> bool:
    return any(
        model._default_manager.using(router.db_for_write(model))
        .filter(subject.rows_without_link)
        .exists()
        for model in (HistoryEntry, PendingRevocation)
    )
