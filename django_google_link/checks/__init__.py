"""System checks: what is wrong with the set-up, before a user finds out."""

from . import databases, mistakes, settings, site, tenants, tokens, views

__all__ = ["databases", "mistakes", "settings", "site", "tenants", "tokens", "views"]
