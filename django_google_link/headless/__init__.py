"""Linking from any front end: functions that take a user and plain data, and know no framework.

``headless.urls`` mounts them with Django's sessions, ``contrib.rest_framework.urls`` and
``contrib.ninja.router`` with the authentication of the site's own API. Each function returns what
JSON can hold, and raises a :class:`FrontEndError` that says the same of what went wrong.
"""

from .accounts import change_account, list_accounts, unlink_account
from .errors import FrontEndError
from .links import complete_link, start_link
from .openapi import read_openapi

__all__ = [
    "FrontEndError",
    "change_account",
    "complete_link",
    "list_accounts",
    "read_openapi",
    "start_link",
    "unlink_account",
]
