"""When a run over many rows stops asking a provider that does not respond."""

from __future__ import annotations

import threading
from collections import Counter


class Patience:
    """Counts each issuer's consecutive failures, for all threads of a run.

    Without a limit, each of the remaining rows would wait until its request times out.

    Args:
        failures: the number after which an issuer is not asked again.
    """

    def __init__(self, failures: int) -> None:
        self._most = failures
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()

    def is_over(self, issuer: str) -> bool:
        """Return whether the rest of the issuer's rows should be skipped."""
        return self._failures[issuer] >= self._most

    def count_failure(self, issuer: str) -> None:
        """Count a request to which the issuer gave no usable response."""
        with self._lock:
            self._failures[issuer] += 1

    def note_answer(self, issuer: str) -> None:
        """Start counting anew, because the issuer has responded."""
        with self._lock:
            self._failures[issuer] = 0
