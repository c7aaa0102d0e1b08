"""Users who do everything at once, from many threads, and what they were told."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections
from django.test import Client

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.exceptions import ConsentRequiredError, GrantLostError
from django_google_link.models import GoogleAccount
from django_google_link.operations.refresh import refresh_account
from django_google_link.operations.rotate_keys import rotate
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.constants import CALENDAR, DRIVE, TASKS
from tests.support.times import in_seconds
