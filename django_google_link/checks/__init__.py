"""System checks: what is wrong with the set-up, before a user finds out."""

from . import databases, settings, site, tokens

__all__ = ["databases", "settings", "site", "tokens"]
