"""Finding the user or account that an argument names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management import CommandError

from ..operations.subjects import Subject, find_subjects

_KINDS = {
    "name": "name of a user",
    "pk": "primary key of a user",
    "sub": "subject of a Google account",
}


def user_named(name: str) -> Any:
    """Return the user with this name.

    Raises:
        CommandError: when there is none.
    """
    model = get_user_model()
    try:
        return model._default_manager.get(**{model.USERNAME_FIELD: name})
    except (model.DoesNotExist, ValidationError, ValueError):
        raise CommandError(f"There is no user {name!r}.") from None


def subject_named(name: str, *, ways: tuple[str, ...], by: str | None) -> Subject:
    """Return the subject that a name stands for.

    Args:
        name: the name of a user, a primary key, or a subject identifier.
        ways: the ways in which it may be meant.
        by: the way in which it is meant, if that was given.

    Raises:
        CommandError: when nothing matches, or several subjects do.
    """
    found = find_subjects(name, ways=(by,) if by else ways)
    if not found:
        kinds = [_KINDS[way] for way in ((by,) if by else ways)]
        raise CommandError(
            f"Nothing is stored about {name!r}: it is not the {', nor the '.join(kinds)}."
        )
    if len(found) > 1:
        meanings = " and ".join(
            f"the {_KINDS[way]} (--by {way})" for meant in found.values() for way in meant[:1]
        )
        raise CommandError(f"{name!r} is ambiguous. It is {meanings}.")
    [subject] = found
    return subject
