"""The app's signals, as received by a project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.dispatch import Signal

from django_google_link import signals
from django_google_link.models import GoogleAccount


@contextmanager
def connected(signal: Signal, receiver: Callable[..., Any]) -> Iterator[None]:
    """Connect a receiver to a signal within a ``with`` block."""
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


#: Sent with each request, without a sender.
MEASUREMENTS = {"revocation_finished", "token_request_finished", "token_wait_finished"}


@contextmanager
def measured(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """Record the arguments of a measurement, except for its duration."""
    found: list[dict[str, Any]] = []

    def listen(sender: Any, signal: Signal, **arguments: Any) -> None:
        assert sender is None
        assert arguments.pop("seconds", 0) >= 0
        found.append(arguments)

    with connected(signal, listen):
        yield found


@contextmanager
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Record the name and arguments of all signals except the measurements."""
    news: list[tuple[str, dict[str, Any]]] = []
    names = {
        id(value): name
        for name, value in vars(signals).items()
        if isinstance(value, Signal) and name not in MEASUREMENTS
    }

    def listen(sender: Any, signal: Signal, **arguments: Any) -> None:
        assert sender is GoogleAccount
        news.append((names[id(signal)], arguments))

    with ExitStack() as stack:
        for name in names.values():
            stack.enter_context(connected(getattr(signals, name), listen))
        yield news
