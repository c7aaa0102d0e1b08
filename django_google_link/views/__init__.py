"""The pages of the app, and the address to which Google sends security events."""

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
