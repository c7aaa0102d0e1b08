"""A summary of all schedules at the end of the run, even if several processes ran them."""

from __future__ import annotations

from typing import Any

COUNTS = ("schedules", "deadlocks", "errors of the caller's own", "right answers", "faults")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the counts of each test, and their sums."""
    counted = [
        (report.nodeid.partition("[")[2].rstrip("]"), dict(report.user_properties))
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and COUNTS[0] in dict(report.user_properties)
    ]
    if not counted:
        return
    for name, counts in sorted(counted):
        terminalreporter.write_line(f"{name}: {_describe(counts)}")
    sums = {count: sum(counts[count] for _, counts in counted) for count in COUNTS}
    terminalreporter.write_line(f"In all: {_describe(sums)}")


def _describe(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[count]} {count}" for count in COUNTS)
