"""Run all benchmarks on this machine, and write the results: ``make bench``.

``results.md`` contains the figures, and ``results.svg`` those of views as bars.
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
    """Return the figures of views as a bar chart."""
    names = {"floor": "the baseline", "ours": "django-google-link", **PEERS}
    ways = {
        "floor": "the baseline",
        "our_session": "django-google-link, session",
        "our_service": "django-google-link, service",
        "allauth": "django-allauth",
        "social_auth": "social-auth",
    }
    return draw_bars(
        {
            "A view's authorized client, with a fresh token: time relative to the baseline": {
                label: fresh[name] / fresh["floor"] for name, label in names.items()
            },
            "A view's API call over TLS, 20 ms away: time relative to the baseline": {
                label: call_sections.compare(calls, way, "wall") for way, label in ways.items()
            },
            "The same: CPU time relative to the baseline": {
                label: call_sections.compare(calls, way, "cpu") for way, label in ways.items()
            },
        },
        ours=PEERS["ours"],
    )


def _require_postgresql() -> None:
    """Exit with an explanation before anything is measured, if PostgreSQL is missing."""
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
        "# Benchmark results",
        "",
        f"Measured by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine}; {versions}.",
        "All times are ratios, because absolute times differ between machines. *The baseline* is",
        "the least code that does the same with Google's libraries.",
        "",
    ]


def _far_refreshes() -> list[str]:
    found = {database: _run("many_accounts_far_away", database) for database in DATABASES}
    return call_sections.describe_refreshes(found)


def _sharing() -> list[str]:
    return call_sections.describe_sharing(_run("shared_service", "postgresql"))


def _fresh(runs: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "## Creating an authorized Drive client in a view, with a fresh token",
        "",
        "This is what a page pays to be able to call Google, before it makes a call.",
        "",
        "The time is relative to the baseline: one query that uses an index, and",
        "`build_from_document` on a parsed document. Target: at most 1.10, with one query.",
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
        "## 24 callers in 6 processes when a token expires",
        "",
        "When a token expires under load, users wait for one refresh, and Google receives one",
        "request.",
        "",
        "The token endpoint takes 100 ms. The table shows the number of token requests, and the",
        "time of the slowest caller relative to those 100 ms (median of five runs). Target: one",
        "request; at most 2 on PostgreSQL, and 4 on SQLite.",
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
        "## `google_link_refresh` with 16 workers and 2,000 expiring accounts",
        "",
        "The command keeps tokens of absent users fresh, about as fast as Google responds.",
        "",
        "The token endpoint takes 100 ms. The time is relative to 2,000 × 100 ms ÷ 16. Target: at",
        "most 1.3.",
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
        "## Rotating the encryption key of 20,000 accounts on PostgreSQL",
        "",
        "A key can be rotated while the site runs, and nobody has to link again.",
        "",
        "One in ten accounts has a valid access token. `google_link_rotate_keys` is compared with",
        "a `save()` of each account. Another worker stores refreshes at the same time, and the",
        "table shows how many of these were lost (median of three runs). Target: 8 times as fast,",
        "none lost.",
        "",
        "| | time | concurrent refreshes | lost |",
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
        "## Starting a process",
        "",
        "Commands and workers that do not use Google start about as fast as without the app.",
        "",
        "`django.setup()` with the app, compared with a site that only has the admin. Target: at",
        "most 15 ms more, and no module from Google's libraries or for HTTP.",
        "",
        "| time | increase | with the garbage collector off | modules | Google's or HTTP |",
        "|---|---|---|---|---|",
        f"| {found['ratio']:.2f} | {found['milliseconds']:.0f} ms "
        f"| {found['milliseconds_without_gc']:.0f} ms | {found['modules']} | {found['heavy']} |",
        "",
    ]


def _million() -> list[str]:
    found = _run("million_accounts", "postgresql")
    titles = {
        "list": "admin: the list",
        "lost": "admin: the filter for accounts to link again, one in ten",
        "search": "admin: a search for an e-mail address",
        "status": "`google_link_status`, in a new process",
    }
    lines = [
        "## 1,000,000 accounts on PostgreSQL",
        "",
        "The admin stays as fast when the site grows.",
        "",
        "The time is relative to 1,000 accounts. Target: at most 2.",
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
        "A worker can keep a service for each of its users without using much memory.",
        "",
        "Relative to `discovery.build`. Target: at most 1/20.",
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
        "## Deleting 50,000 users on PostgreSQL",
        "",
        "This is how much longer it takes to clean up a site, or to remove a tenant.",
        "",
        "The users are deleted by a queryset. Each has a link, whose tokens move to the outbox.",
        "The time is relative to the same without the app (median of three runs). Target: at most",
        "2.5.",
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
        "## Completing 1,000 links from a front end, on PostgreSQL",
        "",
        "A single-page app waits no longer than a page of the site.",
        "",
        "`links/complete/` with a ticket and PKCE, compared with the callback of the redirect",
        "flow: the time from the response of the provider to the stored account. Target: at most",
        "1.2.",
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
        "## An outage of one hour with 10,000 accounts, on PostgreSQL",
        "",
        "The site does not make an outage of Google worse, and works again soon after it.",
        "",
        "Three views per second need a token, and `google_link_refresh --expiring-within 15` runs",
        "every ten minutes, in simulated time. Target: at most 200 token requests. The table also",
        "shows how long after the outage a view still received no token, and the share of all",
        "accounts that was refreshed in the busiest minute of the following two hours, with a",
        "leeway that differs between accounts, and with the same leeway for all of them.",
        "",
        "| Google | token requests | of these before the circuit breaker opened "
        "| views without a token | works again after | busiest minute | with the same leeway |",
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
        "## A page that does not use Google, while Google does not respond",
        "",
        "While Google does not respond, the rest of the site keeps working.",
        "",
        "gunicorn runs with four synchronous workers, on PostgreSQL. One user per second needs a",
        "new token from Google, and `HTTP_TIMEOUT` is 10 seconds. Target: at most 0.2 seconds. The",
        f"circuit breaker opened after {found['opened_after']:.0f} seconds, and Google received",
        f"{found['requests']} requests in 90 seconds.",
        "",
        "| the page's delay, in seconds | median | 95 % | maximum |",
        "|---|---|---|---|",
    ]
    titles = {
        "first": "the first 30 seconds",
        "afterwards": "the minute after that",
    }
    for name, title in titles.items():
        delays = found[name]
        lines.append(
            f"| {title} | {delays['median']:.2f} | {delays['p95']:.2f} | {delays['worst']:.2f} |"
        )
    return [*lines, ""]


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
