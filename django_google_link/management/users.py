"""The user that an argument names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management import CommandError


def user_named(name: str) -> Any:
    """Return the user of this name.

    Raises:
        CommandError: when there is none.
    """
    model = get_user_model()
    try:
        return model._default_manager.get(**{model.USERNAME_FIELD: name})
    except (model.DoesNotExist, ValidationError, ValueError):
        raise CommandError(f"There is no user {name!r}.") from None
