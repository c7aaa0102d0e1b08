"""Linking from any front end: functions that take a user and plain data, whatever the framework.

``headless.urls`` serves them with Django's sessions, ``contrib.rest_framework.urls`` and
``contrib.ninja.router`` with the authentication of the site's own API. Each function returns data
that can be serialized as JSON, and raises a :class:`FrontEndError` if it fails.
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
