"""A worker process: waits for the start signal, makes the calls, and prints their results.

The order is a JSON object in the first argument. ``databases`` and ``google_link`` are settings;
``call`` names one of the functions here, which each of ``threads`` threads calls ``times``
times; ``skew`` is the number of seconds by which this worker's clock is fast.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import django
from django.conf import settings

from tests.support.times import until

ORDER: dict[str, Any] = json.loads(sys.argv[1])


def fresh(account: str) -> str:
    """Get a fresh access token."""
    from django_google_link.accounts.access_tokens import fresh_access_token
    from django_google_link.models import GoogleAccount

    return fresh_access_token(GoogleAccount(pk=account)).value.reveal()


def seconds_left(account: str) -> str:
    """Return the seconds until the next attempt, by this worker's clock; or a token."""
    from django.utils import timezone

    from django_google_link.exceptions import RefreshUnavailableError

    try:
        return fresh(account)
    except RefreshUnavailableError as error:
        retry_at = error.retry_at or timezone.now()
        return str((retry_at - timezone.now()).total_seconds())


def fresh_then_rolled_back(account: str) -> str:
    """Get a fresh access token in a transaction that is rolled back."""
    from django.db import transaction

    with transaction.atomic():
        token = fresh(account)
        transaction.set_rollback(True)
    return token


def fresh_while_locked(account: str) -> str:
    """Get a fresh access token in a transaction that has locked the row."""
    from django.db import transaction

    from django_google_link.models import GoogleAccount

    with transaction.atomic():
        GoogleAccount.objects.select_for_update().get(pk=account)
        return fresh(account)


def fresh_in_a_fork(account: str) -> str:
    """Get a fresh access token in a process that is forked while a thread refreshes."""
    from django_google_link.models import GoogleAccount

    # Import what it needs first: a fork during an import may deadlock in Python itself.
    GoogleAccount.objects.get(pk=account).unseal_token("refresh_token")
    thread = threading.Thread(target=attempt, args=[fresh])
    thread.start()
    until(lambda: GoogleAccount.objects.exclude(refresh_lease=None).exists())
    token = _in_a_fork(lambda: fresh(account))
    thread.join()
    return token


def probe_in_forks(account: str) -> str:
    """Take the breaker's probe in forked processes, while threads take it as well."""
    from django_google_link.accounts.process_breaker import give_probe_back, take_probe

    def take_and_give_back() -> str:
        was_taken = take_probe("issuer")
        give_probe_back("issuer")
        return str(was_taken)

    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            take_and_give_back()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        return str(all(_in_a_fork(take_and_give_back) for _ in range(50)))
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _in_a_fork(call: Callable[[], str]) -> str:
    """Return a call's result from a forked process, or an empty string if it hangs."""
    from django.db import connections

    connections.close_all()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork() with threads
        pid = os.fork()
    if not pid:
        try:
            signal.alarm(20)
            os.write(writer, call().encode())
        except Exception as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader) as pipe:
        return pipe.read()


def unlink(account: str) -> str:
    """Unlink the account; kill this process before the order's statement ``die_at``."""
    from django.db import connection

    from django_google_link.models import GoogleAccount

    numbers = itertools.count(1)

    def die(execute: Any, *args: Any) -> Any:
        if next(numbers) == ORDER.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*args)

    # Statements that set up the connection are not part of unlinking.
    connection.ensure_connection()
    with connection.execute_wrapper(die):
        GoogleAccount.objects.get(pk=account).unlink()
    return "unlinked"


def get(account: str) -> str:
    """Call the API at the order's ``url``, as a view would."""
    from django_google_link.models import GoogleAccount
    from django_google_link.services import authorized_session

    with authorized_session(GoogleAccount.objects.get(pk=account)) as session:
        return str(session.get(ORDER["url"]).status_code)


def complete_links(_account: str) -> str:
    """Complete links as a front end does, and return the responses as JSON."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    browser = Client()
    browser.force_login(get_user_model().objects.get(pk=ORDER["user"]))
    answers = []
    for came in ORDER["came"]:
        response: Any = browser.post("/google/api/links/complete/", came, "application/json")
        answers.append({"status": response.status_code, **response.json()})
    return json.dumps(answers)


def command(account: str) -> str:
    """Run ``google_link_refresh`` on all accounts."""
    from django.core.management import call_command

    out = io.StringIO()
    call_command("google_link_refresh", expiring_within=0, workers=4, stdout=out)
    return out.getvalue()


def attempt(call: Callable[[str], str]) -> list[dict[str, Any]]:
    """Make the calls of one thread, and return the result or error of each."""
    from django.db import connections

    results = []
    for _ in range(ORDER["times"]):
        result = {}
        try:
            result["value"] = call(ORDER["account"])
        except (Exception, KeyboardInterrupt) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        results.append(result)
    connections.close_all()
    return results


def main() -> None:
    """Print "ready", wait for the start signal, make the calls and print the results."""
    from tests import settings as base

    values = {name: value for name, value in vars(base).items() if name.isupper()}
    values |= {"DATABASES": ORDER["databases"], "GOOGLE_LINK": ORDER["google_link"]}
    settings.configure(**values)
    django.setup()
    # Shells have their background processes ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from tests.support.clocks import clock_ahead

    call, skew = globals()[ORDER["call"]], timedelta(seconds=ORDER["skew"])
    with ThreadPoolExecutor(ORDER["threads"]) as pool, clock_ahead(skew):
        print("ready", flush=True)
        sys.stdin.readline()
        if ORDER["threads"] == 1:  # Signals reach only the main thread.
            results = [attempt(call)]
        else:
            results = list(pool.map(lambda _: attempt(call), range(ORDER["threads"])))
    print(json.dumps([result for part in results for result in part]))


if __name__ == "__main__":
    main()
