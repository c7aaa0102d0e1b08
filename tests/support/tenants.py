"""The two tenants of the site with django-tenants, and its processes."""

from __future__ import annotations

import json
import os
from typing import Any

from django.conf import settings
from django.db import connection

from django_google_link.models import GoogleAccount

NAMES = ["blue", "red"]


def site_environment(**order: Any) -> dict[str, str]:
    """Return the environment for a process of the same site."""
    order |= {
        "DATABASE": {"NAME": connection.settings_dict["NAME"]},
        "GOOGLE_LINK": settings.GOOGLE_LINK,
    }
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
        "TENANTS_SITE": json.dumps(order),
    }


def accounts_of(name: str) -> list[GoogleAccount]:
    """Return the accounts that a tenant sees."""
    connection.set_schema(name)
    return list(GoogleAccount.objects.order_by("email"))
