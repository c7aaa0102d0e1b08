"""Which scopes imply others, and which stand together in a request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from django_google_link.conf.implied_scopes import IMPLIED_SCOPES
from django_google_link.conf.scope_rules import choose_scopes, implied_scopes, missing_scopes
from django_google_link.scopes import PREFIX, parse_scopes

ROOT = Path(__file__).parent.parent.parent

# These reach a part of the data, whatever methods accept them.
LIMITED = {
    "calendar.app.created",
    "calendar.events.freebusy",
    "calendar.events.owned",
    "calendar.events.owned.readonly",
    "calendar.events.public.readonly",
    "calendar.freebusy",
    "chat.bot",
    "chat.import",
    "drive.appdata",
    "drive.file",
    "drive.install",
    "drive.metadata.readonly",
    "gmail.metadata",
    "meetings.space.created",
}

scopes = st.sampled_from(sorted({*IMPLIED_SCOPES, *sum(IMPLIED_SCOPES.values(), ())}))


def full(names: str) -> tuple[str, ...]:
    """Return scopes in full by their short names."""
    return tuple(name if "://" in name else PREFIX + name for name in names.split())


def short(names: Any) -> str:
    """Return scopes by their short names."""
    return " ".join(name.removeprefix(PREFIX) for name in names)


@pytest.mark.slow
def test_table_is_what_the_discovery_documents_allow() -> None:
    """Each method that accepts the narrow scope accepts the wide one, as the tool finds."""
    drafted = subprocess.run(
        [sys.executable, "tools/draft_implied_scopes.py"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    lines = (line.split(": ") for line in drafted.splitlines())
    draft = {PREFIX + wide: full(narrow) for wide, narrow in lines}
    draft["https://mail.google.com/"] = draft[f"{PREFIX}https://mail.google.com/"]

    unfounded = {
        wide: set(narrow).difference(draft[wide]) for wide, narrow in IMPLIED_SCOPES.items()
    }

    assert not any(unfounded.values())


@pytest.mark.slow
def test_tool_prints_a_part() -> None:
    """What begins so."""
    drafted = subprocess.run(
        [sys.executable, "tools/draft_implied_scopes.py", "tasks"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout

    assert drafted == "tasks: tasks.readonly\n"


def test_limited_scopes_imply_nothing() -> None:
    """They reach a part, and what they would imply reaches more."""
    assert not {PREFIX + name for name in LIMITED}.intersection(IMPLIED_SCOPES)


def test_table_is_whole() -> None:
    """What is implied by what a scope implies is implied by that scope, and nothing by itself."""
    for wide, narrow in IMPLIED_SCOPES.items():
        assert wide not in narrow
        assert implied_scopes([wide]) == set(narrow)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("granted", "required", "missing"),
    [
        ("calendar", "calendar.readonly calendar.events", ""),
        ("calendar.readonly", "calendar", "calendar"),
        ("calendar.events", "calendar.readonly", "calendar.readonly"),
        ("drive.file", "drive.readonly", "drive.readonly"),
        ("drive.readonly", "drive.file", "drive.file"),
        ("drive", "drive.appdata", "drive.appdata"),
        ("drive", "spreadsheets.readonly", ""),
        ("drive.appdata", "drive.readonly", "drive.readonly"),
        ("calendar.app.created", "calendar.events.readonly", "calendar.events.readonly"),
        ("https://mail.google.com/", "gmail.modify gmail.send", ""),
        ("gmail.metadata", "gmail.readonly", "gmail.readonly"),
        ("gmail.readonly gmail.send", "gmail.modify", "gmail.modify"),
        ("contacts.readonly", "user.birthday.read", "user.birthday.read"),
        ("cloud-platform", "devstorage.read_only", ""),
    ],
)
def test_missing_scopes(granted: str, required: str, missing: str) -> None:
    """What is implied is not missing; what is near it is."""
    assert missing_scopes(full(required), full(granted)) == set(full(missing))


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("required", "optional", "granted", "asked"),
    [
        ("calendar.readonly calendar", "", "", "calendar"),
        ("calendar.readonly", "calendar", "", "calendar.readonly"),
        ("calendar", "calendar.readonly", "", "calendar"),
        ("", "calendar.readonly calendar", "", "calendar"),
        ("calendar.events calendar.readonly", "", "", "calendar.events calendar.readonly"),
        ("calendar.readonly", "calendar calendar.events", "", "calendar.readonly calendar.events"),
        ("gmail.send", "gmail.modify gmail.compose tasks", "", "gmail.send tasks"),
        ("drive.file", "drive", "", "drive.file drive"),
        ("calendar.readonly", "tasks", "calendar", "tasks"),
        ("calendar", "", "calendar.readonly", "calendar"),
        ("tasks", "calendar", "calendar.readonly", "tasks calendar"),
        ("calendar.readonly", "calendar", "calendar", "calendar"),
    ],
)
def test_choose_scopes(required: str, optional: str, granted: str, asked: str) -> None:
    """Narrow and wide never stand together, and an optional wide one displaces no required one."""
    chosen = choose_scopes(
        (*full(required), *full(optional)), required=full(required), granted=full(granted)
    )

    assert short(chosen) == asked


@pytest.mark.slow
@given(st.lists(scopes, max_size=8), st.lists(scopes, max_size=8), st.lists(scopes, max_size=3))
def test_nothing_required_is_lost(
    required: list[str], optional: list[str], granted: list[str]
) -> None:
    """Whoever grants all that is asked has all that is required; no two of it say the same."""
    asked = choose_scopes((*optional, *required), required=required, granted=granted)

    assert not missing_scopes(required, (*asked, *granted))
    assert implied_scopes(asked).isdisjoint(asked)
    assert set(asked) <= {*parse_scopes(required), *parse_scopes(optional)}
    for declined in set(asked) - set(required):
        rest = [scope for scope in asked if scope != declined]
        assert not missing_scopes(required, (*rest, *granted))


def test_setting_overrides_single_scopes(settings: Settings) -> None:
    """What it says of one replaces what the table says of that one."""
    calendar, drive, tasks = full("calendar drive tasks")
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "IMPLIED_SCOPES": {
            calendar: full("calendar.events"),
            drive: [],
            "email": ["https://id.example.com/mail"],
        },
    }

    # By its own entry, and by what that one implies.
    assert short(sorted(implied_scopes([calendar]))) == "calendar.events calendar.events.readonly"
    assert implied_scopes([drive]) == set()
    assert implied_scopes([tasks]) == set(full("tasks.readonly"))
    assert not missing_scopes(["https://id.example.com/mail"], [f"{PREFIX}userinfo.email"])


def test_scopes_that_imply_each_other(settings: Settings) -> None:
    """One of them is asked."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "IMPLIED_SCOPES": {"a": ["b"], "b": ["a"]}}

    assert not missing_scopes(["a", "b"], ["b"])
    assert len(choose_scopes(["a", "b"], required=["a", "b"])) == 1
    assert len(choose_scopes(["a", "b"], required=[])) == 1


@pytest.mark.parametrize(
    "value", [None, [], "calendar", {"a": "b"}, {"a": 5}, {5: ["a"]}, {"": ["a"]}]
)
def test_setting_that_cannot_work(settings: Settings, value: Any) -> None:
    """A text is no list of scopes: it would be taken for its letters."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "IMPLIED_SCOPES": value}

    with pytest.raises(ImproperlyConfigured, match="IMPLIED_SCOPES"):
        missing_scopes(["a"], ["b"])
