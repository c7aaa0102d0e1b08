"""The app's pages, and the receiver of Google's security events."""

from .accounts import accounts, label, make_default, unlink
from .linking import authorize, callback, failed
from .security_events import security_events

__all__ = [
    "accounts",
    "authorize",
    "callback",
    "failed",
    "label",
    "make_default",
    "security_events",
    "unlink",
]
