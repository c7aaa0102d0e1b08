"""Processes that are forked while requests are made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.hostile_servers import hostile_server

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent

# A master that has warm connections, and threads in the middle of requests, as it forks.
FORKING = """
import os, sys, threading, warnings
import django
from django.conf import settings
settings.configure()
django.setup()
from django_google_link.http.pool import process_pool, send_request

def call(id, method="POST"):
    answer = send_request(
        method, f"{sys.argv[1]}/{id}", body=b"x" * 10_000, headers={}, timeout=20
    )
    assert answer.json() == {"id": id}, (id, answer.data)

def work(name):
    for number in range(25):
        call(f"{name}-{number}", "POST" if number % 2 else "GET")

def assert_is_anew():
    # Python has told the pool of the fork, before anybody asked for it.
    own = os.getpid
    os.getpid = lambda: master
    assert process_pool() is not before
    os.getpid = own

work("warm")
master, before = os.getpid(), process_pool()
threads = [threading.Thread(target=work, args=(f"thread-{n}",)) for n in range(4)]
for thread in threads:
    thread.start()
children = []
for number in range(4):
    pid = os.fork()
    if not pid:
        try:
            assert_is_anew()
            work(f"child-{number}")
            # A child of a child.
            pid = os.fork()
            work(f"{'parent' if pid else 'grandchild'}-{number}")
            status = os.waitpid(pid, 0)[1] if pid else 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            status = 1
        os._exit(bool(status))
    children.append(pid)
work("master")
for thread in threads:
    thread.join()
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
"""


def test_forked_processes_share_no_connection() -> None:
    """Each has its own answers, and every request is made once."""
    with hostile_server() as server:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKING, server.url],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

        assert result.returncode == 0, result.stderr
        assert Counter(server.counts.values()) == {1: 25 * (1 + 4 + 4 + 8 + 1)}


# A master that forks in the middle of a call, with a lock that nobody will give back.
ASKING = """
import os, sys, threading
import django
from django.conf import settings
settings.configure()
django.setup()
from django_google_link.conf.shared_call import SharedCall

begun, over = threading.Event(), threading.Event()

def ask():
    begun.set()
    over.wait()
    return os.getpid()

call = SharedCall(ask, explain=str, subject="It")
waiting = threading.Thread(target=call.get, kwargs={"limit": 20})
waiting.start()
begun.wait()
pid = os.fork()
over.set()
assert call.get(limit=20) == os.getpid()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_forked_process_makes_the_call_that_was_under_way() -> None:
    """The thread that made it is in the other one."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASKING],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
        timeout=60,
        check=True,
    )


# A master that forks while one of its threads notes the use of a link.
NOTING = """
import os, threading, uuid
import django
django.setup()
from django_google_link.accounts import usage
from django_google_link.models import GoogleAccount

class Pending(set):
    def add(self, link):
        begun.set()
        over.wait()

begun, over = threading.Event(), threading.Event()
usage._pending = Pending()

def note():
    usage.begin_request()
    usage.note_use(GoogleAccount(pk=uuid.uuid4()))

noting = threading.Thread(target=note)
noting.start()
begun.wait()
pid = os.fork()
over.set()
usage.forget_uses()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
noting.join()
"""


@pytest.mark.slow
def test_forked_process_can_note_uses() -> None:
    """The thread that held the lock is in the other one."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NOTING],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        timeout=20,
        check=True,
    )
