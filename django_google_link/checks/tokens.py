"""Checks that the keys of stored tokens are configured: ``manage.py check --database default``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import DatabaseError, router

from ..encryption.keyring import list_configured_keys
from ..models import GoogleAccount
from .messages import warning


def check_stored_keys(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that every key that stored tokens need is configured."""
    if not list_configured_keys():
        return []  # Another check reports missing or invalid keys.
    return [message for alias in databases or () for message in _check_database(alias)]


def _check_database(alias: str) -> Iterator[CheckMessage]:
    from ..operations.status import read_overview

    if not router.allow_migrate_model(alias, GoogleAccount):
        return
    try:
        counts = read_overview(using=alias).unknown_keys
    except DatabaseError:
        return  # The tables do not exist yet.
    for key, count in counts.items():
        yield warning(
            "W007",
            f"The key {key}, which is not configured, is needed for {count:,} of the stored "
            "tokens.",
            hint="Add it back to ENCRYPTION_KEYS, after the others, until "
            "google_link_rotate_keys reports that 0 are left.",
        )
