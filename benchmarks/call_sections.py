"""What ``results.md`` says of calls of an API that is far away, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figures = Mapping[str, Any]

WAYS = {
    "floor": "the floor: a kept `requests` session",
    "our_session": "django-google-link, `request.google.session()`",
    "floor_of_services": "googleapiclient's `build_from_document`, connection kept",
    "our_service": "django-google-link, `request.google.service()`",
    "allauth": "django-allauth, googleapiclient's `build`",
    "social_auth": "social-auth, googleapiclient's `build`",
}


def describe_calls(found: Figures) -> list[str]:
    """Return the section of row 8."""
    lines = [
        f"## {found['views']} views with one call of an API each, over TLS, 20 ms away",
        "",
        "A page that asks Google for one thing takes no longer than the way there and back: a",
        "connection to Google is opened once, and not for each page.",
        "",
        "Time and CPU above those of an empty view, beside the floor: one query, and a `requests`",
        "session that is kept. For a service googleapiclient makes its methods in each view, which",
        "nobody who uses it is spared: hence its own least as well. Connections are those of",
        f"{found['views']} views in {found['threads']} threads. Aim: at most 1.15, and one",
        "connection a thread.",
        "",
        "| | time | CPU | connections |",
        "|---|---|---|---|",
    ]
    for way, title in WAYS.items():
        time, cpu = (compare(found, way, figure) for figure in ("wall", "cpu"))
        lines.append(f"| {title} | {time:.2f} | {cpu:.2f} | {found[way]['connections']} |")
    return [*lines, ""]


def compare(found: Figures, way: str, figure: str) -> float:
    """Return what a way takes beside the floor, both without the view itself."""
    empty: float = found["empty"][figure]
    ratio: float = (found[way][figure] - empty) / (found["floor"][figure] - empty)
    return ratio


def describe_refreshes(found: Mapping[str, Figures]) -> list[str]:
    """Return the section of row 9: the figures of each database."""
    lines = [
        "## `google_link_refresh` with 16 workers on 2,000 accounts, over TLS",
        "",
        "Accounts stay ready for use while nobody looks, at the pace of Google and not of new",
        "connections.",
        "",
        "The token endpoint takes 100 ms and is 20 ms away; beside 2,000 × 120 ms ÷ 16. Aim: at",
        "most 1.2, and 16 connections. Beside it google-auth, as django-allauth's users call it in",
        "a job, in 16 threads too.",
        "",
        "| database | | time | CPU for each beside ours | accounts for each connection |",
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
        "## One service that 16 threads share, 1,600 calls",
        "",
        "A worker with threads may make its service once, and nobody gets another one's answer.",
        "",
        "Beside a client of googleapiclient's for each call, since its own may not be shared. Aim:",
        "at most a third of the time, and no failure.",
        "",
        "| | time | CPU | failures | connections |",
        "|---|---|---|---|---|",
    ]
    for title, one in (("django-google-link, shared", shared), ("a client for each call", alone)):
        time, cpu = (f"1/{alone[figure] / one[figure]:.1f}" for figure in ("wall", "cpu"))
        lines.append(f"| {title} | {time} | {cpu} | {one['failed']} | {one['connections']:,} |")
    return [*lines, ""]
