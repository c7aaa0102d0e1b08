"""What all commands share that work on many rows: a progress bar, Ctrl-C, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar

from django.core.management import CommandError
from django.core.management.base import OutputWrapper
from django.db.models import TextChoices

Outcome = TypeVar("Outcome", bound=TextChoices)


def count_outcomes(
    outcomes: Generator[Outcome, None, None],
    *,
    kinds: type[Outcome],
    total: int,
    stdout: OutputWrapper,
    known: Mapping[Outcome, int] | None = None,
) -> Counter[Outcome]:
    """Do the work under a progress bar, and print how often each outcome came.

    However it ends, what was done is told.

    Args:
        outcomes: does the work as it is advanced.
        kinds: all that may come, in the order in which they are printed.
        total: how many are expected.
        stdout: the command's.
        known: outcomes that are known beforehand.

    Raises:
        CommandError: on Ctrl-C, with the exit code that shells give it.
    """
    counts = Counter[Outcome](known or {})
    try:
        # Closed at once, not when it is collected: work that is under way comes to its end first.
        with closing(outcomes):
            for outcome in show_progress(outcomes, total):
                counts[outcome] += 1
    except KeyboardInterrupt:
        raise CommandError(
            "Stopped. What was processed so far is saved; run the command again for the rest.",
            returncode=130,
        ) from None
    finally:
        for kind in kinds:
            if counts[kind]:
                stdout.write(f"{counts[kind]:>8,} {kind.label}")
    return counts


def fail_if_retryable(
    counts: Counter[Outcome], retryable: Collection[Outcome], message: str
) -> None:
    """End with exit code 1 if something may go better another time.

    Args:
        counts: of the outcomes.
        retryable: those that may go better.
        message: with a place for their ``{count}``.

    Raises:
        CommandError: if one of them came.
    """
    problems = sum(counts[outcome] for outcome in retryable)
    if problems:
        raise CommandError(message.format(count=f"{problems:,}"))


def show_progress(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Show a bar on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    return iter(tqdm(outcomes, total=total, disable=None, leave=False))
