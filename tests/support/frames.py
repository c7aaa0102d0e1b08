"""A worker that is told to stop, and what its error then shows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

STOPS = [SystemExit, KeyboardInterrupt, GeneratorExit, type("Timeout", (BaseException,), {})]


class Interruption:
    """Stops the thread of the test from another one, wherever it stands.

    Args:
        kind: what it is told by.
    """

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind
        self._raised = threading.Event()

    def strike(self, *_: Any) -> None:
        """Interrupt the test, and wait until that has been felt."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        assert self._raised.wait(10)

    @contextmanager
    def expected(self) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        """Expect to be stopped."""
        before = signal.signal(signal.SIGALRM, self._stop)
        try:
            with pytest.raises(self._kind) as caught:
                yield caught
        finally:
            signal.signal(signal.SIGALRM, before)

    def _stop(self, *_: Any) -> None:
        self._raised.set()
        raise self._kind("Time is over.")


def list_frames(error: BaseException) -> list[tuple[str, str]]:
    """Return the name of each function in the tracebacks of an error, and its local variables.

    Also of what led to it, whether or not a report would show that.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    frames = []
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        traceback = one.__traceback__
        while traceback:
            frame = traceback.tb_frame
            if not frame.f_code.co_name.startswith("test_"):  # They know what they look for.
                frames.append((frame.f_code.co_name, repr(frame.f_locals)))
            traceback = traceback.tb_next
    return frames
