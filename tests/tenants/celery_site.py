"""A worker of the site with django-tenants, on which the guide's task runs."""

from __future__ import annotations

import os

import django
from django.conf import settings

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tenants.settings"
django.setup()

ORDER = settings.ORDER["CELERY"]

exec(ORDER["app"], globals())
globals()["app"].conf.update(ORDER["celery"])
exec(ORDER["task"], {"__name__": "tasks"})
