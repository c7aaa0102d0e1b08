"""Messages with the ids of this app."""

from __future__ import annotations

from django.core.checks import CheckMessage, Error, Warning

NAMESPACE = "django_google_link"


def error(id: str, message: str, *, hint: str) -> CheckMessage:
    """Return what keeps the app from working."""
    return Error(message, hint=hint, id=f"{NAMESPACE}.{id}")


def warning(id: str, message: str, *, hint: str) -> CheckMessage:
    """Return what will go wrong one day."""
    return Warning(message, hint=hint, id=f"{NAMESPACE}.{id}")
