"""Linked accounts in Django's admin."""

from .accounts import GoogleAccountAdmin
from .history import HistoryEntryAdmin
from .revocations import PendingRevocationAdmin
from .security_events import SecurityEventAdmin

__all__ = [
    "GoogleAccountAdmin",
    "HistoryEntryAdmin",
    "PendingRevocationAdmin",
    "SecurityEventAdmin",
]
