"""The table of providers and journeys, as it is printed and as it stands in the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.providers.providers import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "tried-providers.md"

JOURNEYS = (
    "linked",
    "used",
    "refreshed",
    "refused",
    "ended there",
    "linked again",
    "second account",
    "unlinked",
    "own flow",
)


def lines_of_table(outcomes: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield the table's lines, in Markdown."""
    yield f"| provider | {' | '.join(JOURNEYS)} |"
    yield "|---" * (1 + len(JOURNEYS)) + "|"
    for name in KINDS:
        cells = [outcomes.get((name, journey), "not run") for journey in JOURNEYS]
        yield f"| {name} | {' | '.join(cells)} |"
