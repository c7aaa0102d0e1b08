"""Check messages with the ids of this app."""

from __future__ import annotations

from django.core.checks import CheckMessage, Error, Warning

NAMESPACE = "django_google_link"


def error(id: str, message: str, *, hint: str) -> CheckMessage:
    """Return an error: the app cannot work."""
    return Error(message, hint=hint, id=f"{NAMESPACE}.{id}")


def warning(id: str, message: str, *, hint: str) -> CheckMessage:
    """Return a warning: the app works, but something is unsafe or will fail in some cases."""
    return Warning(message, hint=hint, id=f"{NAMESPACE}.{id}")
