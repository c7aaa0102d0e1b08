"""Searching for users."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError


def find_users(name: str) -> list[Any]:
    """Return the primary keys of the users with this name: at most one."""
    model = get_user_model()
    field: Any = model._meta.get_field(model.USERNAME_FIELD)
    try:
        value = field.to_python(name)
    except (ValidationError, ValueError):
        return []
    users = model._default_manager.filter(**{model.USERNAME_FIELD: value})
    return list(users.values_list("pk", flat=True))
