"""The sections of ``results.md`` about calls of a distant API, and the figures for its chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figures = Mapping[str, Any]

WAYS = {
    "floor": "the baseline: a `requests` session that is kept",
    "our_session": "django-google-link, `request.google.session()`",
    "floor_of_services": "googleapiclient's `build_from_document`, with a kept connection",
    "our_service": "django-google-link, `request.google.service()`",
    "allauth": "django-allauth, googleapiclient's `build`",
    "social_auth": "social-auth, googleapiclient's `build`",
}


def describe_calls(found: Figures) -> list[str]:
    """Return the section of row 8."""
    lines = [
        f"## {found['views']} views with one API call each, over TLS, 20 ms away",
        "",
        "A page that makes one call to Google takes one round trip: a connection to Google is",
        "opened once, not for each page.",
        "",
        "Time and CPU time exceeding those of an empty view, relative to the baseline: one query,",
        "and a `requests` session that is kept. googleapiclient creates the methods of an API for",
        "each service, as the baseline with googleapiclient shows; here they are created once in a",
        f"process. Connections are those of {found['views']} views in {found['threads']} threads.",
        "Target: at most 1.15, and one connection per thread.",
        "",
        "| | time | CPU | connections |",
        "|---|---|---|---|",
    ]
    for way, title in WAYS.items():
        time, cpu = (compare(found, way, figure) for figure in ("wall", "cpu"))
        lines.append(f"| {title} | {time:.2f} | {cpu:.2f} | {found[way]['connections']} |")
    return [*lines, ""]


def compare(found: Figures, way: str, figure: str) -> float:
    """Return a figure relative to the baseline, both without the empty view."""
    empty: float = found["empty"][figure]
    ratio: float = (found[way][figure] - empty) / (found["floor"][figure] - empty)
    return ratio


def describe_refreshes(found: Mapping[str, Figures]) -> list[str]:
    """Return the section of row 9: the figures of each database."""
    lines = [
        "## `google_link_refresh` with 16 workers and 2,000 accounts, over TLS",
        "",
        "Refreshing many accounts takes as long as Google's responses; connections are reused.",
        "",
        "The token endpoint takes 100 ms and is 20 ms away. The time is relative to",
        "2,000 × 120 ms ÷ 16. Target: at most 1.2, and 16 connections. It is compared with",
        "google-auth as users of django-allauth call it in a job, also in 16 threads.",
        "",
        "| database | | time | CPU per account, relative to ours | accounts per connection |",
        "|---|---|---|---|---|",
    ]
    titles = {"ours": "django-google-link", "google_auth": "google-auth"}
    for database, figures in found.items():
        for name, title in titles.items():
            one = figures[name]
            cpu = one["cpu"] / figures["ours"]["cpu"]
            accounts = 1 / one["connections"]
            lines.append(
                f"| {database} | {title} | {one['ratio']:.2f} | {cpu:.1f} | {accounts:.0f} |"
            )
    return [*lines, ""]


def describe_sharing(found: Mapping[str, Figures]) -> list[str]:
    """Return the section of row 10."""
    shared, alone = found["shared"], found["alone"]
    lines = [
        "## 1,600 calls through one service that 16 threads share",
        "",
        "A threaded worker can build its service once, and each call gets its own response.",
        "",
        "Compared with a new googleapiclient client for each call, because those cannot be shared",
        "between threads. Target: at most a third of the time, and no failure.",
        "",
        "| | time | CPU | failures | connections |",
        "|---|---|---|---|---|",
    ]
    for title, one in (("django-google-link, shared", shared), ("a client per call", alone)):
        time, cpu = (f"1/{alone[figure] / one[figure]:.1f}" for figure in ("wall", "cpu"))
        lines.append(f"| {title} | {time} | {cpu} | {one['failed']} | {one['connections']:,} |")
    return [*lines, ""]
