"""System checks: they report errors in the configuration before users meet them."""

from . import databases, deployment, installation, mistakes, settings, tenants, tokens, views

__all__ = [
    "databases",
    "deployment",
    "installation",
    "mistakes",
    "settings",
    "tenants",
    "tokens",
    "views",
]
