"""A site with a Celery worker, on which the guide's task runs: see ``test_celery.py``."""

from __future__ import annotations

import json
import os

import django
from celery import Celery
from django.conf import settings

ORDER = json.loads(os.environ["CELERY_SITE"])


def configure() -> None:
    """Use the database and the Google of the test."""
    from tests import settings as base

    values = {name: value for name, value in vars(base).items() if name.isupper()}
    settings.configure(**{**values, **ORDER["settings"]})
    django.setup()


if not settings.configured:
    configure()

app = Celery("celery_site", set_as_current=True)
app.conf.update(ORDER["celery"])

exec(ORDER["task"], {"__name__": "tasks"})
