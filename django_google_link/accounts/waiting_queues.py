"""Threads of this process that wait for the same access token, one behind the other."""

from __future__ import annotations

import os
import uuid
from threading import Lock
from weakref import WeakValueDictionary


class _Queues:
    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: WeakValueDictionary[uuid.UUID, Lock] = WeakValueDictionary()

    def find(self, account_id: uuid.UUID) -> Lock:
        with self._lock:
            return self._waiting.setdefault(account_id, Lock())


class _Process:
    queues = _Queues()


def find_queue(account_id: uuid.UUID) -> Lock:
    """Return the lock of an account, held by the thread whose turn it is to ask for its token."""
    return _Process.queues.find(account_id)


def _start_anew() -> None:
    """Start with empty queues: the threads that held the old locks do not exist in the child."""
    _Process.queues = _Queues()


os.register_at_fork(after_in_child=_start_anew)
