"""Whose tables are whose, where each tenant has a schema of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Tags, register

from ..conf.django import django_conf
from ..models import GoogleAccount
from .messages import error


@register(Tags.models)
def check_tables_of_tenants(**kwargs: Any) -> list[CheckMessage]:
    """Check that links are not shared by tenants whose users are not."""
    users, links = get_user_model()._meta.app_config.name, GoogleAccount._meta.app_config.name
    tenants_apps = django_conf.tenants_apps
    if not _has_app(users, tenants_apps) or _has_app(links, tenants_apps):
        return []
    return [
        error(
            "E066",
            f"All tenants share the tables of {links}, and each has users of its own: one tenant's "
            "user would have the links of another tenant's user of the same number.",
            hint=f"Put {links!r} into TENANT_APPS, beside {users!r}.",
        )
    ]


def _has_app(name: str, apps: Collection[str]) -> bool:
    """Return whether an app is named, or its ``AppConfig``."""
    return any(app == name or app.startswith(f"{name}.apps.") for app in apps)
