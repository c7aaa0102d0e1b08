"""A slow call that one thread makes for the whole process.

Encryption keys may be fetched over the network. All callers that need a key wait for the same call,
which runs in a separate thread. A library without a time limit, or with several in succession,
therefore delays no caller for longer than the settings allow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

from django.db import connections
from django.views.decorators.debug import sensitive_variables

from ..exceptions import KeyServiceError, SettingsError
from . import clock

logger = logging.getLogger("django_google_link")

T = TypeVar("T")

#: Seconds before a call is repeated, so that not every view asks a service that is down.
PAUSE = 5
#: Seconds after which a call without a result is abandoned and repeated.
_LONGEST_CALL = 60

_Explain = Callable[[BaseException], SettingsError]


@dataclass(eq=False, kw_only=True)
class _Run:
    """A call that is running or has finished."""

    began_at: float = field(default_factory=clock.timestamp)
    #: When it finished, or a caller's time limit expired.
    settled_at: float | None = None
    over: Event = field(default_factory=Event)
    problem: tuple[str, str, str] | None = None

    def stands(self) -> bool:
        """Return whether it is too early for another call."""
        if self.over.is_set():
            return self.is_settled()
        return _is_within(_LONGEST_CALL, self.began_at)

    def is_settled(self) -> bool:
        """Return whether it finished, or was found late, only recently: callers do not wait."""
        return self.settled_at is not None and _is_within(PAUSE, self.settled_at)


class SharedCall(Generic[T]):
    """Makes a call once, keeps its result, and remembers a failure for a while.

    Args:
        call: the function, called without arguments in a separate thread.
        explain: turns an exception other than ``SettingsError`` into one.
        subject: the subject of the error message if the call takes too long.
    """

    def __init__(self, call: Callable[[], T], *, explain: _Explain, subject: str) -> None:
        self._call = call
        self._explain = explain
        self._subject = subject
        self._lock = Lock()
        self._run: _Run | None = None
        self._kept: tuple[T] | None = None
        _calls.add(self)

    def get(self, *, limit: float) -> T:
        """Return the kept result, or make the call.

        Args:
            limit: the seconds to wait.

        Raises:
            KeyServiceError: if it fails, has just failed, or takes longer.
        """
        if self._kept is None:
            self._await(self._begin(), limit=limit)
        return cast("tuple[T]", self._kept)[0]

    def renew(self, *, limit: float, check: Callable[[T], object]) -> None:
        """Make the call again, unless it was made a moment ago, and keep its result.

        Args:
            limit: the seconds to wait.
            check: raises a ``SettingsError`` if the result is not acceptable.

        Raises:
            KeyServiceError: as :meth:`get`, or if the check fails; the kept result stays then.
        """
        self._await(self._begin(check), limit=limit)

    def _start_anew(self) -> None:
        """Forget the call of the parent process after a fork: its thread does not exist here."""
        self._lock = Lock()
        self._run = None

    def _begin(self, check: Callable[[T], object] | None = None) -> _Run:
        """Return the current call, or start one."""
        with self._lock:
            if self._run is None or not self._run.stands():
                run = _Run()
                self._start(run, check)
                self._run = run
            return self._run

    def _start(self, run: _Run, check: Callable[[T], object] | None) -> None:
        try:
            Thread(target=self._execute, args=(run, check), daemon=True).start()
        except RuntimeError:  # At the limit of threads, or while the interpreter is shutting down.
            raise KeyServiceError(
                "E072",
                f"{self._subject} was not called, because no thread could be started.",
                hint="Check how many threads this process may have; the next use tries again.",
            ) from None

    @sensitive_variables()
    def _execute(self, run: _Run, check: Callable[[T], object] | None) -> None:
        try:
            value = self._call()
            if check:
                check(value)
            self._kept = (value,)
        except BaseException as error:  # Callers are waiting, whatever it is.
            problem = error if isinstance(error, SettingsError) else self._explain(error)
            run.problem = (problem.id, problem.message, problem.hint)
            logger.error("An encryption key is not available: %s", problem)
        finally:
            run.settled_at = clock.timestamp()
            run.over.set()
            connections.close_all()  # The connections of this thread, if it opened any.

    def _await(self, run: _Run, *, limit: float) -> None:
        if not run.over.is_set() and (run.is_settled() or not run.over.wait(limit)):
            run.settled_at = run.settled_at if run.is_settled() else clock.timestamp()
            raise self._make_lateness(limit)
        if run.problem:
            id, message, hint = run.problem
            raise KeyServiceError(id, message, hint=hint)

    def _make_lateness(self, limit: float) -> KeyServiceError:
        return KeyServiceError(
            "E072",
            f"{self._subject} did not respond within {limit:g} seconds.",
            hint="Check whether this machine can reach it; the next use tries again.",
        )


#: The calls of this process.
_calls: WeakSet[SharedCall[Any]] = WeakSet()


def _start_anew() -> None:
    """Reset locks and calls after a fork: the threads of the parent process do not exist here."""
    for call in _calls:
        call._start_anew()


os.register_at_fork(after_in_child=_start_anew)


def _is_within(seconds: float, moment: float) -> bool:
    # A moment in the future precedes a clock that was set back.
    return 0 <= clock.timestamp() - moment < seconds
