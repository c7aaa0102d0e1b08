"""Outcomes: what became of each of many rows, as a choice with a label for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import TextChoices

Outcome = TypeVar("Outcome", bound=TextChoices)


def find_outcome(error: Exception, outcomes: Mapping[type[Exception], Outcome]) -> Outcome:
    """Return the outcome that a failure means.

    Args:
        error: of one of these types.
        outcomes: by type, the more special types first.
    """
    return next(outcome for kind, outcome in outcomes.items() if isinstance(error, kind))
