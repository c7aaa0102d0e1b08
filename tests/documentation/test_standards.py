"""The tests that a page names are there."""

from __future__ import annotations

import re

from tests.documentation.pages import ROOT, text_of


def test_tests_that_show_it_are_there() -> None:
    """By the names that they have now."""
    named = set(re.findall(r"`(test_\w+)`", text_of("explanation/standards")))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    assert named - there == set()
    assert len(named) > 20
