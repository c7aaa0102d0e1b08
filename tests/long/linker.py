"""A worker that links accounts, each in a forked process that is killed where it is told.

The order is a JSON object in the first argument: ``databases`` and ``google_link`` are settings.
Each line of the standard input is one attempt: the ``user`` and the ``sub`` to link, and the
statement of the callback at which the process is killed (``die_at``), before or after it
(``after``). Each line of the standard output has its outcome, ``linked``, ``killed`` or an
error, and the number of statements.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

ORDER: dict[str, Any] = json.loads(sys.argv[1])


def link(attempt: dict[str, Any], report: int) -> str:
    """Go through the flow; kill this process at the attempt's statement of the callback."""
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client

    from django_google_link.testing.browser.consent import Answer, give_consent
    from django_google_link.testing.provider.identities import FakeUser

    number = 0

    def count(execute: Any, *args: Any) -> Any:
        nonlocal number
        number += 1
        os.write(report, f"{number} ".encode())
        if (number, False) == (attempt["die_at"], attempt["after"]):
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(*args)
        if (number, True) == (attempt["die_at"], attempt["after"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    browser = Client()
    browser.force_login(get_user_model().objects.get(pk=attempt["user"]))
    location = browser.get("/google/authorize/")["Location"]
    who = FakeUser(email="", sub=attempt["sub"])
    back = urlsplit(give_consent(location, Answer(user=who)))
    with connection.execute_wrapper(count):
        response: Any = browser.get(f"{back.path}?{back.query}")
    return "linked" if response.headers.get("Location") == "/google/" else str(response)


def attempt_in_process(attempt: dict[str, Any]) -> str:
    """Make one attempt in a forked process; return its outcome and number of statements."""
    report, write = os.pipe()
    process = os.fork()
    if not process:
        try:
            outcome = link(attempt, write)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        os.write(write, outcome.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(report) as file:
        *numbers, said = file.read().rpartition(" ")
    _, status = os.waitpid(process, 0)
    statements = numbers[0].split()[-1] if numbers[0] else "0"
    return json.dumps(
        {
            "outcome": "killed" if os.WIFSIGNALED(status) else said,
            "statements": int(statements),
        }
    )


def main() -> None:
    """Make the attempts."""
    from tests import settings as base

    values = {name: value for name, value in vars(base).items() if name.isupper()}
    values |= {"DATABASES": ORDER["databases"], "GOOGLE_LINK": ORDER["google_link"]}
    settings.configure(**{**values, "ALLOWED_HOSTS": ["testserver"]})
    django.setup()
    for line in sys.stdin:
        print(attempt_in_process(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
