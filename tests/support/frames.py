"""Interrupting a worker, and what its error then contains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

STOPS = [SystemExit, KeyboardInterrupt, GeneratorExit, type("Timeout", (BaseException,), {})]


class Interruption:
    """Interrupts the thread of the test from another one, wherever it is.

    Args:
        kind: the exception to raise in it.
    """

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind
        self._raised = threading.Event()

    def strike(self, *_: Any) -> None:
        """Interrupt the test, and wait until the exception was raised."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        assert self._raised.wait(10)

    @contextmanager
    def expected(self) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        """Expect to be interrupted."""
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
    """Return the function names and local variables of the frames in an error's tracebacks.

    Causes and contexts are included, whether or not an error report would show them.
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
            if not frame.f_code.co_name.startswith("test_"):  # These hold the searched values.
                frames.append((frame.f_code.co_name, repr(frame.f_locals)))
            traceback = traceback.tb_next
    return frames
