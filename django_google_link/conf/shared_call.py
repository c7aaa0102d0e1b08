"""A slow call that one thread makes for all of its process, and what came of it.

Encryption keys may come from over the network. Whoever needs one waits for the same call, which is
made in a thread of its own: so a library that has no time limit, or several in a row, holds nobody
up for longer than the settings say.
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

#: Seconds for which an outcome stands: a service that is away is not asked by every view.
PAUSE = 5
#: Seconds after which a call that has not come back is given up for lost, and made again.
_LONGEST_CALL = 60

_Explain = Callable[[BaseException], SettingsError]


@dataclass(eq=False, kw_only=True)
class _Run:
    """One call, under way or over."""

    began_at: float = field(default_factory=clock.timestamp)
    #: When it ended, or somebody has waited for it in vain.
    settled_at: float | None = None
    over: Event = field(default_factory=Event)
    problem: tuple[str, str, str] | None = None

    def stands(self) -> bool:
        """Return whether no other call is to be made yet."""
        if self.over.is_set():
            return self.is_settled()
        return _is_within(_LONGEST_CALL, self.began_at)

    def is_settled(self) -> bool:
        """Return whether there is nothing to wait for."""
        return self.settled_at is not None and _is_within(PAUSE, self.settled_at)


class SharedCall(Generic[T]):
    """Makes a call once, keeps what it returns, and remembers for a while that it has failed.

    Args:
        call: made without arguments, in a thread of its own.
        explain: makes an error for people out of whatever else is raised.
        subject: of a sentence, for the error that it gives no answer.
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
        """Return what is kept; otherwise what the call returns.

        Args:
            limit: seconds to wait.

        Raises:
            KeyServiceError: when it fails, has just failed, or takes longer.
        """
        if self._kept is None:
            self._await(self._begin(), limit=limit)
        return cast("tuple[T]", self._kept)[0]

    def renew(self, *, limit: float, check: Callable[[T], object]) -> None:
        """Make the call again, unless that was done a moment ago, and keep what it returns.

        Args:
            limit: seconds to wait.
            check: raises what is wrong with what the call returns.

        Raises:
            KeyServiceError: as :meth:`get`, or after the check; then all is kept as it was.
        """
        self._await(self._begin(check), limit=limit)

    def _start_anew(self) -> None:
        """Forget a call that was under way in the process from which this one was forked."""
        self._lock = Lock()
        self._run = None

    def _begin(self, check: Callable[[T], object] | None = None) -> _Run:
        """Return the call that stands, or begin one."""
        with self._lock:
            if self._run is None or not self._run.stands():
                run = _Run()
                Thread(target=self._execute, args=(run, check), daemon=True).start()
                self._run = run
            return self._run

    @sensitive_variables()
    def _execute(self, run: _Run, check: Callable[[T], object] | None) -> None:
        try:
            value = self._call()
            if check:
                check(value)
            self._kept = (value,)
        except BaseException as error:  # Whoever waits is told, whatever it is.
            problem = error if isinstance(error, SettingsError) else self._explain(error)
            run.problem = (problem.id, problem.message, problem.hint)
            logger.error("An encryption key is not available: %s", problem)
        finally:
            run.settled_at = clock.timestamp()
            run.over.set()
            connections.close_all()  # Of this thread: none, as a rule.

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
            f"{self._subject} gives no answer within {limit:g} seconds.",
            hint="See whether this machine can reach it; it is asked again at the next use.",
        )


#: Those of this process.
_calls: WeakSet[SharedCall[Any]] = WeakSet()


def _start_anew() -> None:
    """Begin with free locks and no calls: the threads that made them are not in this process."""
    for call in _calls:
        call._start_anew()


os.register_at_fork(after_in_child=_start_anew)


def _is_within(seconds: float, moment: float) -> bool:
    # What seems to be in the future was before the clock was put back.
    return 0 <= clock.timestamp() - moment < seconds
