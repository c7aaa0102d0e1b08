"""System checks: they report errors in the configuration before users meet them.

Each is imported when it runs, which a server does not do at its start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string

_Check = Callable[..., list[CheckMessage]]


def _import_late(name: str) -> _Check:
    def check(**kwargs: Any) -> list[CheckMessage]:
        messages: list[CheckMessage] = import_string(f"{__name__}.{name}")(**kwargs)
        return messages

    return check


_CHECKS = {
    _import_late("databases.check_driver"): Tags.database,
    _import_late("databases.check_isolation"): Tags.database,
    _import_late("installation.check_installation"): Tags.urls,
    _import_late("mistakes.check_mistakes"): Tags.security,
    _import_late("settings.check_settings"): Tags.security,
    _import_late("tenants.check_tables_of_tenants"): Tags.models,
    _import_late("tokens.check_stored_keys"): Tags.database,
    _import_late("views.check_views"): Tags.urls,
}
_CHECKS_FOR_DEPLOYMENT = {
    _import_late("deployment.check_deployment"): Tags.security,
    _import_late("settings.check_wrapped_keys"): Tags.security,
}


def register_checks() -> None:
    """Have Django run these checks. If called again, it changes nothing."""
    for check, tag in _CHECKS.items():
        register(check, tag)
    for check, tag in _CHECKS_FOR_DEPLOYMENT.items():
        register(check, tag, deploy=True)
