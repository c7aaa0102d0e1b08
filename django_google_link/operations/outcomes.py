"""Outcomes of bulk operations, as choices with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import TextChoices

Outcome = TypeVar("Outcome", bound=TextChoices)


def find_outcome(error: Exception, outcomes: Mapping[type[Exception], Outcome]) -> Outcome:
    """Return the outcome for an exception.

    Args:
        error: an instance of one of these types.
        outcomes: outcomes by exception type, the more specific types first.
    """
    return next(outcome for kind, outcome in outcomes.items() if isinstance(error, kind))
