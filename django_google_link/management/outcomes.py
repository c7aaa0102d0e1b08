"""What commands on many rows share: a progress bar, Ctrl-C, and a summary."""

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
    """Run an operation with a progress bar, and print the number of each outcome.

    The summary is printed even if the operation is interrupted.

    Args:
        outcomes: runs the operation as it is iterated.
        kinds: all possible outcomes, in the order in which they are printed.
        total: the expected number of outcomes.
        stdout: the command's output.
        known: outcomes known beforehand.

    Raises:
        CommandError: on Ctrl-C, with the exit code 130 that shells use.
    """
    counts = Counter[Outcome](known or {})
    try:
        # Closed explicitly rather than by garbage collection, to finish the work in progress.
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
    """Exit with code 1 if a later run may improve some of the outcomes.

    Args:
        counts: the number of each outcome.
        retryable: the outcomes that a later run may improve.
        message: the message, with ``{count}`` in place of their number.

    Raises:
        CommandError: if there are any.
    """
    problems = sum(counts[outcome] for outcome in retryable)
    if problems:
        raise CommandError(message.format(count=f"{problems:,}"))


def show_progress(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Show a progress bar if the output is a terminal."""
    from tqdm import tqdm

    return iter(tqdm(outcomes, total=total, disable=None, leave=False))
