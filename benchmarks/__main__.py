"""Run all of it on this machine in one go, and write it down: ``make bench``.

``results.md`` has the figures, and ``results.svg`` those of views as bars.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from . import call_sections
from .picture import draw_bars

RESULTS = Path(__file__).parent / "results.md"
PICTURE = RESULTS.with_suffix(".svg")
PACKAGES = (
    "django",
    "django-allauth",
    "social-auth-app-django",
    "google-api-python-client",
    "google-auth",
)
PEERS = {"ours": "django-google-link", "allauth": "django-allauth", "social_auth": "social-auth"}
DATABASES = ("postgresql", "sqlite")


def main() -> None:
    """Measure, print and write."""
    _require_postgresql()
    lines = [*_heading()]
    fresh = {database: _run("view_with_a_fresh_token", database) for database in DATABASES}
    calls = _run("calls_from_views", "postgresql")
    for row in (
        lambda: _fresh(fresh),
        lambda: call_sections.describe_calls(calls),
        _far_refreshes,
        _sharing,
        _expiry,
        _many,
        _rotation,
        _start,
        _million,
        _memory,
        _outage,
        _beside,
        _deletion,
        _linking,
    ):
        section = row()
        print("\n".join(section), flush=True)
        lines += section
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    PICTURE.write_text(draw(fresh["postgresql"], calls), encoding="utf-8")
    print(f"Written to {RESULTS} and {PICTURE}.")


def draw(fresh: dict[str, Any], calls: dict[str, Any]) -> str:
    """Return the figures of views as bars."""
    names = {"floor": "the floor", "ours": "django-google-link", **PEERS}
    ways = {
        "floor": "the floor",
        "our_session": "django-google-link, session",
        "our_service": "django-google-link, service",
        "allauth": "django-allauth",
        "social_auth": "social-auth",
    }
    return draw_bars(
        {
            "A view's authorized client, its token fresh: time beside the floor": {
                label: fresh[name] / fresh["floor"] for name, label in names.items()
            },
            "A view's call over TLS, 20 ms away: time beside the floor": {
                label: call_sections.compare(calls, way, "wall") for way, label in ways.items()
            },
            "The same: CPU beside the floor": {
                label: call_sections.compare(calls, way, "cpu") for way, label in ways.items()
            },
        },
        ours=PEERS["ours"],
    )


def _require_postgresql() -> None:
    """Stop with what is missing, before anything is measured."""
    result = subprocess.run(
        [sys.executable, "-c", "from django.db import connection as c; c.ensure_connection()"],
        env={
            **os.environ,
            "BENCH_DATABASE": "postgresql",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise SystemExit(
            "make bench needs PostgreSQL, with a role google_link that may create databases: see "
            f"CONTRIBUTING.md.\n{result.stderr.rpartition('OperationalError: ')[2].strip()}"
        )


def _heading() -> list[str]:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    machine = f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    return [
        "# What was measured",
        "",
        f"By `make bench`, on {datetime.now(UTC):%Y-%m-%d}: {machine}; {versions}.",
        "Ratios only: absolute times do not travel between machines.",
        "",
    ]


def _far_refreshes() -> list[str]:
    found = {database: _run("many_accounts_far_away", database) for database in DATABASES}
    return call_sections.describe_refreshes(found)


def _sharing() -> list[str]:
    return call_sections.describe_sharing(_run("shared_service", "postgresql"))


def _fresh(runs: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "## A view that needs an authorized Drive client, its token fresh",
        "",
        "What a page pays for being allowed to call Google, before it does.",
        "",
        "The time beside the floor: one query by an index, and `build_from_document` on a parsed",
        "document. Aim: at most 1.10, with one query.",
        "",
        "| database | django-google-link | queries | django-allauth | social-auth |",
        "|---|---|---|---|---|",
    ]
    for database, found in runs.items():
        ours, allauth, social = (f"{found[name] / found['floor']:.2f}" for name in PEERS)
        lines.append(f"| {database} | {ours} | {found['queries']} | {allauth} | {social} |")
    return [*lines, ""]


def _expiry() -> list[str]:
    lines = [
        "## 24 callers in 6 processes, at the second in which the token has expired",
        "",
        "When a token ends under load, users wait for one refresh, and Google is not flooded.",
        "",
        "The token endpoint takes 100 ms. Token requests, and the slowest caller beside those",
        "100 ms, the median of five runs. Aim: one request; at most 2 on PostgreSQL, 4 on SQLite.",
        "",
        "| database | | token requests | slowest caller |",
        "|---|---|---|---|",
    ]
    for database in DATABASES:
        runs = [_run("callers_at_expiry", database) for _ in range(5)]
        for name, title in zip(runs[0], PEERS.values(), strict=True):
            requests = sorted({run[name]["requests"] for run in runs})
            slowest = median(run[name]["slowest"] for run in runs)
            counts = " to ".join(map(str, {requests[0], requests[-1]}))
            lines.append(f"| {database} | {title} | {counts} | {slowest:.1f} |")
    return [*lines, ""]


def _many() -> list[str]:
    lines = [
        "## `google_link_refresh` with 16 workers on 2,000 accounts that expire",
        "",
        "A command keeps tokens fresh for users who are away, about as fast as Google answers.",
        "",
        "The token endpoint takes 100 ms; beside 2,000 × 100 ms ÷ 16. Aim: at most 1.3.",
        "",
        "| database | token requests | time |",
        "|---|---|---|",
    ]
    for database in DATABASES:
        found = _run("many_accounts", database)
        lines.append(f"| {database} | {found['requests']:,} | {found['ratio']:.2f} |")
    return [*lines, ""]


def _rotation() -> list[str]:
    runs = [_run("key_rotation", "postgresql") for _ in range(3)]
    found = {name: median(run[name] for run in runs) for name in runs[0]}
    lines = [
        "## The encryption key of 20,000 accounts changed, on PostgreSQL",
        "",
        "A key can be changed on a site in use, without anybody having to link again.",
        "",
        "One in ten has an access token that lives. `google_link_rotate_keys` beside a `save()`",
        "for each account, and the refreshes that were lost while another worker stored them; the",
        "median of three runs. Aim: 8 times as fast, none lost.",
        "",
        "| | time | refreshes meanwhile | lost |",
        "|---|---|---|---|",
    ]
    for name, title in (("ours", "django-google-link"), ("save", "`save()`")):
        refreshed, lost = found[f"refreshed_by_{name}"], found[f"lost_by_{name}"]
        times = f"1/{found['save'] / found[name]:.1f}"
        lines.append(f"| {title} | {times} | {refreshed:,} | {lost:,} |")
    return [*lines, ""]


def _start() -> list[str]:
    found = _run("start_of_a_process", "sqlite")
    return [
        "## The start of a process",
        "",
        "Commands and workers that have nothing to do with Google start as fast as before.",
        "",
        "`django.setup()` with the app, beside a site that has the admin. Aim: at most 15 ms more,",
        "and no module of Google's or for HTTP.",
        "",
        "| time | more | with the garbage collector off | modules | Google's or for HTTP |",
        "|---|---|---|---|---|",
        f"| {found['ratio']:.2f} | {found['milliseconds']:.0f} ms "
        f"| {found['milliseconds_without_gc']:.0f} ms | {found['modules']} | {found['heavy']} |",
        "",
    ]


def _million() -> list[str]:
    found = _run("million_accounts", "postgresql")
    titles = {
        "list": "admin: the list",
        "lost": "admin: those that need to be linked again, one in ten",
        "search": "admin: a search for an e-mail address",
        "status": "`google_link_status`, a process of its own",
    }
    lines = [
        "## 1,000,000 accounts on PostgreSQL",
        "",
        "The pages that support looks at stay as fast when the site grows.",
        "",
        "The time beside the same with 1,000. Aim: at most 2.",
        "",
        "| | time |",
        "|---|---|",
    ]
    return [*lines, *(f"| {title} | {found[name]:.2f} |" for name, title in titles.items()), ""]


def _memory() -> list[str]:
    found = _run("memory_of_services", "sqlite")
    return [
        "## Memory of 1,000 service objects",
        "",
        "A worker may hold a service for each of its users and does not grow for it.",
        "",
        "Beside `discovery.build`. Aim: at most 1/20.",
        "",
        f"1/{found['allauth'] / found['ours']:.0f}",
        "",
    ]


def _deletion() -> list[str]:
    figures = {}
    for name in ("without", "with"):
        runs = [_run("deleted_users", "postgresql", bare=name) for _ in range(3)]
        figures[name] = {key: median(run[key] for run in runs) for key in runs[0]}
    without, found = figures["without"], figures["with"]
    return [
        "## 50,000 users deleted on PostgreSQL",
        "",
        "By a queryset, with a link each, whose tokens go to the outbox; beside the same without",
        "the app. The median of three runs each. Whoever cleans up a site, or loses a tenant,",
        "waits for it. Aim: at most 2.5 times.",
        "",
        "| | time | statements | memory |",
        "|---|---|---|---|",
        f"| without the app | 1 | {without['queries']:,.0f} | {without['megabytes']:.0f} MB |",
        f"| with it | {found['seconds'] / without['seconds']:.2f} | {found['queries']:,.0f} "
        f"| {found['megabytes']:.0f} MB |",
        "",
    ]


def _linking() -> list[str]:
    found = _run("links_completed", "postgresql")
    page, json_ = found["page"], found["json"]
    return [
        "## 1,000 links completed by a front end, on PostgreSQL",
        "",
        "By `links/complete/` with a ticket and PKCE, beside the callback of the redirect flow:",
        "from what Google has sent back to the account. An app of its own waits no longer than a",
        "page of the site's. Aim: at most 1.2 times.",
        "",
        "| | time | CPU | statements |",
        "|---|---|---|---|",
        f"| the callback | 1 | 1 | {page['queries']} |",
        f"| `links/complete/` | {json_['wall'] / page['wall']:.2f} "
        f"| {json_['cpu'] / page['cpu']:.2f} | {json_['queries']} |",
    ]


def _outage() -> list[str]:
    found = _run("outage_of_an_hour", "postgresql")
    lines = [
        "## An hour without Google at 10,000 accounts, on PostgreSQL",
        "",
        "The site does not add to an outage of Google's, and works again soon after it.",
        "",
        "Three views a second need a token, and `google_link_refresh --expiring-within 15` runs",
        "every ten minutes; the time is moved. Aim: at most 200 token requests. Then, how long",
        "after the end a view still got no token; and of the two hours that follow the share of",
        "all accounts that is refreshed in the busiest minute, beside the same with one leeway for",
        "all.",
        "",
        "| Google | token requests | until nobody asked any more | views without a token "
        "| works again after | busiest minute | with one leeway |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, report in found.items():
        refused = sum(report["refused"].values()) / report["views"]
        lines.append(
            f"| {name} | {report['requests']} | {report['requests_until_open']} | {refused:.0%} "
            f"| {report['recovered_after']} s | {report['busiest_minute']:.0%} "
            f"| {report['busiest_minute_with_one_leeway']:.0%} |"
        )
    return [*lines, ""]


def _beside() -> list[str]:
    found = _run("page_beside", "postgresql")
    lines = [
        "## A page that has nothing to do with Google, while Google hangs",
        "",
        "While Google hangs, the rest of the site goes on.",
        "",
        "gunicorn with four workers that serve one request at a time each, on PostgreSQL; one user",
        "a second needs a token that only Google can give, and `HTTP_TIMEOUT` is 10 seconds. Aim:",
        "at most 0.2 seconds as soon as the circuit breaker is open. It opened after "
        f"{found['opened_after']:.0f} seconds,",
        f"and Google was asked {found['requests']} times in 90.",
        "",
        "| the page's delay, in seconds | median | 95 % | the worst |",
        "|---|---|---|---|",
    ]
    titles = {
        "first": "the first half minute",
        "afterwards": "the minute after it",
        "once_open": "since the breaker was open",
    }
    for name, title in titles.items():
        delays = found[name]
        lines.append(
            f"| {title} | {delays['median']:.2f} | {delays['p95']:.2f} | {delays['worst']:.2f} |"
        )
    return lines


def _run(row: str, database: str, *, bare: str = "") -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.rows", row],
        env={**os.environ, "BENCH_DATABASE": database, "BENCH_BARE": bare},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
