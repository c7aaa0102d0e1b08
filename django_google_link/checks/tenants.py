"""A check of projects in which each tenant has its own schema."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage

from ..conf.django import django_conf
from ..models import GoogleAccount
from .messages import error


def check_tables_of_tenants(**kwargs: Any) -> list[CheckMessage]:
    """Check that tenants do not share links unless they share users."""
    users, links = get_user_model()._meta.app_config.name, GoogleAccount._meta.app_config.name
    tenants_apps = django_conf.tenants_apps
    if not _has_app(users, tenants_apps) or _has_app(links, tenants_apps):
        return []
    return [
        error(
            "E066",
            f"All tenants share the tables of {links}, but each has its own users: users of two "
            "tenants with the same primary key would share their links.",
            hint=f"Add {links!r} to TENANT_APPS, next to {users!r}.",
        )
    ]


def _has_app(name: str, apps: Collection[str]) -> bool:
    """Return whether an app is listed, by its name or by its ``AppConfig``."""
    return any(app == name or app.startswith(f"{name}.apps.") for app in apps)
