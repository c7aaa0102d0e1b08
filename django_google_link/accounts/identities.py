"""The identity of a linked account, as a later ID token states it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router

from ..models import GoogleAccount
from .database_errors import store_as_taken
from .texts import list_simpler_identities
from .token_fields import IDENTITY_FIELDS, apply_identity
from .transactions import run_in_transaction

if TYPE_CHECKING:
    from ..oauth.id_token import Identity


def save_identity(account: GoogleAccount, identity: Identity) -> None:
    """Store the claims of a verified ID token: the address of an account may change.

    The ``sub`` stays the same, and nothing else in the row is touched.
    """
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    rows = rows.filter(pk=account.pk, sub=identity.sub)

    def save(form: Identity) -> Identity:
        values = {name: getattr(form, name) for name in IDENTITY_FIELDS}
        run_in_transaction(lambda: rows.update(**values), using=rows.db)
        return form

    apply_identity(account, store_as_taken(list_simpler_identities(identity), save))


def has_identity(account: GoogleAccount, identity: Identity) -> bool:
    """Return whether the row agrees with an ID token."""
    return all(getattr(account, name) == getattr(identity, name) for name in IDENTITY_FIELDS)
