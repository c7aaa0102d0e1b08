"""A circuit breaker in this process's memory: it may be its own network that is down.

It also counts what nobody may write into the database, inside a transaction of the caller's.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from ..conf import clock
from .database import lease_duration

logger = logging.getLogger("django_google_link")

#: So many failures in a row, of at least two accounts, open a circuit.
FAILURES_TO_OPEN = 5

#: The time between two probes of an issuer that is away.
PROBE_INTERVAL = timedelta(seconds=30)


@dataclass
class _Breaker:
    failures: int = 0
    accounts: set[str] = field(default_factory=set)
    is_open: bool = False
    retry_at: datetime | None = None


class _Process:
    lock = Lock()


def _start_anew() -> None:
    """Begin with a free lock: nobody is left in this process who would give the old one back."""
    _Process.lock = Lock()


os.register_at_fork(after_in_child=_start_anew)

_breakers: dict[str, _Breaker] = {}


def longest_wait() -> timedelta:
    """Return for how long an issuer is left alone at the most."""
    return max(PROBE_INTERVAL, lease_duration())


def is_plausible_wait(wait: timedelta) -> bool:
    """Return whether there is something to wait for.

    What is longer than any wait stems from a clock that was put back since.
    """
    return timedelta() < wait <= longest_wait()


def _has_to_wait(breaker: _Breaker) -> bool:
    return bool(breaker.retry_at and is_plausible_wait(breaker.retry_at - clock.now()))


def find_retry_time(issuer: str) -> datetime | None:
    """Return when this process may ask the issuer again; ``None`` is at once."""
    breaker = _breakers.get(issuer)
    return breaker.retry_at if breaker and _has_to_wait(breaker) else None


def is_open(issuer: str) -> bool:
    """Return whether this process has found the issuer to be away, and nothing else since."""
    breaker = _breakers.get(issuer)
    return breaker is not None and breaker.is_open


def take_probe(issuer: str) -> bool:
    """Take the turn to find out whether the issuer is back: one caller at a time has it.

    It ends by itself after the time that a request can take.
    """
    with _Process.lock:
        breaker = _breakers.setdefault(issuer, _Breaker())
        if _has_to_wait(breaker):
            return False
        breaker.retry_at = clock.now() + lease_duration()
        return True


def give_probe_back(issuer: str) -> None:
    """Let another caller find out."""
    with _Process.lock:
        breaker = _breakers.get(issuer)
        if breaker:
            breaker.retry_at = None


def record_failure(issuer: str, account: str) -> bool:
    """Count a failure, and return whether the circuit is open by now.

    Args:
        issuer: that was asked.
        account: for which.
    """
    with _Process.lock:
        breaker = _breakers.setdefault(issuer, _Breaker())
        breaker.failures += 1
        if len(breaker.accounts) < 2:
            breaker.accounts.add(account)
        was_open = breaker.is_open
        if breaker.failures >= FAILURES_TO_OPEN and len(breaker.accounts) > 1:
            breaker.is_open = True
        is_open = breaker.is_open
        breaker.retry_at = clock.now() + PROBE_INTERVAL if is_open else None
    if is_open and not was_open:
        logger.error(
            "The issuer %s is unavailable to this process: one request in %d s until it responds.",
            issuer,
            PROBE_INTERVAL.total_seconds(),
        )
    return is_open


def record_success(issuer: str) -> bool:
    """Close the circuit, and return whether it was open."""
    with _Process.lock:
        breaker = _breakers.pop(issuer, None)
    was_open = breaker is not None and breaker.is_open
    if was_open:
        logger.warning("The issuer %s is available to this process again.", issuer)
    return was_open


def forget_failures() -> None:
    """Close all circuits of this process: in tests, another provider may have the same address."""
    with _Process.lock:
        _breakers.clear()
