"""A site with two databases, each of which has its requests in transactions."""

from __future__ import annotations

import subprocess
import sys

import pytest

SITE = """
import sys

from django.conf import settings

class Router:
    def db_for_write(self, model, **hints):
        return "links" if model._meta.app_label == "google_link" else None

    db_for_read = db_for_write

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_google_link"],
    ROOT_URLCONF="django_google_link.urls",
    DATABASE_ROUTERS=[Router()],
    DATABASES={
        alias: {**database, "ATOMIC_REQUESTS": alias in sys.argv[1:]}
        for alias in ("default", "links")
    },
)
import django
django.setup()

from django.core.handlers.base import BaseHandler
from django.urls import resolve

def is_atomic(path):
    view = resolve(path).func
    return BaseHandler().make_view_atomic(view) is not view

print(is_atomic("/"), is_atomic("/callback/"), is_atomic("/callback/other/"))
"""


@pytest.mark.matrix
@pytest.mark.parametrize("aliases", [["default"], ["links"], ["default", "links"]])
def test_callback_runs_in_no_transaction_of_the_request(aliases: list[str]) -> None:
    """Neither in that of the site's database, nor in that of the one with the links.

    A used state would be unused again after an error, and a transaction be open while Google is
    asked. The other pages are left as the site wants them.
    """
    printed = subprocess.run(
        [sys.executable, "-c", SITE, *aliases], check=True, capture_output=True, text=True
    )

    assert printed.stdout == "True False False\n"
