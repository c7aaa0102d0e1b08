"""Contents of list columns, kept short so that a list fits on the screen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from ..conf.settings import list_configured_clients

_BREAKS = re.compile(r"(?<=[@./])(?=\w)")


def with_provider(columns: Sequence[Any], *, column: str = "provider") -> list[Any]:
    """Return the columns, including the provider's if several clients are configured."""
    columns = list(columns)
    if len(list_configured_clients()) < 2:
        return columns
    return [*columns[:2], column, *columns[2:]]


def name_client(provider: str, client: str) -> str:
    """Return a provider with the client through which an account was linked."""
    return f"{provider} ({client})"


def display_date(moment: datetime | None) -> str:
    """Return the date of a moment in the current time zone; empty for ``None``."""
    if moment is None:
        return ""
    zone = timezone.get_current_timezone()
    return date_format(moment.astimezone(zone) if timezone.is_aware(moment) else moment)


def let_break(text: str) -> str:
    """Return a text with optional line breaks after ``@``, dots and slashes."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _BREAKS.split(text)))


def shorten_scope(scope: str) -> str:
    """Return the distinctive part of a Google scope, such as ``calendar.readonly``."""
    return scope.removeprefix("https://www.googleapis.com/auth/")
