"""A circuit breaker in this process's memory, because its own network may be what is down.

It also counts failures inside a caller's transaction, in which nothing may be written.
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

#: Consecutive failures, of at least two accounts, that open a circuit.
FAILURES_TO_OPEN = 5

#: The time between two probes of an unavailable issuer.
PROBE_INTERVAL = timedelta(seconds=30)

#: How long an issuer is known to answer slowly.
_REMEMBERED = timedelta(minutes=10)


@dataclass
class _Breaker:
    failures: int = 0
    accounts: set[str] = field(default_factory=set)
    is_open: bool = False
    retry_at: datetime | None = None


@dataclass(frozen=True)
class _SlowAnswer:
    seconds: float
    came_at: datetime

    @property
    def age(self) -> timedelta:
        return clock.now() - self.came_at

    @property
    def is_recent(self) -> bool:
        """Whether it still counts. A negative age means that the clock was set back."""
        return timedelta() <= self.age < _REMEMBERED


class _Process:
    lock = Lock()


def _start_anew() -> None:
    """Replace the lock after a fork: its holder does not exist in the child process."""
    _Process.lock = Lock()


os.register_at_fork(after_in_child=_start_anew)

_breakers: dict[str, _Breaker] = {}
_slow_answers: dict[str, _SlowAnswer] = {}


def longest_wait() -> timedelta:
    """Return the longest time for which requests to an issuer are withheld."""
    return max(PROBE_INTERVAL, lease_duration())


def is_plausible_wait(wait: timedelta) -> bool:
    """Return whether a wait is positive and no longer than possible.

    A longer one means that the clock was set back.
    """
    return timedelta() < wait <= longest_wait()


def _has_to_wait(breaker: _Breaker) -> bool:
    return bool(breaker.retry_at and is_plausible_wait(breaker.retry_at - clock.now()))


def find_retry_time(issuer: str) -> datetime | None:
    """Return when this process may ask the issuer again; ``None`` for now."""
    breaker = _breakers.get(issuer)
    return breaker.retry_at if breaker and _has_to_wait(breaker) else None


def is_open(issuer: str) -> bool:
    """Return whether this process considers the issuer unavailable."""
    breaker = _breakers.get(issuer)
    return breaker is not None and breaker.is_open


def take_probe(issuer: str) -> bool:
    """Claim the right to probe the issuer; only one caller at a time has it.

    It expires after the time that a request can take.
    """
    with _Process.lock:
        breaker = _breakers.setdefault(issuer, _Breaker())
        if _has_to_wait(breaker):
            return False
        breaker.retry_at = clock.now() + lease_duration()
        return True


def give_probe_back(issuer: str) -> None:
    """Release the right to probe the issuer."""
    with _Process.lock:
        breaker = _breakers.get(issuer)
        if breaker:
            breaker.retry_at = None


def record_failure(issuer: str, account: str, *, weight: int = 1) -> bool:
    """Count a failure; return whether the circuit is open now.

    Args:
        issuer: the issuer that was asked.
        account: the account for which it was asked.
        weight: the number of failures that it counts as.
    """
    with _Process.lock:
        breaker = _breakers.setdefault(issuer, _Breaker())
        breaker.failures += weight
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
    """Close the circuit; return whether it was open."""
    with _Process.lock:
        breaker = _breakers.pop(issuer, None)
    was_open = breaker is not None and breaker.is_open
    if was_open:
        logger.warning("The issuer %s is available to this process again.", issuer)
    return was_open


def record_slow_answer(issuer: str, seconds: float) -> None:
    """Remember that an issuer has answered, though slowly.

    Args:
        issuer: the issuer.
        seconds: the time that it took.
    """
    with _Process.lock:
        known = _slow_answers.get(issuer)
        # While the issuer remains slow, the slowest one is replaced before it is forgotten.
        is_current = known and known.is_recent and known.age < _REMEMBERED / 2
        if not known or not is_current or known.seconds < seconds:
            _slow_answers[issuer] = _SlowAnswer(seconds, clock.now())


def find_slow_answer(issuer: str) -> float:
    """Return the seconds that the issuer's slowest answer took lately; 0 if none was slow."""
    known = _slow_answers.get(issuer)
    return known.seconds if known and known.is_recent else 0


def forget_failures() -> None:
    """Forget all issuers' failures. For tests, where providers may share an address."""
    with _Process.lock:
        _breakers.clear()
        _slow_answers.clear()
