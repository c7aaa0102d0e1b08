"""Signals of the app, as a project hears them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.dispatch import Signal

from django_google_link import signals
from django_google_link.models import GoogleAccount


@contextmanager
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Listen to all signals of the app, and note the name and arguments of each."""
    news: list[tuple[str, dict[str, Any]]] = []
    names = {id(value): name for name, value in vars(signals).items() if isinstance(value, Signal)}

    def listen(sender: Any, signal: Signal, **arguments: Any) -> None:
        assert sender is GoogleAccount
        news.append((names[id(signal)], arguments))

    for name in names.values():
        getattr(signals, name).connect(listen)
    try:
        yield news
    finally:
        for name in names.values():
            getattr(signals, name).disconnect(listen)
