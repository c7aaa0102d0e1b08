"""System checks: what is wrong with the set-up, before a user finds out."""

from . import settings, site, tokens

__all__ = ["settings", "site", "tokens"]
