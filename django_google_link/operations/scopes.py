"""Counting the links that have been granted each scope, and retiring a scope."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import router
from django.db.models import Count, TextChoices
from django.utils.translation import gettext_lazy as _

from ..accounts.database import in_chunks
from ..accounts.outbox import read_outbox
from ..accounts.retirement import list_grant, list_unrevoked, retire_grant
from ..accounts.revocations import RevocationOutcome
from ..exceptions import RefreshUnavailableError
from ..models import GoogleAccount, GoogleAccountQuerySet, PendingRevocation, Reason, Status
from .patience import Patience
from .revoke_pending import process_now

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

_CHUNK = 500
#: The consecutive failures after which revocations are left to google_link_revoke_pending.
_MOST_FAILURES = 3


class RetirementOutcome(TextChoices):
    """The outcome for a link with the retired scope."""

    RETIRED = "retired", _("retired, and revoked at the provider")
    POSTPONED = (
        "postponed",
        _("retired; google_link_revoke_pending will revoke them at the provider"),
    )
    SHARED = "shared", _("covered by another link with the same grant")


@dataclass(frozen=True, kw_only=True)
class RetirementPlan:
    """The number of links with a scope, of other links that end with them, and of their users."""

    links: int
    others: int
    users: int


def count_granted_scopes() -> tuple[Counter[str], Counter[str]]:
    """Return how many links have been granted each scope: the active ones, and the others."""
    working, lost = Counter[str](), Counter[str]()
    rows = _read_accounts().order_by().values_list("granted_scopes", "status")
    for scopes, status, count in rows.annotate(total=Count("*")):
        counts = working if status == Status.ACTIVE else lost
        counts.update(dict.fromkeys(scopes, count))
    return working, lost


def plan_retirement(scope: str) -> RetirementPlan:
    """Count the links and users that the retirement of a scope affects."""
    links, ending, users = set(), set(), set()
    for account in _list_granted(scope):
        links.add(account.pk)
        for row in list_grant(account):
            ending.add(row.pk)
            users.add(row.user_id)
    return RetirementPlan(links=len(links), others=len(ending - links), users=len(users))


def retire_scope(
    scope: str, *, needed: Collection[str]
) -> Generator[RetirementOutcome, None, None]:
    """Retire the links that have been granted a scope; yield an outcome for each.

    Args:
        scope: the scope that is no longer used.
        needed: the scopes that the site still uses.
    """
    patience = Patience(_MOST_FAILURES)
    for account in _list_granted(scope):
        pending = retire_grant(account, scope, needed=needed)
        if pending is None:
            yield RetirementOutcome.SHARED
        elif not pending:
            yield RetirementOutcome.RETIRED
        elif not patience.is_over(account.issuer) and _revoke(pending):
            patience.note_answer(account.issuer)
            yield RetirementOutcome.RETIRED
        else:
            patience.count_failure(account.issuer)
            yield RetirementOutcome.POSTPONED


def finish_retirements(user: AbstractBaseUser | AnonymousUser, *, client: str) -> None:
    """Complete the revocation of a user's retired grants, before the user is asked for consent.

    Raises:
        RefreshUnavailableError: when they cannot be revoked at present.
    """
    rows = GoogleAccount.objects.for_user(user, client=client).filter(status_reason=Reason.RETIRED)
    for account in rows:
        pending = list_unrevoked(account)
        if pending and not _revoke(pending):
            raise RefreshUnavailableError(
                "revocation_pending", "The former grant must be revoked at Google first."
            )


def _revoke(pending: list[PendingRevocation]) -> bool:
    """Attempt these revocations; return whether none remains."""
    for row in pending:
        if process_now(row) == RevocationOutcome.UNREACHABLE:
            return False
    return not read_outbox().filter(pk__in=[row.pk for row in pending]).exists()


def _list_granted(scope: str) -> Iterator[GoogleAccount]:
    """Yield the accounts that have been granted a scope. There is no index: all are read."""
    for chunk in in_chunks(_read_accounts(), size=_CHUNK):
        yield from (account for account in chunk if scope in account.granted_scopes)


def _read_accounts() -> GoogleAccountQuerySet:
    return GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
