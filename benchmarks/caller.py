"""One of several processes that need a token at the same time."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def main() -> None:
    """Wait for a line on stdin, then print the seconds that each thread took."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.db import connection

    from . import peers

    name, other, user, threads = sys.argv[1:]
    get_token = getattr(peers, name)
    # A worker that has been up for a while has refreshed a token before.
    get_token(get_user_model().objects.get(pk=other))

    ready, go = Barrier(int(threads) + 1), Barrier(int(threads) + 1)

    def call(_: int) -> float:
        person = get_user_model().objects.get(pk=user)  # The connection is open from here on.
        ready.wait()
        go.wait()
        started = time.perf_counter()
        get_token(person)
        seconds = time.perf_counter() - started
        connection.close()
        return seconds

    with ThreadPoolExecutor(int(threads)) as pool:
        results = pool.map(call, range(int(threads)))
        ready.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        go.wait()
        print(json.dumps(list(results)))


if __name__ == "__main__":
    main()
