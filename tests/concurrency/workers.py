"""Start worker processes, have them work at the same moment, and collect their results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from django.conf import settings
from django.db import connections

from django_google_link.models import GoogleAccount

_DATABASE_KEYS = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")


@dataclass(frozen=True)
class Result:
    """The result of one call: its value, or the name and text of its error."""

    value: str | None
    error: str | None


class Worker:
    """A process that waits for the start signal.

    Args:
        call: the name of a function in ``worker.py``.
        account: the account to call it with, if it needs one.
        aliases: further aliases for the same database.
        options: the rest of the order.
    """

    def __init__(
        self,
        call: str,
        account: GoogleAccount | None,
        *,
        aliases: Iterable[str] = (),
        **options: Any,
    ) -> None:
        order = {
            "call": call,
            "account": str(account.pk) if account else "",
            "threads": 1,
            "times": 1,
            "skew": 0,
            "databases": {alias: database_settings() for alias in ("default", *aliases)},
            "google_link": settings.GOOGLE_LINK,
            **options,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.concurrency.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until it is ready for the start signal."""
        assert self._stdout.readline() == "ready\n"

    def start(self) -> None:
        """Send the start signal."""
        stdin = cast("IO[str]", self.process.stdin)
        stdin.write("\n")
        stdin.flush()

    def results(self) -> list[Result]:
        """Wait until it has finished, and return its results."""
        found = [
            Result(result.get("value"), result.get("error"))
            for result in json.loads(self._stdout.read())
        ]
        assert self.process.wait() == 0
        return found

    def close(self) -> None:
        """Kill it if it is still running."""
        self.process.kill()
        self.process.communicate()

    @property
    def _stdout(self) -> IO[str]:
        return cast("IO[str]", self.process.stdout)


@contextmanager
def working(*workers: Worker) -> Iterator[None]:
    """Start all these workers at once, and kill them afterwards."""
    try:
        for worker in workers:
            worker.wait_until_ready()
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.close()


def results_of(*workers: Worker) -> list[Result]:
    """Start all these workers at once, and return the results of all."""
    with working(*workers):
        return [result for worker in workers for result in worker.results()]


def database_settings() -> dict[str, Any]:
    """Return the settings with which another process connects to this test's database."""
    current = connections["default"].settings_dict
    return {name: current[name] for name in _DATABASE_KEYS} | {"NAME": str(current["NAME"])}
