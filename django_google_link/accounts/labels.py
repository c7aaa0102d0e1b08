"""Users' labels for their accounts."""

from __future__ import annotations

from django.db import router

from ..models import GoogleAccount, HistoryEvent
from . import history
from .database_errors import store_as_taken
from .texts import keep_printable, list_simpler_texts
from .transactions import run_in_transaction


def clean_label(text: str) -> str:
    """Return a label as one line of printable characters, fit for lists, logs and terminals."""
    return keep_printable(" ".join(text.split())).strip()


def store_label(account: GoogleAccount, label: str) -> str:
    """Store a label, without the characters that the database cannot represent.

    Args:
        account: the account; its row is updated, the object is not.
        label: the cleaned label.

    Returns:
        The label as stored.
    """
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount)).filter(pk=account.pk)

    # Update this column only: a refresh may be writing the others.
    def store(form: str) -> str:
        def write() -> None:
            if rows.update(label=form):
                history.record(account, HistoryEvent.LABELLED, using=rows.db, removed=not form)

        run_in_transaction(write, using=rows.db)
        return form

    return store_as_taken(list_simpler_texts(label), store)
