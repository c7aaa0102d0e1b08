"""The pages of the app."""

from .accounts import accounts, label, make_default, unlink
from .linking import authorize, callback

__all__ = ["accounts", "authorize", "callback", "label", "make_default", "unlink"]
