"""The pages of the app."""

from .accounts import accounts, make_default, unlink
from .linking import authorize, callback

__all__ = ["accounts", "authorize", "callback", "make_default", "unlink"]
