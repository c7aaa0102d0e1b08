"""Linked accounts in Django's admin."""

from .accounts import GoogleAccountAdmin
from .revocations import PendingRevocationAdmin

__all__ = ["GoogleAccountAdmin", "PendingRevocationAdmin"]
