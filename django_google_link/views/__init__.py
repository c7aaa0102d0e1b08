"""The pages of the app."""

from .accounts import accounts, label, make_default, unlink
from .linking import authorize, callback, failed

__all__ = ["accounts", "authorize", "callback", "failed", "label", "make_default", "unlink"]
