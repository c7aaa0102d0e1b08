"""A user's linked accounts: listing, changing and unlinking them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from ..accounts.history import acting_as
from ..accounts.labels import clean_label, store_label
from ..models import ActorKind, GoogleAccount
from ..scopes import describe_scope
from .bodies import check_object
from .errors import FrontEndError
from .fields import read_flag, refuse_field, refuse_unknown

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    User = AbstractBaseUser | AnonymousUser

_LONGEST_LABEL = 60


def list_accounts(user: User) -> dict[str, Any]:
    """Return the user's linked accounts, of all clients, default ones first.

    Args:
        user: the user whom the site's own authentication has identified.

    Raises:
        FrontEndError: if no user is logged in.
    """
    require_user(user)
    rows = GoogleAccount.objects.for_user(user)
    return {"accounts": [describe_account(row) for row in rows]}


def change_account(user: User, id: str | uuid.UUID, data: Mapping[str, Any]) -> dict[str, Any]:
    """Change an account's label, or make it the default, and return it.

    Args:
        user: the user to whom the account is linked.
        id: the id of the account.
        data: ``label``, or ``is_default``, which can only be ``True``: to change the default, make
            another account the default.

    Raises:
        FrontEndError: if the user has no such account, or the data is invalid.
    """
    account = find_account(user, id)
    check_object(data)
    refuse_unknown(data, {"label", "is_default"})
    label = _read_label(data)
    if data.get("is_default") is not None and not read_flag(data, "is_default"):
        raise refuse_field("is_default", "can only be true: make another account the default")
    with acting_as(ActorKind.USER, user.pk):
        if label is not None:
            store_label(account, label)
        if data.get("is_default"):
            account.make_default()
    return describe_account(find_account(user, id))


def unlink_account(user: User, id: str | uuid.UUID) -> None:
    """Unlink an account, and revoke its grant at Google.

    Args:
        user: the user to whom the account is linked.
        id: the id of the account.

    Raises:
        FrontEndError: if the user has no such account.
    """
    account = find_account(user, id)
    with acting_as(ActorKind.USER, user.pk):
        account.unlink()


def find_account(user: User, id: str | uuid.UUID) -> GoogleAccount:
    """Return the account with this id if it is this user's. Raises as above."""
    require_user(user)
    try:
        key = uuid.UUID(str(id))  # A framework may have converted the id in the path already.
    except ValueError:
        key = None
    account = GoogleAccount.objects.for_user(user).filter(pk=key).first() if key else None
    if account is None:
        raise FrontEndError(404, "account_not_found", "This user has no such Google account.")
    return account


def require_user(user: User | None) -> None:
    """Check that a user is logged in.

    Raises:
        FrontEndError: if none is.
    """
    if user is None or not user.is_authenticated:
        raise FrontEndError(401, "login_required", "Log in to this site first.")


def describe_account(account: GoogleAccount) -> dict[str, Any]:
    """Return an account as data that can be serialized as JSON."""
    return {
        "id": str(account.pk),
        "email": account.email,
        "name": account.name,
        "picture": account.picture,
        "label": account.label,
        "client": account.client,
        "granted_scopes": [
            {"scope": scope, "description": describe_scope(scope)}
            for scope in account.granted_scopes
        ],
        "status": "active" if account.is_active else "needs_reauthorization",
        "reason": "" if account.is_active else account.status_reason or "no_refresh_token",
        "is_default": account.is_default,
        "linked_at": _write_time(account.linked_at),
        "ends_at": _write_time(account.ends_at) if account.ends_at else None,
    }


def _write_time(time: datetime) -> str:
    aware = time if timezone.is_aware(time) else timezone.make_aware(time)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_label(data: Mapping[str, Any]) -> str | None:
    value = data.get("label")
    if value is None:
        return None
    if not isinstance(value, str):
        raise refuse_field("label", "is not a string")
    label = clean_label(value)
    if len(label) > _LONGEST_LABEL:
        raise refuse_field("label", f"is longer than {_LONGEST_LABEL} characters")
    return label
